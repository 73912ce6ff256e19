package database_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
	"cartwheel/payment"
)

// Each statement with parameters that the managers send to the embedded engine is planned again. No
// plan scans a table, with statistics of large tables or without any. e2e does the same for
// servers.
func TestPlans_embeddedStatementsScanNoTable(t *testing.T) {
	t.Parallel()
	db := databasetest.Embedded(t)
	statements := sendEveryStatement(t, db)
	planned := 0
	check := func(state string) {
		for statement := range statements {
			if strings.HasPrefix(statement, "INSERT") && !strings.Contains(statement, "SELECT") {
				continue // it has no plan
			}
			planned++
			for _, step := range plan(t, db, statement, make([]any, strings.Count(statement, "?"))) {
				if scansATable(step[1]) || readsSettled(statement, step[1]) {
					t.Errorf("tables %s: %s: %.600s", state, step[1], statement)
				}
			}
		}
	}
	check("without statistics")
	fill(t, db, 2000)
	execute(t, db.Setup(), "ANALYZE")
	check("with statistics")
	if planned < 2*20 {
		t.Errorf("%d statements were planned, want at least 20 twice", planned)
	}
}

// scansATable reports whether a step of a plan reads all rows of a table, and not of the
// statement's own list.
func scansATable(step string) bool {
	name, scans := strings.CutPrefix(step, "SCAN ")
	return scans && name != "k" && name != "CONSTANT ROW" && !strings.HasSuffix(name, "VALUES CLAUSE")
}

// readsSettled reports whether a statement about the open checkouts of clients reads their settled
// ones too.
func readsSettled(statement, step string) bool {
	return strings.Contains(statement, "client_id") && strings.Contains(statement, "checkout_journal WHERE") &&
		strings.Contains(statement, "lease_expires_at IS NOT NULL") && !strings.Contains(step, "checkout_journal_client (client_id=? AND lease_expires_at>")
}

