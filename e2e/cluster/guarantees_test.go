package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
)

// stock imports the products, and tells the payment service nothing.
func (s *shop) stock() {
	s.t.Helper()
	csv := "product_id,product_name,quantity\n"
	for id, units := range stocked {
		csv += fmt.Sprintf("%s,,%d\n", id, units)
	}
	if out, err := s.run(csv, "stock", "import", "-"); err != nil {
		s.t.Fatalf("stock import: %v\n%s", err, out)
	}
}

// run runs another command on the shop's database.
func (s *shop) run(input string, args ...string) (string, error) {
	command := exec.Command(binary, append(args, "--mysql-dsn", s.shopDSN())...)
	command.Env, command.Stdin = cleanEnvironment(), strings.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err
}

// A snapshot is what one node has, read from outside.
type snapshot struct {
	onHand, reserved map[string]int64
	carts            map[line]int64
	checkouts        map[string]checkout.Entry
}

func (s *shop) snapshot(node int) (b snapshot, err error) {
	ctx := context.Background()
	db, err := database.Open(ctx, database.Config{MySQLDSN: s.nodes.nodeDSN(node) + s.database})
	if err != nil {
		return b, err
	}
	defer db.Close() //nolint:errcheck // it was only read
	b = snapshot{map[string]int64{}, map[string]int64{}, map[line]int64{}, map[string]checkout.Entry{}}
	if err := db.Snapshot(ctx, func(tx *database.Tx) error {
		if err := inventory.EachLevel(ctx, tx, func(id string, level inventory.Level) error {
			b.onHand[id], b.reserved[id] = level.OnHand, level.Reserved
			return nil
		}); err != nil {
			return err
		}
		return tx.Each(ctx, func(rows *sql.Rows) error {
			var l line
			var units int64
			err := rows.Scan(&l.client, &l.product, &units)
			b.carts[l] = units
			return err
		}, "SELECT client_id, product_id, quantity FROM client_cart WHERE quantity > 0")
	}); err != nil {
		return b, err
	}
	return b, checkout.List(ctx, db, checkout.Filter{}, func(e checkout.Entry) error {
		b.checkouts[e.CheckoutID] = e
		return nil
	})
}

// settled waits until no checkout is in flight and all nodes have the same, and returns it.
func (s *shop) settled() snapshot {
	s.t.Helper()
	var first snapshot
	eventually(s.t, time.Minute, "every checkout is settled, and all nodes have the same", func() bool {
		for i := range size {
			b, err := s.snapshot(i)
			if err != nil {
				s.t.Logf("read node %d: %v", i+1, err)
				return false
			}
			for _, e := range b.checkouts {
				if !e.State.Settled() {
					return false
				}
			}
			if i == 0 {
				first = b
			} else if !reflect.DeepEqual(first, b) {
				return false
			}
		}
		return true
	})
	return first
}

// check holds the database, the payment service and what the clients were told against each
// guarantee. The clients must have stopped.
func (s *shop) check() {
	s.t.Helper()
	b := s.settled()
	s.checkStock(b)
	s.checkPayments(b)
	s.load.agrees(s.t, b)
	if out, err := s.run("", "audit", "--gateway", "--payment-url", s.payURL); err != nil {
		s.t.Errorf("inconsistency: audit: %v\n%s", err, out)
	}
}

// sold says whether a checkout took units from what is on hand for good.
func sold(e checkout.Entry) bool {
	return e.State == checkout.Committed || e.State == checkout.Cancelling
}

// checkStock checks conservation and quiescence: what was imported is on hand or sold, and nothing
// is reserved.
func (s *shop) checkStock(b snapshot) {
	s.t.Helper()
	together := maps.Clone(b.onHand)
	for _, e := range b.checkouts {
		for _, l := range e.Lines {
			if sold(e) {
				together[l.ProductID] += l.Quantity
			}
		}
	}
	if !maps.Equal(together, stocked) {
		s.t.Errorf("inconsistency: on hand and sold are together %v, want %v", together, stocked)
	}
	for id, units := range b.reserved {
		if units != 0 {
			s.t.Errorf("inconsistency: %d of %s are reserved though nothing is in flight", units, id)
		}
	}
}

