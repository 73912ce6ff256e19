package payment_test

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"cartwheel/payment"
	"cartwheel/payment/reference"
)

// world is a gateway and, for the one over HTTP, the payment service behind it.
type world struct {
	gateway payment.Gateway
	service *reference.Service
	reopen  func(*rapid.T) // nil where there is nothing to reopen
	close   func()
}

func sandboxWorld(t *rapid.T) *world {
	gateway, err := payment.Open("sandbox:?decline=0.3", payment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{gateway: gateway, close: gateway.Close}
}

func referenceWorld(t *rapid.T, folder string) *world {
	const secret = "sesame"
	path := filepath.Join(folder, "payments.log")
	w := &world{}
	var server *httptest.Server
	start := func(t *rapid.T) {
		service, err := reference.Open(path, reference.Options{Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		w.service = service
		server = httptest.NewServer(service)
		w.gateway, err = payment.Open(server.URL, payment.Options{Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.close = func() {
		w.gateway.Close()
		server.Close()
		_ = w.service.Close()
	}
	w.reopen = func(t *rapid.T) {
		w.close()
		start(t)
	}
	start(t)
	return w
}

// known is what the model knows of one checkout: its latest status, and the client whose charge was
// taken.
type known struct {
	status   string // "", approved, declined, voided or refunded
	client   string
	reason   string
	captures int
}

func checkGateway(t *rapid.T, w *world) {
	defer func() { w.close() }()
	model := make(map[string]*known)
	pick := func(t *rapid.T) (string, *known) {
		id := fmt.Sprintf("checkout/%d", rapid.IntRange(0, 5).Draw(t, "checkout"))
		if model[id] == nil {
			model[id] = &known{client: rapid.SampledFrom([]string{"ann", "bob", "decline-cy"}).Draw(t, "client")}
		}
		return id, model[id]
	}
	actions := map[string]func(*rapid.T){
		"charge": func(t *rapid.T) {
			id, k := pick(t)
			order := payment.Order{CheckoutID: id, ClientID: k.client, Items: []payment.Item{{ProductID: "tea", Quantity: 1}}}
			got, err := w.gateway.Charge(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			want := payment.Result{Status: payment.Status(k.status), Reason: k.reason}
			switch k.status {
			case "":
				// The first charge decides; who is always declined must be.
				if got.Status == payment.Voided || k.client == "decline-cy" && got.Status != payment.Declined {
					t.Fatalf("first charge of %s for %s = %v", id, k.client, got)
				}
				want = got
				k.status, k.reason = string(got.Status), got.Reason
				if got.Status == payment.Approved {
					k.captures++
				}
			case "refunded", "voided":
				want = payment.Result{Status: payment.Voided}
			}
			if got != want {
				t.Fatalf("charge of %s, which is %s: %v, want %v", id, k.status, got, want)
			}
		},
		"void": func(t *rapid.T) {
			id, k := pick(t)
			got, err := w.gateway.Void(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			want := payment.Voided
			switch k.status {
			case "approved":
				want = payment.Approved
			case "refunded":
			default:
				k.status, k.reason = "voided", ""
			}
			if got != (payment.Result{Status: want}) {
				t.Fatalf("void of %s = %v, want %s", id, got, want)
			}
		},
		"refund": func(t *rapid.T) {
			id, k := pick(t)
			if k.status == "" {
				t.Skip("the sandbox and the service differ by design")
			}
			err := w.gateway.Refund(t.Context(), id)
			refundable := k.status == "approved" || k.status == "refunded"
			if refundable != (err == nil) {
				t.Fatalf("refund of %s, which is %s: %v", id, k.status, err)
			}
			if refundable {
				k.status = "refunded"
			}
		},
		"": func(t *rapid.T) {
			if w.service == nil {
				return
			}
			payments := w.service.Payments()
			for id, k := range model {
				got := payments[id]
				if got.Captures != k.captures || got.Captures > 1 {
					t.Fatalf("%s was captured %d times, want %d", id, got.Captures, k.captures)
				}
				want := k.status
				if want == "approved" {
					want = "charged"
				}
				if string(got.Status) != want {
					t.Fatalf("the service holds %s as %q, want %q", id, got.Status, want)
				}
			}
		},
	}
	if w.reopen != nil {
		actions["reopen"] = w.reopen
	}
	t.Repeat(actions)
}

func TestSandbox_keepsTheProtocolInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { checkGateway(t, sandboxWorld(t)) })
}

func TestReferenceService_keepsTheProtocolInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t2 *rapid.T) { checkGateway(t2, referenceWorld(t2, t.TempDir())) })
}
