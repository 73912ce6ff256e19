package e2e

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// looks are the screens and color schemes in which each state of the dashboard is checked.
var looks = []struct {
	name, scheme  string
	width, height int64
	phone         bool
}{
	{"light", "light", 1440, 1900, false},
	{"dark", "dark", 1440, 1900, false},
	{"phone", "light", 375, 2900, true},
	{"phone-dark", "dark", 375, 2900, true},
}

// fullyShown reports whether the column Available is not cut, and no SKU is on two lines.
const fullyShown = `(() => {
	const box = document.getElementById("stock").getBoundingClientRect();
	const cells = [...document.querySelectorAll("#stock tr > :nth-child(2)")];
	const skus = [...document.querySelectorAll("#stock .id")].filter(e => e.textContent.length < 24);
	return cells.every(c => c.getBoundingClientRect().right <= box.right) && skus.every(e => e.getClientRects().length === 1);
})()`

// violations are what axe-core finds on the page.
const violations = `axe.run().then(found => found.violations.map(
	v => v.id + ": " + v.nodes.map(n => n.html + "\n" + n.failureSummary).join("\n")).join("\n"))`

// loadAxe loads axe-core into the page. It finds what people with disabilities cannot use.
func (p *page) loadAxe() {
	p.t.Helper()
	cache := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
	files, err := filepath.Glob(filepath.Join(cache, "cartwheel", "axe-core-*.js"))
	if err != nil || len(files) == 0 {
		databasetest.SkipUnlessCI(p.t, "there is no axe-core: make test fetches it")
	}
	program, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		p.t.Fatal(err)
	}
	eval[bool](p, string(program)+"; true")
}

// looksRight checks the page as it is now, in all looks.
func (p *page) looksRight(state string) {
	p.t.Helper()
	p.loadAxe()
	for _, look := range looks {
		p.screen(look.width, look.height, look.phone)
		p.prefersScheme(look.scheme)
		p.awaits("the charts fit", `[...document.querySelectorAll("figure")].every(f => f.scrollWidth <= f.clientWidth + 1)`)
		p.photograph(state + "-" + look.name)
		if wide := eval[int64](p, "document.documentElement.scrollWidth"); wide > look.width {
			p.t.Errorf("%s, %s: the page is %d wide on a screen of %d", state, look.name, wide, look.width)
		}
		if !eval[bool](p, fullyShown) {
			p.t.Errorf("%s, %s: Available is cut, or a SKU is on two lines", state, look.name)
		}
		if found := eval[string](p, violations, chromedp.EvalAwaitPromise); found != "" {
			p.t.Errorf("%s, %s: axe-core finds\n%s", state, look.name, found)
		}
	}
}

// watch opens the dashboard in a browser.
func (i *instance) watch(t *testing.T) *page {
	t.Helper()
	p := openBrowser(t)
	p.do("open the dashboard", chromedp.Navigate(i.dashboard()))
	p.isLive()
	return p
}

func TestDashboard_withoutDataExplainsItself(t *testing.T) {
	t.Parallel()
	shop := start(t, embeddedStore(t), "--admin-listen", "127.0.0.1:0")
	p := shop.watch(t)
	p.awaits("there are no products", `document.getElementById("stock").textContent.includes("stock import")`)
	p.looksRight("no-data")
	p.do("open the runbook", chromedp.Navigate(shop.dashboard()+"runbook#cartwheeldown"))
	p.loadAxe()
	if found := eval[string](p, violations, chromedp.EvalAwaitPromise); found != "" {
		p.t.Errorf("the runbook: axe-core finds\n%s", found)
	}
	p.isQuiet(shop.dashboard())
}

func TestDashboard_showsTenThousandProducts(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	products := map[string]int{"SKU-LONG-" + fmt.Sprintf("%0*d", 91, 1): 1}
	for n := range 10_000 {
		products[fmt.Sprintf("SKU-2026-%05d-XL-BL", n)] = 100*n + 2
	}
	s.stock(t, products)
	shop := start(t, s, "--admin-listen", "127.0.0.1:0", "--payment-url", "sandbox:?latency=300ms")
	for n := range 30 {
		product := fmt.Sprintf("SKU-2026-%05d-XL-BL", n)
		shop.want(t, 200, addition("decline-"+itoa(n), product, 1))
		shop.want(t, 200, addition("customer-"+itoa(n), product, 1))
	}
	p := shop.watch(t)
	for n := range 30 {
		shop.want(t, 402, purchase("decline-"+itoa(n)))
		shop.want(t, 200, purchase("customer-"+itoa(n)))
	}
	p.awaits("failed checkouts are shown with their clients", `document.getElementById("unsold").textContent.includes("decline-29")`)
	p.awaits("the charts have words", `document.querySelector("#chart-checkouts canvas").ariaLabel.includes("Sold now")`)
	p.looksRight("products")
	p.isQuiet(shop.dashboard())
}

