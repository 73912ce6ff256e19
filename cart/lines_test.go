package cart_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

func clientLine(clientID, productID string, quantity int64) cart.ClientLine {
	return cart.ClientLine{ClientID: clientID, Line: inventory.Line{ProductID: productID, Quantity: quantity}}
}

// transact runs work in a transaction that must succeed.
func transact(t *testing.T, db *database.DB, work func(*database.Tx) error) {
	t.Helper()
	if err := db.Transact(t.Context(), work, nil); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

func TestLines_lockReturnsTheCartsInOrder(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for _, l := range []cart.ClientLine{clientLine("bob", "tea", 2), clientLine("bob", "Tea", 3), clientLine("ann", "mug", 1)} {
			putLine(t, db, l.ClientID, l.ProductID, l.Quantity)
		}
		putLine(t, db, "bob", "null", nil)
		putLine(t, db, "bob", "zero", 0)
		putLine(t, db, "Bob", "mug", 9)
		store := &cart.Store{}
		transact(t, db, func(tx *database.Tx) error {
			carts, deferred, err := store.Lock(t.Context(), tx, []string{"bob", "nobody", "ann", "bob"})
			if err != nil {
				return err
			}
			for client, want := range map[string][]inventory.Line{
				"ann":    {{ProductID: "mug", Quantity: 1}},
				"bob":    {{ProductID: "Tea", Quantity: 3}, {ProductID: "tea", Quantity: 2}},
				"nobody": nil,
				"Bob":    nil, // not asked for
			} {
				if diff := cmp.Diff(want, carts[client]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", client, diff)
				}
				if deferred[client] {
					t.Errorf("%s is deferred", client)
				}
			}
			return nil
		})
	})
}

func TestLines_lockDefersWhatIsTooMuchForOneTransaction(t *testing.T) {
	t.Parallel()
	const most = cart.MaxLockedLines
	tests := map[string]struct {
		carts    []int // lines of the clients, in order
		deferred []int // which are left for another transaction
	}{
		"all fit": {[]int{most - 500, 0, 500, 0}, nil},
		"the last fits exactly, the rest are none": {[]int{500, most - 500}, nil},
		"one line too many":                        {[]int{500, most - 499, 1}, []int{1}},
		"five hundred each":                        {[]int{500, 500, 500, 500, 500, 500}, []int{4, 5}},
		"the first alone is too large":             {[]int{most + 300, 1, 0}, []int{1, 2}},
		"a later one alone is too large":           {[]int{0, 10, most + 300, 1}, []int{2}},
		"the first with lines is too large":        {[]int{0, most + 1, 1}, []int{2}},
	}
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for name, test := range tests {
			execute(t, db, "DELETE FROM client_cart")
			var clients []string
			for i, n := range test.carts {
				clients = append(clients, fmt.Sprint("c", i))
				putLines(t, db, clients[i], n)
			}
			transact(t, db, func(tx *database.Tx) error {
				carts, deferred, err := new(cart.Store).Lock(t.Context(), tx, clients)
				if err != nil {
					return err
				}
				for i, client := range clients {
					want := test.carts[i]
					if slices.Contains(test.deferred, i) {
						want = 0
					}
					if got := len(carts[client]); got != want || deferred[client] != slices.Contains(test.deferred, i) {
						t.Errorf("%s: cart %d: %d lines locked, want %d; deferred: %v", name, i, got, want, deferred[client])
					}
				}
				return nil
			})
		}
	})
}

func TestLines_manyCartsAreLockedInSeveralStatements(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		var clients []string
		var lines []cart.ClientLine
		for i := range 2*database.ChunkRows + 50 {
			clients = append(clients, fmt.Sprintf("c%04d", i))
			for n := range 7 { // 3934 in all: too many from the second statement on
				lines = append(lines, clientLine(clients[i], product(n), 1))
			}
		}
		transact(t, db, func(tx *database.Tx) error {
			return restore(t, tx, lines)
		})
		transact(t, db, func(tx *database.Tx) error {
			carts, deferred, err := new(cart.Store).Lock(t.Context(), tx, clients)
			if err != nil {
				return err
			}
			locked := 0
			for i, client := range clients {
				switch n := len(carts[client]); {
				case n == 7 && locked == i && !deferred[client]:
					locked++
				case n != 0 || !deferred[client]:
					t.Fatalf("cart %d: %d lines, deferred: %v", i, n, deferred[client])
				}
			}
			if want := cart.MaxLockedLines / 7; locked != want {
				t.Errorf("%d carts are locked, want the first %d", locked, want)
			}
			return nil
		})
	})
}

