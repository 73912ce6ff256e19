package payment_test

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strings"
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

// known is what the model knows of one checkout.
type known struct {
	status payment.Status // empty before the first call
	client string
	reason string // of a decline
}

func checkGateway(t *rapid.T, w *world) {
	defer func() { w.close() }()
	model := make(map[string]*known)
	pick := func(t *rapid.T) (string, *known) {
		id := fmt.Sprintf("checkout/%d", rapid.IntRange(0, 5).Draw(t, "checkout"))
		if model[id] == nil {
			clients := rapid.SampledFrom([]string{"ann", "bob", "decline-cy", "norefund-di"})
			model[id] = &known{client: clients.Draw(t, "client")}
		}
		return id, model[id]
	}
	actions := map[string]func(*rapid.T){
		"charge": func(t *rapid.T) {
			id, k := pick(t)
			tea := []payment.Item{{ProductID: "tea", Quantity: 1}}
			order := payment.Order{CheckoutID: id, ClientID: k.client, Items: tea}
			got, err := w.gateway.Charge(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			want := payment.Result{Status: k.status, Reason: k.reason}
			switch k.status {
			case "":
				// The first charge decides; who is always declined must be.
				if got.Status == payment.Voided || k.client == "decline-cy" && got.Status != payment.Declined {
					t.Fatalf("first charge of %s for %s = %v", id, k.client, got)
				}
				want = got
				k.status, k.reason = got.Status, got.Reason
			case payment.Refunded, payment.Voided:
				want = payment.Result{Status: payment.Voided}
			default: // a repeat answers the same
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
			case payment.Approved:
				want = payment.Approved
			case payment.Refunded:
			default:
				k.status, k.reason = payment.Voided, ""
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
			got, err := w.gateway.Refund(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			want := payment.Refused
			refusesClient := w.service != nil && strings.HasPrefix(k.client, "norefund-")
			if k.status == payment.Refunded || k.status == payment.Approved && !refusesClient {
				want, k.status = payment.Refunded, payment.Refunded
			}
			if got.Status != want || (got.Reason != "") != (want == payment.Refused) {
				t.Fatalf("refund of %s, which is %s: %v, want %s", id, k.status, got, want)
			}
		},
		"": func(t *rapid.T) {
			if w.service == nil {
				return
			}
			payments := w.service.Payments()
			for id, k := range model {
				if got := payments[id].Status; got != k.status {
					t.Fatalf("the service has %s as %q, want %q", id, got, k.status)
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
