package payment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newSandbox(t *testing.T, rawURL string) *Sandbox {
	t.Helper()
	gateway, err := Open(rawURL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return gateway.(*Sandbox)
}

func TestSandbox_declinesItsShare(t *testing.T) {
	t.Parallel()
	sandbox := newSandbox(t, "sandbox:?decline=0.1")
	again := newSandbox(t, "sandbox:?decline=0.1")
	const checkouts = 20_000
	declined := 0
	for i := range checkouts {
		order := Order{CheckoutID: fmt.Sprintf("checkout-%d", i), ClientID: "ann"}
		got, err := sandbox.Charge(t.Context(), order)
		if err != nil {
			t.Fatal(err)
		}
		if got.Status == Declined {
			declined++
			if got.Reason == "" {
				t.Errorf("%s was declined without a reason", order.CheckoutID)
			}
		}
		if other, _ := again.Charge(t.Context(), order); other != got {
			t.Fatalf("%s: one sandbox says %v, the next %v", order.CheckoutID, got, other)
		}
	}
	if declined < checkouts*8/100 || declined > checkouts*12/100 {
		t.Errorf("declined %d of %d, want about a tenth", declined, checkouts)
	}
	for share, want := range map[string]Status{"0": Approved, "1": Declined} {
		sandbox := newSandbox(t, "sandbox:?decline="+share)
		for i := range 1000 {
			order := Order{CheckoutID: fmt.Sprint(i), ClientID: "ann"}
			if got, _ := sandbox.Charge(t.Context(), order); got.Status != want {
				t.Fatalf("decline=%s answered %v to checkout %d", share, got, i)
			}
		}
	}
}

func TestSandbox_chargesHaveLatencyAndVoidsHaveNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sandbox := newSandbox(t, "sandbox:?latency=2s")
		started := time.Now()
		if got, err := sandbox.Charge(t.Context(), Order{CheckoutID: "1"}); err != nil || got.Status != Approved {
			t.Errorf("Charge = %v, %v", got, err)
		}
		if got := time.Since(started); got != 2*time.Second {
			t.Errorf("the charge took %v, want 2s", got)
		}
		if got, err := sandbox.Void(t.Context(), "2"); err != nil || got.Status != Voided {
			t.Errorf("Void = %v, %v", got, err)
		}
		if got := time.Since(started); got != 2*time.Second {
			t.Errorf("the void took %v", got-2*time.Second)
		}
	})
}

func TestSandbox_cancelledChargeHasChargedNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sandbox := newSandbox(t, "sandbox:?latency=2s")
		cut := func(id string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := sandbox.Charge(ctx, Order{CheckoutID: id})
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotSent) {
				t.Errorf("Charge = %v, want an unknown outcome", err)
			}
		}
		cut("voided")
		if got, _ := sandbox.Void(t.Context(), "voided"); got.Status != Voided {
			t.Errorf("Void after a charge cut short = %v", got)
		}
		if got, _ := sandbox.Charge(t.Context(), Order{CheckoutID: "voided"}); got.Status != Voided {
			t.Errorf("Charge after the void = %v", got)
		}
		cut("charged")
		if got, _ := sandbox.Charge(t.Context(), Order{CheckoutID: "charged"}); got.Status != Approved {
			t.Errorf("Charge again = %v", got)
		}
	})
}

func TestSandbox_voidOvertakesAWaitingCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sandbox := newSandbox(t, "sandbox:?latency=2s")
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				if got, err := sandbox.Charge(t.Context(), Order{CheckoutID: "1"}); err != nil || got.Status != Voided {
					t.Errorf("Charge = %v, %v, want voided", got, err)
				}
			})
		}
		synctest.Wait()
		if got, _ := sandbox.Void(t.Context(), "1"); got.Status != Voided {
			t.Errorf("Void = %v", got)
		}
		group.Wait()
	})
}

