package checkout_test

import (
	"testing"
	"time"

	"cartwheel/checkout"
)

func TestOpenLevels_countEveryInstancesOpenCheckouts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		s.stock("book", 50)
		levels := make(chan checkout.OpenLevels, 1)
		in := s.open(settings{})
		s.open(settings{Config: checkout.Config{ObserveOpen: func(l checkout.OpenLevels) {
			select {
			case levels <- l:
			default:
			}
		}}})
		held := in.till.hold()
		s.add("ann", "book", 2)
		ann := in.begin("ann")
		held.await(t, 1)
		awaitLevels(t, levels, func(l checkout.OpenLevels) bool { return l.Count[checkout.Reserved] == 1 && l.Oldest > 0 })
		held.open(s.ledger.approve)
		wantErr(t, ann.end(), nil)
		awaitLevels(t, levels, func(l checkout.OpenLevels) bool { return len(l.Count) == 0 && l.Oldest == 0 })
	})
}

func awaitLevels(t *testing.T, levels <-chan checkout.OpenLevels, fit func(checkout.OpenLevels) bool) {
	t.Helper()
	var last checkout.OpenLevels
	for deadline := time.After(patience); !fit(last); {
		select {
		case last = <-levels:
		case <-deadline:
			t.Fatalf("the open checkouts were last told as %+v", last)
		}
	}
}

func TestSettle_countsTheUnitsOfSalesAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		units := make(chan int64, 16)
		in, id := s.sold(settings{Config: checkout.Config{ObserveSold: func(n int64) { units <- n }}})
		want(t, "units of the sale", <-units, int64(5))
		wantErr(t, in.cancel(id), nil)
		in.till.charges(s.ledger.decline("no"))
		s.add("bob", "book", 1)
		wantErr(t, in.buy("bob"), checkout.ErrDeclined)
		want(t, "further sales", len(units), 0)
	})
}
