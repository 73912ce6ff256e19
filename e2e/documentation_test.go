package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

func TestDocumentation_pagePlacesOrder(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	shop := start(t, s, "--demo")
	p := openBrowser(t)
	p.do("open the documentation", chromedp.Navigate(shop.base+"/documentation"))
	for _, operation := range []string{"addToCart", "checkOutCart"} {
		block := "#operations-shop-" + operation
		p.do("try "+operation+" out",
			chromedp.WaitVisible(chromedp.CSS(block)),
			chromedp.Click(chromedp.CSS(block+" .opblock-summary-control")),
			chromedp.Click(chromedp.CSS(block+" .try-out__btn")),
			chromedp.Click(chromedp.CSS(block+" .execute")),
			chromedp.WaitVisible(chromedp.CSS(block+" .live-responses-table .response-col_status")))
		if got := strings.TrimSpace(p.text(block + " .live-responses-table tbody .response-col_status")); !strings.HasPrefix(got, "200") {
			t.Errorf("%s was answered %q, want 200", operation, got)
		}
		if got := p.text(block + " .live-responses-table .highlight-code"); !strings.Contains(got, `"Success"`) {
			t.Errorf("%s: the page shows %q, want Success", operation, got)
		}
	}
	p.isQuiet(shop.base)
	if b := s.snapshot(t); b.onHand["mug"] != 498 || b.held["mug"] != 0 || len(b.carts["alice"]) != 0 {
		t.Errorf("%d mugs on hand, %d held, in the cart %v: want 498, none, nothing", b.onHand["mug"], b.held["mug"], b.carts["alice"])
	}
}