func TestSandbox_endedContextIsNotSent(t *testing.T) {
	t.Parallel()
	sandbox := newSandbox(t, "sandbox:")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sandbox.Charge(ctx, Order{CheckoutID: "1"}); !errors.Is(err, ErrNotSent) {
		t.Errorf("Charge = %v, want ErrNotSent", err)
	}
	if got, _ := sandbox.Void(t.Context(), "1"); got.Status != Voided {
		t.Errorf("Void = %v", got)
	}
}

func TestSandbox_forgetsTheOldestFirst(t *testing.T) {
	t.Parallel()
	sandbox := newSandbox(t, "sandbox:")
	sandbox.memory = 3
	for i := range 10 {
		if _, err := sandbox.Charge(t.Context(), Order{CheckoutID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		if got := len(sandbox.payments); got > 3 {
			t.Fatalf("it remembers %d payments, want 3 at most", got)
		}
	}
	var remembered []string
	for i := range 10 {
		key, _ := fingerprint(fmt.Sprint(i))
		if sandbox.payments[key] == sandboxCharged {
			remembered = append(remembered, fmt.Sprint(i))
		}
	}
	if diff := cmp.Diff([]string{"7", "8", "9"}, remembered); diff != "" {
		t.Errorf("remembered (-want +got):\n%s", diff)
	}
}

func TestSandbox_refundOfAForgottenPaymentEnds(t *testing.T) {
	t.Parallel()
	sandbox := newSandbox(t, "sandbox:")
	if got, err := sandbox.Refund(t.Context(), "forgotten"); err != nil || got.Status != Refunded {
		t.Errorf("Refund of a forgotten payment = %v, %v", got, err)
	}
	if got, _ := sandbox.Charge(t.Context(), Order{CheckoutID: "forgotten"}); got.Status != Voided {
		t.Errorf("Charge after a refund = %v", got)
	}
	if _, err := sandbox.Void(t.Context(), "voided"); err != nil {
		t.Fatal(err)
	}
	if got, err := sandbox.Refund(t.Context(), "voided"); err != nil || got != (Result{Refused, reasonRefund}) {
		t.Errorf("Refund of a voided payment = %v, %v", got, err)
	}
}

//nolint:paralleltest // other tests' allocations would be counted
func TestSandbox_chargeAllocatesNothing(t *testing.T) {
	sandbox := newSandbox(t, "sandbox:?decline=0.1")
	ctx := t.Context()
	order := Order{CheckoutID: "0198c0de-0000-7000-8000-000000000001", ClientID: "ann"}
	if got := testing.AllocsPerRun(1000, func() {
		if _, err := sandbox.Charge(ctx, order); err != nil {
			t.Fatal(err)
		}
	}); got != 0 {
		t.Errorf("%v allocations a charge, want none", got)
	}
}

func TestSandbox_reportsItsCalls(t *testing.T) {
	t.Parallel()
	var got []string
	underWay := map[string]int{}
	gateway, err := Open("sandbox:", Options{Observe: Observer{
		Began: func(call string) { underWay[call]++ },
		Called: func(call, outcome string, _ time.Duration) {
			got = append(got, call+" "+outcome)
			if underWay[call]--; underWay[call] != 0 {
				t.Errorf("%s: %d under way at the end of one that is alone", call, underWay[call])
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = gateway.Charge(ended, Order{CheckoutID: "1"})
	_, _ = gateway.Charge(t.Context(), Order{CheckoutID: "1"})
	_, _ = gateway.Charge(t.Context(), Order{CheckoutID: "2", ClientID: "decline-cy"})
	_, _ = gateway.Void(t.Context(), "1")
	_, _ = gateway.Void(t.Context(), "2")
	_, _ = gateway.Refund(t.Context(), "1")
	_, _ = gateway.Refund(t.Context(), "2")
	want := []string{
		"charge not_sent", "charge approved", "charge declined", "void approved", "void voided",
		"refund refunded", "refund refused",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}
