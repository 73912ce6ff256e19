package inventory_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

// lockBoth locks a taken and a free product, and returns what reserving one unit of each says.
func lockBoth(t *testing.T, db *database.DB, m *inventory.Manager, ids ...string) (said map[string]error, attempts int) {
	t.Helper()
	said = map[string]error{}
	transact(t, db, func(tx *database.Tx) error {
		attempts++
		stock, err := m.Lock(t.Context(), tx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			said[id] = stock.TryReserve([]inventory.Line{{ProductID: id, Quantity: 1}})
		}
		return nil
	})
	return said, attempts
}

func TestLock_lockedRowDelaysItsOwnProductOnly(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "a-locked", 5)
		put(t, db, "b-free", 5)
		put(t, db, "c-locked", 5)
		m := inventory.New(db)
		release := lockProduct(t, db, "a-locked")
		releaseOther := lockProduct(t, db, "c-locked")

		began := time.Now()
		said, attempts := lockBoth(t, db, m, "a-locked", "b-free", "c-locked", "d-gone")
		waited := time.Since(began)
		if err := said["a-locked"]; !errors.Is(err, database.ErrRowLocked) || !strings.Contains(err.Error(), `"a-locked"`) {
			t.Errorf("the locked product: got %v, want it taken", said["a-locked"])
		}
		if !errors.Is(said["c-locked"], database.ErrRowLocked) {
			t.Errorf("the other locked product: got %v, want it taken", said["c-locked"])
		}
		if said["b-free"] != nil {
			t.Errorf("the free product: got %v", said["b-free"])
		}
		if !errors.Is(said["d-gone"], inventory.ErrNotEnough) {
			t.Errorf("the product that does not exist: got %v, want it short, not taken", said["d-gone"])
		}
		if attempts != 2 || waited < time.Second {
			t.Errorf("got %d attempts in %v, want one wait and one run without", attempts, waited)
		}

		// It is remembered: the next one does not wait at all.
		if !m.Suspected("b-free", "a-locked") || m.Suspected("b-free", "d-gone") {
			t.Error("Suspected does not tell the locked products from the others")
		}
		said, attempts = lockBoth(t, db, m, "a-locked", "b-free")
		if attempts != 1 || !errors.Is(said["a-locked"], database.ErrRowLocked) || said["b-free"] != nil {
			t.Errorf("the second time: got %v in %d attempts, want the same in one", said, attempts)
		}

		// It is forgotten as soon as it is found free.
		release()
		said, attempts = lockBoth(t, db, m, "a-locked", "b-free")
		if attempts != 1 || said["a-locked"] != nil || said["b-free"] != nil {
			t.Errorf("after the release: got %v in %d attempts", said, attempts)
		}
		if m.Suspected("a-locked") {
			t.Error("a product that was found free is still suspected")
		}
		releaseOther()
	})
}

func TestLock_brieflyLockedProductIsNotSuspected(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "a-kept", 5)
		put(t, db, "b-busy", 5)
		m := inventory.New(db)
		lockProduct(t, db, "a-kept")
		var attempts int
		var busy sync.WaitGroup
		transact(t, db, func(tx *database.Tx) error {
			if attempts++; attempts == 2 { // which asks for both
				release := lockProduct(t, db, "b-busy")
				busy.Go(func() {
					<-time.After(30 * time.Millisecond)
					release()
				})
			}
			_, err := m.Lock(t.Context(), tx, []string{"a-kept", "b-busy"})
			return err
		})
		busy.Wait()
		if attempts != 2 || !m.Suspected("a-kept") || m.Suspected("b-busy") {
			t.Errorf("after %d attempts the kept product is suspected: %v, and the busy one: %v; want the first alone after 2",
				attempts, m.Suspected("a-kept"), m.Suspected("b-busy"))
		}
	})
}

func TestLock_probedProductIsLocked(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		put(t, first, "p", 5)
		m := inventory.New(first)
		release := lockProduct(t, second, "p")
		lockBoth(t, first, m, "p") // from here on p is asked for without waiting
		release()
		transact(t, first, func(tx *database.Tx) error {
			if _, err := m.Lock(t.Context(), tx, []string{"p"}); err != nil {
				return err
			}
			said, _ := lockBoth(t, second, inventory.New(second), "p")
			if !errors.Is(said["p"], database.ErrRowLocked) {
				t.Errorf("another instance got the row that Lock found free: %v", said["p"])
			}
			return nil
		})
	})
}