func TestDashboard_serverGoneDimsEverything(t *testing.T) {
	t.Parallel()
	shop := start(t, embeddedStore(t), "--demo", "--admin-listen", "127.0.0.1:0", "--payment-url", "sandbox:?latency=100ms")
	shop.keepBusy(t)
	p := shop.watch(t)
	p.awaits("something is sold", `parseFloat(document.getElementById("figure-checkouts").textContent) > 0`)
	before := eval[string](p, `getComputedStyle(document.querySelector("#figure-adds")).color`)
	shop.kill()
	p.awaits("the page says of when its figures are", `/Figures are as of \d\d:\d\d:\d\d\./.test(document.getElementById("stale").textContent)`)
	if after := eval[string](p, `getComputedStyle(document.querySelector("#figure-adds")).color`); after == before {
		t.Errorf("the figures are as strong as before: %s", after)
	}
	p.looksRight("server-gone")
}

func TestDashboard_databaseGoneIsNotReady(t *testing.T) {
	t.Parallel()
	s := serverStore(t, dbserver.MariaDB)
	between, dsn := s.through(t)
	s.stock(t, map[string]int{"mug": 5})
	shop := start(t, store{flags: []string{"--mysql-dsn", dsn}}, "--demo", "--admin-listen", "127.0.0.1:0")
	p := shop.watch(t)
	p.awaits("the stock is shown", available("mug")+` === "5"`)
	between.Away(true)
	p.awaits("the banner says so", `document.querySelector("#notices [role=alert]")?.textContent.includes("Not ready: database is unavailable")`)
	p.awaits("the stock is as of before", `document.getElementById("stock").textContent.includes("as of")`)
	p.looksRight("database-gone")
	between.Away(false)
	p.awaits("the banner goes", `document.querySelector("#notices [role=alert]") === null`)
	p.awaits("the stock is of now", `!document.getElementById("stock").textContent.includes("as of")`)
	p.isQuiet(shop.dashboard())
}

// hangingService accepts connections and never answers.
func hangingService(t *testing.T) (url string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the listener is closed
			}
			defer func() { _ = conn.Close() }() // when the test ends
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-accepted
	})
	return "http://" + listener.Addr().String()
}

// triesToBuy sends checkouts of 20 clients until the test's end. Fewer would not open the breaker.
func (i *instance) triesToBuy(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 20 {
		clients.Go(func() {
			for order := 0; ctx.Err() == nil; order++ {
				client := fmt.Sprintf("unpaid-%d-%d", n, order)
				i.send(ctx, addition(client, "mug", 1))
				i.send(ctx, purchase(client))
				pause(ctx, 100*time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		clients.Wait()
	})
}

// hanging are the settings of an instance whose payment service hangs.
func hanging(t *testing.T, timeout time.Duration) []string {
	t.Helper()
	return []string{
		"--demo", "--admin-listen", "127.0.0.1:0", "--payment-url", hangingService(t), "--payment-timeout", timeout.String(),
		"--checkout-lease", (timeout + 2*time.Second).String(), "--request-timeout", (timeout + time.Second).String(),
	}
}

func TestDashboard_gatewayHangingSaysThatNothingIsSold(t *testing.T) {
	t.Parallel()
	shop := start(t, embeddedStore(t), hanging(t, 300*time.Millisecond)...)
	p := shop.watch(t)
	shop.triesToBuy(t)
	p.awaits("the banner says so", `document.getElementById("notices").textContent.includes("Nothing is sold")`)
	p.awaits("refusals are no sales", `document.getElementById("figure-checkouts").textContent === "0/s"
		&& document.querySelector("#figures .mark.bad")?.textContent.includes("refused")`)
	p.awaits("open checkouts are shown with their clients", `document.getElementById("open").textContent.includes("unpaid-")`)
	p.looksRight("gateway-hanging")
	p.isQuiet(shop.dashboard())
}
