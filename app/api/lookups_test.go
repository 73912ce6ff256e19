package api

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func TestChanges_reachTheShop(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, request := range [][2]string{
		{"/updateCart", `{"clientID":"ann","productID":"tea","quantity":0}`},
		{"/emptyCart", `{"clientID":"ann"}`},
		{"/mergeCarts", `{"fromClientID":"guest","toClientID":"ann"}`},
		{"/cancelCheckout", `{"checkoutID":"c-1"}`},
	} {
		checkAnswer(t, s.do("POST", request[0], request[1], "Idempotency-Key", "k"), 200, "")
	}
	want := []string{"update {ClientID:ann ProductID:tea Quantity:0 Key:k}", "empty ann, key k", "merge guest into ann, key k", "cancel c-1"}
	if diff := cmp.Diff(want, s.shop.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestChanges_invalidInputNamesTheField(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, test := range []struct{ path, body, words string }{
		{"/updateCart", `{"clientID":"ann","productID":"tea","quantity":-1}`, "quantity: want an integer from 0 to 2147483647"},
		{"/updateCart", `{"clientID":"ann","productID":"tea","quantity":-0}`, "quantity: want an integer from 0 to 2147483647"},
		{"/updateCart", `{"clientID":"ann","productID":"tea"}`, "quantity: missing"},
		{"/emptyCart", `{"clientID":""}`, "clientID: want 1 to 100"},
		{"/mergeCarts", `{"fromClientID":"ann","toClientID":"ann"}`, "toClientID: want another client than fromClientID"},
		{"/cancelCheckout", `{"checkoutID":7}`, "checkoutID: want a string"},
		{"/mergeCarts", `{"fromClientID":"ann"}`, "toClientID: missing"},
	} {
		checkAnswer(t, s.do("POST", test.path, test.body), 400, test.words)
	}
	if len(s.shop.asked) != 0 {
		t.Errorf("the shop was asked %q", s.shop.asked)
	}
}

func TestLookups_largeAnswersForSlowReadersAreBounded(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	line := inventory.Line{ProductID: strings.Repeat("p", 100), Quantity: 1}
	for range maxCheckouts {
		s.shop.entries = append(s.shop.entries, checkout.Entry{CheckoutID: "c", Lines: slices.Repeat([]inventory.Line{line}, 500)})
	}
	const readers = 20
	var conns []net.Conn
	for range readers {
		conn := s.dial()
		if _, err := io.WriteString(conn, "GET /checkouts?clientID=ann HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn) // which nobody reads
	}
	databasetest.Eventually(t, time.Minute, "a large answer is refused", func() bool {
		return s.do("GET", "/checkouts?clientID=ann", "").code == 503
	})
	checkAnswer(t, s.do("GET", "/checkouts?clientID=ann", ""), 503, "too many large answers")
	if got := s.do("GET", "/cart?clientID=ann", ""); got.code != 200 {
		t.Errorf("a small answer: %v", got)
	}
	for _, conn := range conns {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	databasetest.Eventually(t, 10*time.Second, "a large answer is given", func() bool {
		return s.do("GET", "/checkouts?clientID=ann", "").code == 200
	})
}

func TestLookups_answerWhatTheShopHas(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	s.shop.view = cart.View{
		Lines:            []cart.ViewLine{{ProductID: "tea", ProductName: "Tea <green>", Quantity: 2, Available: 7}},
		CheckoutUnderWay: true, ETag: "abc",
	}
	s.shop.products = []inventory.Product{{ID: "tea", Name: "Tea", Level: inventory.Level{OnHand: 9, Reserved: 2}}}
	s.shop.entries = []checkout.Entry{{
		CheckoutID: "c-1", ClientID: "ann", State: checkout.Committed, Reference: "o-1", CreatedAt: at, UpdatedAt: at,
		Lines: []inventory.Line{{ProductID: "tea", Quantity: 2}},
	}}
	const success = `{"status":"Success","error":"",`
	const entry = `"checkoutID":"c-1","clientID":"ann","reference":"o-1","state":"committed","reason":"",` +
		`"lines":[{"productID":"tea","quantity":2}],"createdAt":"2026-01-02T03:04:05.006Z","updatedAt":"2026-01-02T03:04:05.006Z"}`
	for _, test := range []struct{ path, want, asked string }{
		{"/cart?clientID=ann", success + `"lines":[{"productID":"tea","productName":"Tea <green>","quantity":2,"available":7}],"checkoutUnderWay":true}`,
			"cart of ann"},
		{"/stock?productID=tea&productID=gr%C3%BCn", success + `"products":[{"productID":"tea","productName":"Tea","onHand":9,"reserved":2,"available":7}]}`,
			`stock of ["tea" "grün"]`},
		{"/checkout?checkoutID=c-1", success + entry, "checkout c-1"},
		{"/checkouts?clientID=ann", success + `"checkouts":[{` + entry + `]}`, `20 checkouts of ann before ""`},
		{"/checkouts?clientID=ann&limit=1&before=c-2", success + `"checkouts":[{` + entry + `]}`, `1 checkouts of ann before "c-2"`},
	} {
		got := s.do("GET", test.path, "", "If-None-Match", `"abc"`)
		if got.code != 200 || got.body != test.want+"\n" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: got %d %s %v\nwant %s", test.path, got.code, got.body, got.header, test.want)
		}
		if asked := s.shop.asked[len(s.shop.asked)-1]; asked != test.asked {
			t.Errorf("GET %s asked for %q, want %q", test.path, asked, test.asked)
		}
	}
	if tag := s.do("HEAD", "/cart?clientID=ann", "").header.Get("ETag"); tag != `"abc"` {
		t.Errorf("got ETag %q", tag)
	}
}

func TestLookups_emptyListsAreLists(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for path, want := range map[string]string{
		"/cart?clientID=ann": `"lines":[]`, "/stock?productID=x": `"products":[]`, "/checkouts?clientID=ann": `"checkouts":[]`,
	} {
		if got := s.do("GET", path, ""); !strings.Contains(got.body, want) {
			t.Errorf("GET %s: got %s, want %s", path, got.body, want)
		}
	}
}

func TestLookups_invalidParametersAreNamed(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for path, words := range map[string]string{
		"/cart":                           "clientID: missing",
		"/cart?clientID=":                 "clientID: want 1 to 100 Unicode characters, got 0",
		"/cart?clientID=%ff":              "clientID: want UTF-8",
		"/cart?clientID=%2":               "query: want parameters in percent-encoding",
		"/cart?clientID=ann&clientID=bob": "clientID: want it once, got it 2 times",
		"/cart?clientID=ann&client=bob":   "client: unknown parameter",
		"/stock":                          "productID: want it 1 to 100 times, got it 0 times",
		"/stock?productID=%20a":           "productID: want no white space at either end",
		"/stock?" + strings.Repeat("productID=a&", 101): "productID: want it 1 to 100 times, got it 101 times",
		"/checkout":                         "checkoutID: missing",
		"/checkouts?clientID=ann&limit=0":   "limit: want an integer from 1 to 100, got 0",
		"/checkouts?clientID=ann&limit=1.5": "limit: want an integer from 1 to 100, got 1.5",
		"/checkouts?clientID=ann&before=":   "before: want 1 to 100",
	} {
		checkAnswer(t, s.do("GET", path, ""), 400, words)
	}
	if len(s.shop.asked) != 0 {
		t.Errorf("the shop was asked %q", s.shop.asked)
	}
}

func TestLookups_unknownCheckoutIs404(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	s.shop.entries = make([]checkout.Entry, 1)
	s.shop.answer = func(context.Context) error { return checkout.ErrNotFound }
	got := s.do("GET", "/checkout?checkoutID=c-1", "")
	checkAnswer(t, got, 404, "no such checkout")
	if code := got.header.Get("Cartwheel-Error"); code != "no_such_checkout" {
		t.Errorf("got code %q", code)
	}
}
