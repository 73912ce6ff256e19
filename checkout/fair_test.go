package checkout_test

import (
	"fmt"
	"slices"
	"testing"

	"cartwheel/cart"
	"cartwheel/inventory"
)

// Clients with long carts, whose IDs sort before zoe's, cannot keep her from being served: of each
// batch the checkouts that were admitted first come first.
func TestReserve_servesInTheOrderOfAdmission(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *shop) {
		const crowd, lines, before = 12, 499, 10
		products := map[string]int64{}
		for i := range lines {
			products[fmt.Sprint("p-", i)] = 2 * crowd
		}
		s.stockAll(products)
		fill := func(client string, n int) {
			var added []cart.ClientLine
			for i := range n {
				added = append(added, cart.ClientLine{ClientID: client, Line: inventory.Line{ProductID: fmt.Sprint("p-", i), Quantity: 1}})
			}
			s.addAll(added...)
		}
		var waiting []string
		for i := range crowd {
			if i == before {
				waiting = append(waiting, "zoe")
			}
			waiting = append(waiting, fmt.Sprint("a-", i))
		}
		for _, client := range waiting {
			if client == "zoe" {
				fill(client, 1)
			} else {
				fill(client, lines)
			}
		}
		in := s.open(settings{idle: true})
		jobs := in.Admit(waiting...)
		slices.Reverse(jobs) // deferred jobs come again in any order, behind new ones
		served, deferred, err := in.ReserveSome(t.Context(), jobs)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(served)
		want(t, "served", fmt.Sprint(served), "[a-0 a-1 a-2 a-3 zoe]") // as many as one transaction locks
		want(t, "deferred", len(deferred), crowd+1-len(served))
		s.expireLeases()
		in.start()
		s.quiet()
	})
}