// checkPayments checks that captured and not refunded means committed, and the reverse, for the
// lines that the journal has.
func (s *shop) checkPayments(b snapshot) {
	s.t.Helper()
	payments := s.payments.Payments()
	for id, p := range payments {
		if captured := p.Status == payment.Approved; captured != (b.checkouts[id].State == checkout.Committed) {
			s.t.Errorf("inconsistency: checkout %s of %s: the payment service says %s at %s, the journal says %q", id, p.ClientID, p.Status,
				p.At.Format(time.StampMilli), b.checkouts[id].State)
		}
	}
	for id, e := range b.checkouts {
		p := payments[id]
		if e.State == checkout.Committed && p.Status != payment.Approved || e.State == checkout.Cancelled && p.Status != payment.Refunded {
			s.t.Errorf("inconsistency: checkout %s is %s, the payment service says %q", id, e.State, p.Status)
		}
		if e.State == checkout.RolledBack {
			continue // it may have been voided before it was asked for
		}
		var journal, asked []string
		for _, l := range e.Lines {
			journal = append(journal, fmt.Sprint(l.Quantity, " ", l.ProductID))
		}
		for _, item := range p.Items {
			asked = append(asked, fmt.Sprint(item.Quantity, " ", item.ProductID))
		}
		if slices.Sort(journal); !slices.Equal(journal, slices.Sorted(slices.Values(asked))) {
			s.t.Errorf("inconsistency: checkout %s bought %v, and paid for %v", id, journal, asked)
		}
	}
}

// agrees checks that each unit that a client added is in one place, that nothing is stored twice,
// and that what was answered Success is done.
func (l *load) agrees(t *testing.T, b snapshot) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	stored, committed := maps.Clone(b.carts), map[string]int{}
	for id, e := range b.checkouts {
		if e.State == checkout.RolledBack {
			continue
		}
		if l.cancelled[id] && e.State != checkout.Cancelled {
			t.Errorf("inconsistency: checkout %s is %s, and its client was told that it is cancelled", id, e.State)
		}
		committed[e.ClientID]++
		for _, bought := range e.Lines {
			stored[line{e.ClientID, bought.ProductID}] += bought.Quantity
		}
	}
	for at := range l.sure {
		stored[at] += 0 // so that what is missing is found
	}
	for at, units := range stored {
		if least, most := l.sure[at], l.sure[at]+l.perhaps[at]; units < least || units > most {
			t.Errorf("inconsistency: %d units of %s are with %s, who was told of %d to %d", units, at.product, at.client, least, most)
		}
	}
	for client := range l.bought {
		committed[client] += 0
	}
	for client, n := range committed {
		if least, most := l.bought[client], l.bought[client]+l.unknown[client]; n < least || n > most {
			t.Errorf("inconsistency: %s bought %d times, and was told of %d to %d", client, n, least, most)
		}
	}
}

// watch looks for reserved above on hand on every node, again and again, until ctx ends.
func (s *shop) watch(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	const query = `SELECT p.product_id, p.quantity, SUM(r.quantity) FROM product_details p JOIN reserve_purchase r USING (product_id)
		GROUP BY p.product_id, p.quantity HAVING SUM(r.quantity) > p.quantity`
	var dbs []*sql.DB
	for i := range size {
		db, err := sql.Open("mysql", s.nodes.nodeDSN(i)+s.database+"?timeout=300ms&readTimeout=300ms")
		if err != nil {
			s.t.Fatal(err)
		}
		db.SetMaxOpenConns(1)
		dbs = append(dbs, db)
	}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for i, db := range dbs {
				var product string
				var onHand, reserved int64
				if db.QueryRowContext(ctx, query).Scan(&product, &onHand, &reserved) == nil { // no row, or the node is away
					s.t.Errorf("inconsistency: node %d has %d of %s reserved of %d", i+1, reserved, product, onHand)
				}
			}
			wait(ctx, 50*time.Millisecond)
		}
		for _, db := range dbs {
			_ = db.Close() // its server may be gone
		}
	}()
	return func() { <-done }
}

// report adds the fault's line to the table that is printed at the end.
func (s *shop) report(f fault, took time.Duration) {
	s.t.Helper()
	l := s.load
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, code := range []string{"0", "202", "500", "502", "503", "504"} {
		if n := l.codes[code]; f.smooth && n > 0 {
			s.t.Errorf("%d requests were answered %s", n, code)
		}
	}
	found := "none"
	if s.t.Failed() {
		found = "FOUND"
	}
	kind, _, _ := strings.Cut(strings.TrimPrefix(s.t.Name(), "Test"), "_")
	reports.add(kind+": "+f.name, took.Round(10*time.Millisecond).String(), l.slowest.Round(10*time.Millisecond).String(),
		fmt.Sprint(l.requests.Load()), found, strings.TrimPrefix(fmt.Sprint(l.codes), "map"))
}
