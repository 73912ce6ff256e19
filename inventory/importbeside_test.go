package inventory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

func TestImport_stopsBetweenChunks(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		file := lines(4*chunk, 1)
		twoChunks := strings.Index(file, strings.Split(file, "\n")[2*chunk+1])
		report, err := inventory.New(db).Import(ctx, io.MultiReader(
			strings.NewReader(file[:twoChunks]), cancelling{cancel}, strings.NewReader(file[twoChunks:]),
		), inventory.Import{Add: true})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), fmt.Sprint("after line ", 2*chunk+1)) {
			t.Errorf("got %v, want it stopped after line %d", err, 2*chunk+1)
		}
		if diff := cmp.Diff(inventory.ImportReport{Line: 2*chunk + 1, Rows: 2 * chunk, Created: 2 * chunk, Net: 2 * chunk}, report); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if got := len(listed(t, db)); got != 2*chunk {
			t.Errorf("%d products are there, want the %d that are reported", got, 2*chunk)
		}
	})
}

// cancelling is the place in a file where reading it cancels the import.
type cancelling struct{ cancel func() }

func (c cancelling) Read([]byte) (int, error) {
	c.cancel()
	return 0, io.EOF
}

func TestImport_leavesOutARowThatStaysLocked(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "locked", 5)
		release := lockProduct(t, db, "locked")
		file := header + "a,,1\nlocked,,9\nb,,2\n"
		report := imported(t, db, inventory.Import{}.WithPatience(time.Second), file)
		const reason = "the product's row is locked by another session"
		if diff := cmp.Diff(map[int]string{3: reason}, report.reasons()); diff != "" {
			t.Errorf("bad rows (-want +got):\n%s", diff)
		}
		if report.applied() != 2 || report.Net != 3 {
			t.Errorf("got %+v, want the other rows taken", report)
		}
		release()
		wantLevel(t, db, "locked", inventory.Level{OnHand: 5})
	})
}

func TestImport_waitsForALockedRow(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		put(t, db, "locked", 5)
		release := lockProduct(t, db, "locked")
		go func() {
			eventually(t, "the other rows are taken", func() bool { return len(levelsOf(t, db, "a", "b")) == 2 })
			release()
		}()
		report := imported(t, db, inventory.Import{Add: true}, header+"a,,1\nlocked,,9\nb,,2\n")
		if report.applied() != 3 || report.Net != 12 {
			t.Errorf("got %+v, want all taken", report)
		}
		wantLevel(t, db, "locked", inventory.Level{OnHand: 14})
	})
}

// sell reserves and then commits or rolls back single units until stop is closed, and returns how
// many it sold.
func sell(t *testing.T, db *database.DB, stop <-chan struct{}, seller string, productIDs []string) (sold map[string]int64) {
	sold = map[string]int64{}
	m := inventory.New(db)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return sold
		default:
		}
		product, id := productIDs[i%len(productIDs)], name(seller, i)
		switch err := reserveOne(t, db, m, id, product); {
		case errors.Is(err, inventory.ErrNotEnough):
			continue
		case err != nil:
			t.Errorf("reserve while importing: %v", err)
			return sold
		}
		if i%3 != 0 {
			sold[product]++
		}
		err := db.Transact(t.Context(), func(tx *database.Tx) error {
			ended := []inventory.Reservation{reservation(id, product, 1)}
			if i%3 != 0 {
				return commit(t, tx, m, ended)
			}
			return databasetest.Send(t.Context(), tx, func(b *database.Batch) { m.Release(b, ended) })
		}, nil)
		if err != nil {
			t.Errorf("settle while importing: %v", err)
		}
	}
}

func TestImport_conservesUnitsWhileTheServerSells(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		testBooks := func(t *testing.T, server, other *database.DB) {
			var products []string
			for i := range 8 {
				products = append(products, name("p", i))
				put(t, server, products[i], 3)
			}
			stop := make(chan struct{})
			sales := make([]map[string]int64, 3)
			var sellers, watch sync.WaitGroup
			for i := range sales {
				sellers.Go(func() { sales[i] = sell(t, server, stop, name("seller", i, "-"), products) })
			}
			watch.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for id, level := range levelsOf(t, server, products...) {
						if level.OnHand < level.Reserved {
							t.Errorf("%s: on hand is %d, reserved are %d", id, level.OnHand, level.Reserved)
							return
						}
					}
				}
			})
			var net int64
			bad := 0
			importer := inventory.New(other)
			for round := range 200 {
				var file strings.Builder
				file.WriteString(header)
				for row, product := range products {
					fmt.Fprintf(&file, "%s,,%d\n", product, (row+round)%5-1) // -1 to 3
				}
				report, err := importer.Import(t.Context(), strings.NewReader(file.String()), inventory.Import{Add: round%2 == 0})
				if err != nil {
					t.Errorf("import: %v", err)
					break
				}
				net += report.Net
				bad += report.Bad
			}
			close(stop)
			sellers.Wait()
			watch.Wait()
			onHand, sold := int64(0), int64(0)
			for id, level := range levelsOf(t, server, products...) {
				onHand += level.OnHand
				if level.Reserved != 0 {
					t.Errorf("%s: %d are still reserved", id, level.Reserved)
				}
			}
			for _, seller := range sales {
				for _, units := range seller {
					sold += units
				}
			}
			if initial := int64(3 * len(products)); initial+net != onHand+sold {
				t.Errorf("initial %d + imported %d = %d, on hand %d + sold %d = %d",
					initial, net, initial+net, onHand, sold, onHand+sold)
			}
			if sold == 0 || bad == 0 {
				t.Errorf("sold %d, %d bad rows: the two did not meet", sold, bad)
			}
		}
		t.Run("embedded", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			testBooks(t, databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true}),
				databasetest.Open(t, database.Config{DataDir: dir}))
		})
		t.Run("mysql", func(t *testing.T) {
			t.Parallel()
			first, second := twoInstances(t, flavour)
			testBooks(t, first, second)
		})
	})
}

func TestImport_twoThatCreateTheSameProductsBothCount(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		first, second := twoInstances(t, flavour)
		var wg sync.WaitGroup
		for _, db := range []*database.DB{first, second} {
			wg.Go(func() {
				report, err := inventory.New(db).Import(t.Context(), strings.NewReader(lines(600, 2)), inventory.Import{Add: true})
				if err != nil || report.Net != 1200 || report.Bad != 0 {
					t.Errorf("import: %v, %+v", err, report)
				}
			})
		}
		wg.Wait()
		for _, p := range listed(t, first) {
			if p.OnHand != 4 {
				t.Fatalf("%s: on hand is %d, want 4", p.ID, p.OnHand)
			}
		}
	})
}
