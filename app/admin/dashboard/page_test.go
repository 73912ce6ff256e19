package dashboard

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/inventory"
)

func TestDashboard_escapesStoredText(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const hostile = `<script>alert("1")</script>`
	s.products = []inventory.Product{product(hostile, 5)}
	s.open = []checkout.Entry{
		{CheckoutID: hostile, ClientID: hostile, State: checkout.Refunding, Epoch: 3, CreatedAt: time.Now()},
		{CheckoutID: "cancelled", State: checkout.Cancelling, Epoch: 2, CreatedAt: time.Now()},
	}
	s.audit.Store(&checkout.Report{At: time.Now(), Count: 1, Inconsistencies: []checkout.Inconsistency{{Rule: checkout.RuleStock, What: hostile, Detail: hostile}}})
	page := s.get("/").text
	var update update
	for range 3 { // by now the database was read, and the page rendered
		s.next(&update)
	}
	html := update.HTML
	for where, text := range map[string]string{
		"the page": page, "stock": html["stock"], "open checkouts": html["open"], "audit": html["audit"],
	} {
		if strings.Contains(text, "<script>alert") {
			t.Errorf("%s has it as it is: %s", where, text)
		}
		if !strings.Contains(text, "&lt;script&gt;alert") {
			t.Errorf("%s does not have it: %s", where, text)
		}
	}
	if strings.Count(html["open"], " failed ") != 1 || !strings.Contains(html["open"], "2 failed recoveries") || !strings.Contains(html["audit"], "1 inconsistency<") {
		t.Errorf("open: %s, audit: %s", html["open"], html["audit"])
	}
}

func TestDashboard_showsLowestStockAndExplainsNone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if page := s.get("/").text; !strings.Contains(page, "cartwheel stock import") {
		t.Error("an empty catalogue does not say how to fill it")
	}
	s = setup(t)
	for i := range maxProducts + 1 {
		s.products = append(s.products, product(fmt.Sprintf("p%03d", i), int64(i)))
	}
	page := s.get("/").text
	if got := strings.Count(page, `class="id short">p`); got != maxProducts || !strings.Contains(page, "cartwheel stock list") {
		t.Errorf("%d products, want %d and that there are more", got, maxProducts)
	}
}

func TestDashboard_warnsOfTheSandbox(t *testing.T) {
	t.Parallel()
	s := setup(t)
	const warning = "no customer is charged"
	if strings.Contains(s.get("/").text, warning) {
		t.Error("a warning of the sandbox, which is not used")
	}
	s.sandbox.Store(true)
	if !strings.Contains(s.get("/").text, warning) {
		t.Error("no warning of the sandbox")
	}
}

func TestDashboard_saysThatTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.err = errors.New("secret detail")
	page := s.get("/").text
	if got := strings.Count(page, "Could not be read"); got != 4 {
		t.Errorf("%d parts say that they could not be read, want the stock and three lists of checkouts", got)
	}
	if strings.Contains(page, "secret detail") || strings.Contains(page, "everything is settled") {
		t.Error("the page tells what it does not know, or what it should not")
	}
}

func TestRunbook_hasAnAnchorForEachAlert(t *testing.T) {
	t.Parallel()
	rules, err := os.ReadFile("../../../deploy/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`http://\{\{ \$labels\.instance \}\}(/runbook)#(\w+)`).FindAllSubmatch(rules, -1)
	if len(links) < 20 {
		t.Errorf("%d links were found: the test does not look", len(links))
	}
	page := setup(t).get("/runbook").text
	for _, link := range links {
		if !strings.Contains(page, `<b id="`+string(link[2])+`">### Cartwheel`) {
			t.Errorf("the page has no anchor %s", link[2])
		}
	}
	if !strings.Contains(page, "&lt;!-- tested") {
		t.Error("the text is not escaped")
	}
}

func TestDashboard_headlinesCountSuccessesAlone(t *testing.T) {
	t.Parallel()
	figures := render("figures", view{Sample: &sample{
		Adds:      rates{Success: 30, Refused: 5},
		Checkouts: rates{Declined: 1.5, TurnedAway: 2},
	}})
	for _, want := range []string{
		`id="figure-adds">30<`, `5.0/s refused`, `id="figure-checkouts">0<`, `<span class="mark bad">3.5/s refused</span>`,
	} {
		if !strings.Contains(figures, want) {
			t.Errorf("no %s in %s", want, figures)
		}
	}
}

func TestDashboard_bannersWhileNothingCanBeSold(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if page := s.get("/").text; strings.Contains(page, "Not ready") || strings.Contains(page, "Nothing is sold") {
		t.Error("a banner though all is well")
	}
	s.mu.Lock()
	s.notReady = errors.New("database is unavailable")
	s.mu.Unlock()
	s.metrics.Payments().BreakerChanged("half-open")
	page := s.get("/").text
	for _, want := range []string{
		`Not ready</b>: database is unavailable`, "Nothing is sold", `<div class="figure stale"><h2>Audit</h2>`, "Before the instance became not ready",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Index(page, "Not ready</b>") > strings.Index(page, "<section") {
		t.Error("the banner is not at the top")
	}
}

func TestDashboard_showsFailedAndNewestCheckoutsWithTheirClients(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.open = []checkout.Entry{{CheckoutID: "o", ClientID: "otto", State: checkout.Reserved, Epoch: 1, CreatedAt: time.Now()}}
	for i := range maxOpenCheckouts + 5 {
		s.recent = append(s.recent, checkout.Entry{
			CheckoutID: fmt.Sprint(i), ClientID: fmt.Sprintf("sold-%d-", i), State: checkout.Committed, Epoch: 1, CreatedAt: time.Now(),
		})
	}
	s.recent = append(s.recent, checkout.Entry{
		CheckoutID: "f", ClientID: "fred", State: checkout.RolledBack, Epoch: 1, Reason: "declined: no money", CreatedAt: time.Now(),
	})
	page := s.get("/").text
	if strings.Count(page, ">sold-") != maxOpenCheckouts || !strings.Contains(page, ">sold-0-") {
		t.Errorf("%d of the newest checkouts, want %d", strings.Count(page, ">sold-"), maxOpenCheckouts)
	}
	for _, want := range []string{">otto <", ">fred <", "declined: no money"} {
		if strings.Count(page, want) != 1 {
			t.Errorf("the page has %q %d times, want once", want, strings.Count(page, want))
		}
	}
}

func TestDashboard_showsTheLagOfSaleEvents(t *testing.T) {
	t.Parallel()
	s := setup(t)
	if strings.Contains(s.get("/").text, "sale events") {
		t.Error("sale events are shown without a webhook")
	}
	s.metrics.Events().Lag(12, 90*time.Second)
	if page := s.get("/").text; !strings.Contains(page, "12 undelivered, the oldest for 1m30s") {
		t.Error("the lag is not shown")
	}
}