// sendEveryStatement runs adds, checkouts that are paid and declined, cancellations, events,
// recovery, lists and pruning. It returns the statements, which it collects before it stops
// anything: a connection whose statement is interrupted is closed, and forgets them.
func sendEveryStatement(t *testing.T, db *database.DB) map[string]bool {
	t.Helper()
	ctx := t.Context()
	statements := map[string]bool{}
	gateway, err := payment.Open("sandbox:?decline=0.5", payment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	present := func(err error) idempotency.Response {
		return idempotency.Response{Status: http.StatusOK, Body: []byte(fmt.Sprint(err))}
	}
	cartStore, stock := &cart.Store{}, inventory.New(db)
	checkouts := checkout.New(db, cartStore, stock, gateway, checkout.Config{
		QueueCapacity: 64, BatchSize: 64, InFlight: 64, Lease: time.Minute, PaymentTimeout: time.Second,
		Events: true, ResponseTo: present, Log: databasetest.Log(t),
	})
	carts := cart.New(db, cartStore, stock, checkouts, cart.Config{
		QueueCapacity: 64, BatchSize: 64, ResponseTo: present, Log: databasetest.Log(t),
	})
	if err := checkouts.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		checkouts.Drain(closing)
		if err := errors.Join(carts.Close(closing), checkouts.Close(closing)); err != nil {
			t.Error(err)
		}
	}()

	store(t, db, "lamp", "mug", "shoe")
	var buying sync.WaitGroup
	for i := range 24 {
		buying.Go(func() {
			client, key := fmt.Sprint("client-", i%12), ""
			if i%2 == 0 {
				key = fmt.Sprint("key-", i)
			}
			for _, product := range []string{"lamp", "mug", "none"} {
				addition := cart.LineChange{ClientID: client, ProductID: product, Quantity: int64(1 + i%3*6)}
				if key != "" {
					addition.Key = key + product
				}
				// Refusals are statements too.
				err := cmp.Or(carts.AddToCart(ctx, addition), carts.AddToCart(ctx, addition))
				if errors.Is(err, database.ErrUnavailable) {
					t.Error(err)
				}
			}
			guest := fmt.Sprint("guest-", i)
			for _, err := range []error{
				carts.AddToCart(ctx, cart.LineChange{ClientID: guest, ProductID: "mug", Quantity: 3}),
				carts.UpdateCart(ctx, cart.LineChange{ClientID: guest, ProductID: "mug", Quantity: 2}),
				carts.UpdateCart(ctx, cart.LineChange{ClientID: guest, ProductID: "lamp", Quantity: 1}),
				carts.MergeCarts(ctx, guest, client, ""),
				carts.EmptyCart(ctx, "nobody", ""),
			} {
				if errors.Is(err, database.ErrUnavailable) {
					t.Error(err)
				}
			}
			for range 2 {
				id, err := carts.CheckOut(ctx, cart.Purchase{ClientID: client, Key: key})
				if errors.Is(err, database.ErrUnavailable) {
					t.Error(err)
				}
				if err == nil && i%4 == 0 {
					if err := checkouts.Cancel(ctx, id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	buying.Wait()
	collect(t, db, statements)
	announce(t, db, statements)
	if n, err := checkout.ReplayEvents(ctx, db, time.Hour); err != nil || n == 0 {
		t.Errorf("replayed %d, %v", n, err)
	}
	announce(t, db, statements)

	for range 2 { // a connection remembers what it ran, in whichever pool
		for _, filter := range []checkout.Filter{
			{}, {Oldest: true}, {Open: true}, {State: checkout.Committed}, {State: checkout.RolledBack},
			{ClientID: "client-1"}, {ClientID: "client-1", Open: true},
		} {
			if err := checkout.List(ctx, db, filter, func(checkout.Entry) error { return nil }); err != nil {
				t.Errorf("list %+v: %v", filter, err)
			}
		}
		if err := stock.List(ctx, func(inventory.Product) error { return nil }); err != nil {
			t.Error(err)
		}
		_, viewErr := carts.Show(ctx, "client-1")
		_, listErr := checkouts.OfClient(ctx, "client-1", "~", 20)
		_, firstErr := checkouts.OfClient(ctx, "client-1", "", 20)
		_, lookErr := stock.Lookup(ctx, []string{"lamp", "mug"})
		if err := errors.Join(viewErr, listErr, firstErr, lookErr); err != nil {
			t.Error(err)
		}
		if report, err := checkout.Audit(ctx, db); err != nil || !report.Sound() {
			t.Errorf("audit: %+v, %v", report, err)
		}
		how := inventory.Import{}
		if _, err := stock.Import(ctx, strings.NewReader("product_id,product_name,quantity\nlamp,,50\nnew,,5\n"), how); err != nil {
			t.Errorf("import: %v", err)
		}
		if _, err := checkout.Prune(ctx, db, time.Nanosecond); err != nil {
			t.Errorf("prune: %v", err)
		}
	}
	collect(t, db, statements)
	return statements
}

// collect adds the statements that the open connections have run.
func collect(t *testing.T, db *database.DB, statements map[string]bool) {
	t.Helper()
	found, err := db.Statements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range found {
		statements[statement] = true
	}
}

// A sender takes all events but the first one.
type sender struct{ events atomic.Int64 }

func (s *sender) Send(context.Context, string, []byte) error {
	if s.events.Add(1) == 1 {
		return errors.New("500 Internal Server Error")
	}
	return nil
}

// announce delivers the events that are due, and collects the statements.
func announce(t *testing.T, db *database.DB, statements map[string]bool) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	to := &sender{}
	announcer := checkout.NewAnnouncer(db, to, databasetest.Log(t), checkout.EventObserver{
		Delivered: func() {}, Failed: func() {}, Lag: func(int, time.Duration) {},
	})
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { announcer.Run(ctx) })
	eventually(t, "all events are delivered", func() bool {
		var due int
		if err := db.Setup().QueryRowContext(ctx, "SELECT COUNT(*) FROM checkout_journal"+
			" WHERE committed_event_due_at IS NOT NULL OR cancelled_event_due_at IS NOT NULL").Scan(&due); err != nil {
			t.Fatal(err)
		}
		return due == 0 && to.events.Load() > 1
	})
	collect(t, db, statements)
}
