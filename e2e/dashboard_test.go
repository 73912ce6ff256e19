package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"cartwheel/database"
)

// dashboard is where an instance says that its dashboard is.
func (i *instance) dashboard() string {
	i.t.Helper()
	address := i.log.attribute("listening", "dashboard")
	if address == "" {
		i.t.Fatalf("the instance does not say where its dashboard is:\n%s", i.log)
	}
	return address
}

// isLive waits until the page receives events.
func (p *page) isLive() {
	p.t.Helper()
	p.awaits("the dashboard is live", `document.getElementById("connection").dataset.state === "live"
		&& document.getElementById("figure-adds") !== null`)
}

// keepBusy sends orders until the test's end or stop.
func (i *instance) keepBusy(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for n := range 6 {
		clients.Go(func() {
			ticker := time.NewTicker(time.Duration(30+17*n) * time.Millisecond)
			defer ticker.Stop()
			for order := 0; ctx.Err() == nil; order++ {
				client := fmt.Sprintf("visitor-%d-%d", n, order)
				if order%9 == 4 {
					client = "decline-" + client
				}
				product := []string{"mug", "espresso", "mug", "kettle", "mug", "grinder", "no such product"}[(n+order)%7]
				i.send(ctx, addition(client, product, 1))
				if order%2 == 0 {
					i.send(ctx, purchase(client))
				}
				select {
				case <-ticker.C:
				case <-ctx.Done():
				}
			}
		})
	}
	stop = func() {
		cancel()
		clients.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// hostile is a product's ID that wants to be a part of the page.
const hostile = `<script>window.stolen=1</script>`

// available is what the dashboard says of a product's stock.
func available(product string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#stock tbody tr")].find(r => r.querySelector(".id").textContent === %q)?.cells[1].textContent ?? ''`, product)
}

func TestDashboard_showsNewOrders(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		shop := start(t, s, "--demo", "--admin-listen", "127.0.0.1:0", "--payment-url", "sandbox:?latency=120ms")
		s.stock(t, map[string]int{hostile: 3, "teapot": 0})
		p := openBrowser(t)
		p.do("open the dashboard", chromedp.Navigate(shop.dashboard()))
		p.isLive()
		if got := eval[int](p, `document.querySelectorAll(".charts canvas").length`); got != 6 {
			t.Errorf("%d charts, want 6", got)
		}
		before := eval[string](p, available("mug"))
		if before != "500" {
			t.Errorf("available of the mug: %q, want 500", before)
		}
		if got := strings.TrimSuffix(p.text("#figure-adds"), "/s"); got != "0" {
			t.Errorf("%q adds a second before the first order, want 0", got)
		}

		stop := shop.keepBusy(t)
		p.awaits("adds are counted", `parseFloat(document.getElementById("figure-adds").textContent) > 0`)
		p.awaits("checkouts are counted", `parseFloat(document.getElementById("figure-checkouts").textContent) > 0`)
		p.awaits("stock goes down", "("+available("mug")+`) !== "500"`)
		p.awaits("an open checkout is shown", `document.querySelectorAll("#open tbody tr").length > 0`)
		stop()
		p.awaits("adds stop", `parseFloat(document.getElementById("figure-adds").textContent) === 0`)
		p.awaits("all is settled", `document.querySelectorAll("#open tbody tr").length === 0`)

		// What others name their products is shown, and never run.
		if got := eval[string](p, available(hostile)); got != "3" {
			t.Errorf("available of the hostile product: %q, want 3", got)
		}
		if eval[bool](p, `"stolen" in window || document.querySelector("#stock script") !== null`) {
			t.Error("a product's ID became a part of the page")
		}
		p.isQuiet(shop.dashboard())
	})
}

