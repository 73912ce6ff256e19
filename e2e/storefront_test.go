package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// The storefront of docs/storefront.md, with its payment service and webhook, in a real browser.
func TestStorefront_customerBuysAndCancels(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "storefront")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = "../examples/storefront"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	onEachEngine(t, func(t *testing.T, s store) {
		s.stock(t, map[string]int{"mug": 5, "espresso": 1, "grinder": 3})
		front := freeAddress(t)
		back := start(t, s, "--payment-url", "http://"+front+"/gateway", "--webhook-url", "http://"+front+"/events",
			"--webhook-secret", webhookSecret)
		startStorefront(t, program, front, back.base)
		p := openBrowser(t)
		p.do("open the shop", chromedp.Navigate("http://"+front+"/"))
		// Found and clicked at once: the page may draw its tables anew in between.
		clickOn := func(selector string) {
			t.Helper()
			p.awaits("click on "+selector, fmt.Sprintf("(b => b?.checkVisibility() && (b.click(), true))(document.querySelector(`%s`))", selector))
		}
		click := func(label string) { clickOn(fmt.Sprintf("[aria-label=%q]", label)) }
		cart := func(product, want string) {
			t.Helper()
			p.awaits("the cart has "+want+" of "+product,
				fmt.Sprintf("(document.querySelector('#cart [data-product=%q]')?.cells[1].textContent ?? '') == %q", product, want))
		}
		says := func(words string) {
			t.Helper()
			p.awaits("the page says "+words, fmt.Sprintf("document.getElementById('message').textContent.includes(%q)", words))
		}

		// A guest fills a cart, changes it and logs in.
		click("Add mug")
		cart("mug", "1")
		click("Add mug")
		cart("mug", "2")
		click("Less mug")
		cart("mug", "1")
		click("Add espresso")
		cart("espresso", "1")
		click("Add espresso") // there is one
		says("not enough")
		p.do("log in", chromedp.SendKeys(chromedp.CSS("#name"), "ann"), chromedp.Click(chromedp.CSS("#login")))
		says("Welcome")
		cart("mug", "1")

		// Another customer buys the last espresso: the line blocks the cart until it is removed.
		back.want(t, 200, addition("bob", "espresso", 1))
		back.want(t, 402, purchase("bob")) // nobody authorised that
		back.want(t, 200, update("bob", "espresso", 0))
		s.manualSQL(t).exec("UPDATE product_details SET quantity = 0 WHERE product_id = 'espresso'")
		eval[string](p, "document.getElementById('code').value = '1234'")
		p.do("buy", chromedp.Click(chromedp.CSS("#buy")))
		says("not enough of a product")
		p.awaits("the line says what is left", "document.querySelector('#cart [data-product=\"espresso\"]').textContent.includes('only 0 left')")
		click("Remove espresso")
		cart("espresso", "")

		// The customer's bank says no, then yes.
		code := func(code string) {
			t.Helper()
			eval[string](p, fmt.Sprintf("document.getElementById('code').value = %q", code))
			p.do("buy", chromedp.Click(chromedp.CSS("#buy")))
		}
		code("1")
		says("declined")
		cart("mug", "1")
		code("1234")
		says("Thank you")
		cart("mug", "")
		p.awaits("the event has come", "document.querySelector('#orders [data-state=\"sold\"]')")
		if b := s.snapshot(t); b.onHand["mug"] != 4 {
			t.Errorf("%d mugs on hand, want 4", b.onHand["mug"])
		}

		// The sale is cancelled: the money first, then the stock.
		clickOn(`#orders [data-state="sold"] button`)
		says("on its way back")
		p.awaits("the event has come", "document.querySelector('#orders [data-state=\"cancelled\"]')")
		if b := s.snapshot(t); b.onHand["mug"] != 5 {
			t.Errorf("%d mugs on hand, want 5", b.onHand["mug"])
		}
		p.photograph("storefront-" + filepath.Base(t.Name()))
		p.forgive() // the browser reports each 409 and 402 as an error
		p.isQuiet("http://" + front)
	})
}

// startStorefront runs the example until the test's end.
func startStorefront(t *testing.T, program, listen, cartwheel string) {
	t.Helper()
	var log strings.Builder
	command := exec.Command(program, "-listen", listen, "-cartwheel", cartwheel)
	command.Env = append(cleanEnvironment(), "WEBHOOK_SECRET="+webhookSecret)
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatalf("start the storefront: %v", err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // it was killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	eventually(t, soon, "the storefront listens", func() bool {
		response, err := http.Get("http://" + listen + "/")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil
	})
}