func TestLines_removeAndRestore(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store := &cart.Store{}
		putLine(t, db, "ann", "mug", 2)
		putLine(t, db, "ann", "tea", 3)
		putLine(t, db, "ann", "kept", 1)
		putLine(t, db, "bob", "mug", 4)
		taken := []cart.ClientLine{clientLine("bob", "mug", 4), clientLine("ann", "tea", 3), clientLine("ann", "mug", 2)}
		transact(t, db, func(tx *database.Tx) error {
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { store.Remove(b, taken) })
		})
		wantCart(t, db, "ann", map[string]int64{"kept": 1})
		wantCart(t, db, "bob", map[string]int64{})
		if rows := rowsOf(t, db, "client_cart"); rows != 1 {
			t.Errorf("%d rows are left, want 1", rows)
		}

		putLine(t, db, "ann", "mug", 5) // came meanwhile
		putLine(t, db, "ann", "tea", nil)
		putBack := slices.Concat(taken, []cart.ClientLine{clientLine("ann", "tea", 10)}) // another checkout's, in the same batch
		transact(t, db, func(tx *database.Tx) error {
			return restore(t, tx, putBack)
		})
		wantCart(t, db, "ann", map[string]int64{"kept": 1, "mug": 7, "tea": 13})
		wantCart(t, db, "bob", map[string]int64{"mug": 4})
		if putBack[0].ClientID != "bob" {
			t.Error("the caller's lines were reordered")
		}
		transact(t, db, func(tx *database.Tx) error {
			if err := restore(t, tx, nil); err != nil {
				return err
			}
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { store.Remove(b, nil) })
		})
	})
}

func TestLines_restorePassesTheLineLimit(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putProducts(t, db, 620, 10)
		putLines(t, db, "ann", 450)
		var back []cart.ClientLine
		for i := 400; i < 600; i++ {
			back = append(back, clientLine("ann", product(i), 2))
		}
		transact(t, db, func(tx *database.Tx) error {
			return restore(t, tx, back)
		})
		got := cartOf(t, db, "ann")
		if len(got) != 600 || got[product(0)] != 1 || got[product(449)] != 3 || got[product(599)] != 2 {
			t.Errorf("got %d lines, %d, %d and %d units", len(got), got[product(0)], got[product(449)], got[product(599)])
		}
		wantBatch(t, newManager(t, db), []cart.LineChange{addition("ann", product(610), 1), addition("ann", product(599), 1)},
			cart.ErrTooManyLines, nil)
	})
}

// takenOf asks for the carts, then locks those that are free, as a batch does, in as many attempts
// as that takes.
func takenOf(t *testing.T, db *database.DB, store *cart.Store, clients ...string) (taken map[string]bool, attempts int) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) (err error) {
		attempts++
		if taken, err = store.LockSuspects(t.Context(), tx, clients, nil); err != nil {
			return err
		}
		free := slices.DeleteFunc(slices.Clone(clients), func(id string) bool { return taken[id] })
		_, _, err = store.Lock(t.Context(), tx, free)
		return err
	})
	return taken, attempts
}

func TestFindLocked_findsLockedCarts(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putLine(t, db, "ann", "mug", 1)
		putLine(t, db, "ann", "tea", 1)
		putLine(t, db, "bob", "mug", 1)
		store := &cart.Store{}
		release := lockLine(t, db, "ann", "tea")
		for want := 2; want > 0; want-- { // one run that waits and one that does not; then it is remembered
			taken, attempts := takenOf(t, db, store, "bob", "ann", "nobody")
			if diff := cmp.Diff(map[string]bool{"ann": true}, taken); diff != "" || attempts != want {
				t.Errorf("in %d attempts, want %d; taken (-want +got):\n%s", attempts, want, diff)
			}
		}
		if !store.Suspected("bob", "ann") || store.Suspected("bob", "nobody") {
			t.Error("Suspected does not tell ann from the others")
		}
		release()
		if taken, attempts := takenOf(t, db, store, "bob", "ann"); attempts != 1 || len(taken) != 0 {
			t.Errorf("after the release: taken %v, in %d attempts", taken, attempts)
		}
		if store.Suspected("ann") {
			t.Error("a cart that was found free is still suspected")
		}
	})
}

func TestFindLocked_locksWhatIsFree(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putLine(t, db, "ann", "mug", 1)
		store := &cart.Store{}
		release := lockLine(t, db, "ann", "mug")
		takenOf(t, db, store, "ann") // from here on ann's cart is asked for without waiting
		release()
		transact(t, db, func(tx *database.Tx) error {
			if taken, err := store.LockSuspects(t.Context(), tx, []string{"ann"}, nil); err != nil || len(taken) != 0 {
				t.Errorf("got %v, %v", taken, err)
			}
			transact(t, db, func(other *database.Tx) error {
				var ids []string
				err := other.Select(t.Context(), &ids, "SELECT product_id FROM client_cart WHERE client_id = 'ann'"+other.ForUpdateNoWait())
				if !database.IsLockNotAvailable(err) {
					t.Errorf("another transaction got the line that LockSuspects locked: %v", err)
				}
				return nil
			})
			return nil
		})
	})
}

func TestFindLocked_asksOnlyAboutSuspects(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putLine(t, db, "ann", "mug", 1)
		lockLine(t, db, "ann", "mug")
		transact(t, db, func(tx *database.Tx) error {
			taken, err := new(cart.Store).LockSuspects(t.Context(), tx, []string{"ann"}, nil)
			if len(taken) != 0 {
				t.Errorf("taken %v, though nobody waited for it", taken)
			}
			return err
		})
	})
}