func TestDashboard_opensWithTheTokenAlone(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shop := launchUnder(t, embeddedStore(t), []string{"env", "ADMIN_TOKEN_FILE=" + token}, "--admin-listen", ":0")
	shop.await()
	base := strings.TrimSuffix(strings.TrimPrefix(shop.dashboard(), "http://"), "/")
	answer, err := http.Get("http://" + base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the token: %d, want 401", answer.StatusCode)
	}
	p := openBrowser(t)
	authorised := "http://operator:right@" + base + "/"
	p.do("open the dashboard", chromedp.Navigate(authorised))
	p.isLive()
	p.isQuiet(base)

	// Without --demo, the payment sandbox is warned of: on the page, in the log and by a metric.
	if got := p.text("#sandbox"); !strings.Contains(got, "no customer is charged") {
		t.Errorf("the page says of the sandbox: %q", got)
	}
	if !containsAll(shop.log.String(), "no customer is charged", "WARN") {
		t.Errorf("the log does not warn of the sandbox:\n%s", shop.log)
	}
	if strings.Contains(shop.log.String(), "right") {
		t.Errorf("the log has the token:\n%s", shop.log)
	}
}

func TestDashboard_reconnectsAfterRestart(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	flags := []string{"--demo", "--listen", freeAddress(t), "--admin-listen", freeAddress(t)}
	shop := start(t, s, flags...)
	p := openBrowser(t)
	p.do("open the dashboard", chromedp.Navigate(shop.dashboard()))
	p.isLive()
	p.isQuiet(shop.dashboard())
	shop.kill()
	p.awaits("the page says that it is disconnected", `document.getElementById("connection").textContent === "Disconnected, trying again"`)
	shop = start(t, s, flags...)
	p.isLive()
	p.forgive() // a browser complains of a server that is away
	shop.keepBusy(t)
	p.awaits("the page goes on", `parseFloat(document.getElementById("figure-adds").textContent) > 0`)
	p.isQuiet(shop.dashboard())
}

func TestDashboard_fitsScreensAndColorSchemes(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	if photographing() {
		dir, err := os.MkdirTemp("", "shop-") // the page shows its name
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		s = store{flags: []string{"--data-dir", dir}, config: database.Config{DataDir: dir}}
	}
	shop := start(t, s, "--demo", "--admin-listen", "127.0.0.1:0", "--payment-url", "sandbox:?latency=300ms")
	p := openBrowser(t)
	shop.keepBusy(t)
	if photographing() {
		p.do("watch for a while", chromedp.Navigate(shop.dashboard()))
		eventually(t, browserTime/2, "there is something to see", func() bool {
			return eval[bool](p, `document.getElementById("audit").textContent.includes("Consistent")`)
		})
	} else {
		s.stock(t, map[string]int{strings.Repeat("long-", 20): 8})
	}
	backgrounds := map[string]string{}
	for _, screen := range []struct {
		name, scheme  string
		width, height int64
		phone         bool
	}{
		{"dashboard-light", "light", 1440, 1240, false},
		{"dashboard-dark", "dark", 1440, 1240, false},
		{"dashboard-phone", "light", 390, 844, true},
		{"narrow", "dark", 320, 640, true},
		{"tablet", "light", 900, 1200, false},
	} {
		p.screen(screen.width, screen.height, screen.phone)
		p.prefersScheme(screen.scheme)
		p.do("open the dashboard", chromedp.Navigate(shop.dashboard()))
		p.isLive()
		p.awaits("the charts have some seconds", `Number(document.getElementById("figure-adds").textContent.replace("/s", "")) > 0`)
		if wide := eval[int64](p, "document.documentElement.scrollWidth"); wide > screen.width {
			t.Errorf("%s: the page is %d wide on a screen of %d", screen.name, wide, screen.width)
		}
		backgrounds[screen.scheme] = eval[string](p, "getComputedStyle(document.body).backgroundColor")
		if strings.HasPrefix(screen.name, "dashboard") {
			p.photograph(screen.name)
		}
	}
	if backgrounds["light"] == backgrounds["dark"] {
		t.Errorf("light and dark have the same background, %s", backgrounds["light"])
	}
	// The keyboard reaches the tables, and shows where it is.
	p.do("go by keyboard", chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab))
	if got := eval[string](p, "document.activeElement.id"); got != "stock" {
		t.Errorf("the second Tab leads to %q, want the stock", got)
	}
	if got := eval[string](p, "getComputedStyle(document.activeElement).outlineStyle"); got == "none" {
		t.Error("the focus does not show")
	}
	p.isQuiet(shop.dashboard())
}
