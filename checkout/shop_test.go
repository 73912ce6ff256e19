package checkout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cartwheel/cart"
	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/inventory"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// tester is what a shop needs of its test: a *testing.T has it, and a *rapid.T.
type tester interface {
	rapid.TB
	Cleanup(func())
	Context() context.Context
}

// A shop is one test's database and payment service, with as many instances as the test opens. When
// the test ends, its books are checked.
type shop struct {
	t      tester
	db     *database.DB
	ledger *ledger
	log    *slog.Logger

	mu      sync.Mutex
	stocked map[string]int64 // units by product: what came, less what hands took; under mu
	added   map[units]int64  // units that clients put into their carts; under mu
}

// units names a client's units of a product.
type units struct{ client, product string }

// each runs a test on a shop of its own on both engines, in parallel.
func each(t *testing.T, test func(t *testing.T, s *shop)) {
	t.Helper()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		t.Parallel()
		test(t, newShop(t, db))
	})
}

func newShop(t testing.TB, db *database.DB) *shop {
	return newShopFor(t, db, databasetest.Log(t))
}

func newShopFor(t tester, db *database.DB, log *slog.Logger) *shop {
	s := &shop{t: t, db: db, ledger: newLedger(), log: log, stocked: map[string]int64{}, added: map[units]int64{}}
	t.Cleanup(func() {
		if !t.Failed() {
			s.books()
		}
	})
	return s
}

// settings are an instance's. What is zero is chosen by open.
type settings struct {
	checkout.Config
	db    *database.DB // nil: the shop's
	till  *till
	stock *watchedStock
	carts *watchedCarts
	idle  bool // it is not started, and so recovers nothing
}

// An instance is one server's Checkout Manager.
type instance struct {
	*checkout.Manager
	s    *shop
	till *till
}

// open opens an instance, which is closed with the test. Its leases and timeouts are long, so that
// they end only where a test makes them.
func (s *shop) open(set settings) *instance {
	s.t.Helper()
	def := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	def(&set.QueueCapacity, 4096)
	def(&set.BatchSize, 256)
	def(&set.InFlight, 4096)
	if set.Lease == 0 {
		set.Lease = time.Minute
	}
	if set.PaymentTimeout == 0 {
		set.PaymentTimeout = time.Minute
	}
	if set.till == nil {
		set.till = s.ledger.till()
	}
	set.ResponseTo, set.Log = present, s.log
	if set.db == nil {
		set.db = s.db
	}
	if set.stock == nil {
		set.stock = &watchedStock{}
	}
	if set.carts == nil {
		set.carts = &watchedCarts{}
	}
	set.stock.Manager = inventory.New(set.db)
	in := &instance{checkout.New(set.db, set.carts, set.stock, set.till, set.Config), s, set.till}
	if !set.idle {
		in.start()
	}
	s.t.Cleanup(func() {
		set.till.letGo()
		ctx, cancel := context.WithCancel(context.Background())
		if cancel(); set.idle { // nobody finishes what it lost
			in.Drain(ctx)
		}
		ctx, cancel = context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := in.Close(ctx); err != nil {
			s.t.Errorf("close an instance: %v", err)
		}
	})
	return in
}

func (in *instance) start() {
	in.s.t.Helper()
	if err := in.Start(in.s.t.Context()); err != nil {
		in.s.t.Fatalf("start recovery: %v", err)
	}
}

// present is the answer that is stored with a key.
func present(err error) idempotency.Response {
	switch {
	case err == nil:
		return idempotency.Response{Status: 200, Body: []byte(`{"sold": true}`)}
	case errors.Is(err, checkout.ErrDeclined):
		return idempotency.Response{Status: 402, Code: "declined", Body: []byte(err.Error())}
	}
	return idempotency.Response{Status: 409, Code: "refused", Body: []byte(err.Error())}
}

// replayOf is what a repeat gets whose first got err.
func replayOf(err error) *idempotency.Replay {
	return &idempotency.Replay{Response: present(err)}
}

// watchedStock is the Inventory Manager, with hooks.
type watchedStock struct {
	*inventory.Manager
	lock, locked func()          // before and after Lock; nil: none
	commit       func(sales int) // before Commit; nil: none
	restocked    func()          // after Restock of some lines; nil: none
	life         *life           // of the instance; nil: it does not end
}

func (w *watchedStock) Lock(ctx context.Context, tx *database.Tx, ids []string) (*inventory.Stock, error) {
	if w.lock != nil {
		w.lock()
	}
	stock, err := w.Manager.Lock(ctx, tx, ids)
	if w.locked != nil {
		w.locked()
	}
	return stock, err
}

func (w *watchedStock) Sell(b *database.Batch, reservations []inventory.Reservation) error {
	if w.commit != nil {
		w.commit(len(reservations))
	}
	return w.Manager.Sell(b, reservations)
}

// watchedCarts are the stored carts, with a hook.
type watchedCarts struct {
	cart.Store
	lock func(clients int) // before Lock, which begins TX 1; nil: none
	life *life             // of the instance; nil: it does not end
}

func (w *watchedCarts) Lock(ctx context.Context, tx *database.Tx, ids []string) (
	map[string][]inventory.Line, map[string]bool, error,
) {
	if w.lock != nil {
		w.lock(len(ids))
	}
	return w.Store.Lock(ctx, tx, ids)
}

// A call is a checkout asked for, in a goroutine of its own.
type call struct {
	t      tester
	done   chan struct{}
	id     string             // set before done is closed
	err    error              // set before done is closed
	hangUp context.CancelFunc // ends the caller's time
}

// begin asks for a checkout of the client's cart.
func (in *instance) begin(client string) *call { return in.beginKeyed(client, "") }

// beginKeyed is begin with an Idempotency-Key.
func (in *instance) beginKeyed(client, key string) *call {
	return in.beginWithin(patience, client, key)
}

// beginWithin is beginKeyed for a caller who waits that long.
func (in *instance) beginWithin(wait time.Duration, client, key string) *call {
	ctx, hangUp := context.WithTimeout(context.Background(), wait)
	c := &call{t: in.s.t, done: make(chan struct{}), hangUp: hangUp}
	go func() {
		defer hangUp()
		c.id, c.err = in.CheckOut(ctx, cart.Purchase{ClientID: client, Key: key})
		close(c.done)
	}()
	return c
}

// end waits for the call's answer.
func (c *call) end() error {
	c.t.Helper()
	select {
	case <-c.done:
		return c.err
	case <-time.After(2 * patience):
		c.t.Fatal("a checkout was not answered")
		return nil
	}
}

// waits reports whether the call has no answer yet.
func (c *call) waits() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// buy checks the client's cart out and waits for the answer.
func (in *instance) buy(client string) error {
	in.s.t.Helper()
	return in.begin(client).end()
}

// buyPatiently is buy by someone who comes again where a row was locked: instances on a slow
// machine get in each other's way.
func (in *instance) buyPatiently(client string) error {
	in.s.t.Helper()
	err := in.buy(client)
	for errors.Is(err, database.ErrRowLocked) {
		err = in.buy(client)
	}
	return err
}

// stock puts units of a product on the shelf. It sets no level: units that are there stay.
func (s *shop) stock(product string, quantity int64) {
	s.t.Helper()
	s.stockAll(map[string]int64{product: quantity})
}

func (s *shop) stockAll(products map[string]int64) {
	s.t.Helper()
	var args []any
	for product, quantity := range products {
		args = append(args, product, product, quantity)
	}
	d := s.db.Dialect()
	for rows := range slices.Chunk(args, 3*database.ChunkRows) {
		s.exec("INSERT INTO product_details (product_id, product_name, quantity) VALUES "+database.Values(len(rows)/3, 3)+
			d.OnConflict("product_id")+"quantity = product_details.quantity + "+d.Incoming("quantity"), rows...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for product, quantity := range products {
		s.stocked[product] += quantity
	}
}

// lower takes units off the shelf by hand, whatever is held.
func (s *shop) lower(product string, quantity int64) {
	s.t.Helper()
	s.exec("UPDATE product_details SET quantity = quantity - ? WHERE product_id = ?", quantity, product)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stocked[product] -= quantity
}

// add puts units into a client's cart.
func (s *shop) add(client, product string, quantity int64) {
	s.t.Helper()
	s.addAll(cart.ClientLine{ClientID: client, Line: inventory.Line{ProductID: product, Quantity: quantity}})
}

func (s *shop) addAll(lines ...cart.ClientLine) {
	s.t.Helper()
	s.transact(func(ctx context.Context, tx *database.Tx) error {
		return restore(ctx, tx, lines)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range lines {
		s.added[units{line.ClientID, line.ProductID}] += line.Quantity
	}
}

// restore restores lines as a checkout does.
func restore(ctx context.Context, tx *database.Tx, lines []cart.ClientLine) error {
	return databasetest.Send(ctx, tx, func(b *database.Batch) { new(cart.Store).Restore(b, lines) })
}

// transact runs work in one transaction, as another program beside the server would.
func (s *shop) transact(work func(context.Context, *database.Tx) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.db.Transact(ctx, func(tx *database.Tx) error { return work(ctx, tx) }, nil); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) exec(query string, args ...any) {
	s.t.Helper()
	s.transact(func(ctx context.Context, tx *database.Tx) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

// query reads what is committed now into dest, a pointer to a slice.
func (s *shop) query(dest any, query string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.db.Read(ctx, func(tx *database.Tx) error { return tx.Select(ctx, dest, query, args...) }); err != nil {
		s.t.Fatal(err)
	}
}

// number reads one number, 0 where there is none.
func (s *shop) number(query string, args ...any) int64 {
	s.t.Helper()
	var numbers []int64
	s.query(&numbers, query, args...)
	if len(numbers) == 0 {
		return 0
	}
	return numbers[0]
}

func (s *shop) onHand(product string) int64 {
	s.t.Helper()
	return s.number("SELECT quantity FROM product_details WHERE product_id = ?", product)
}

// held is how many units of a product are held.
func (s *shop) held(product string) int64 {
	s.t.Helper()
	return s.number("SELECT COALESCE(SUM(quantity), 0) FROM reserve_purchase WHERE product_id = ?", product)
}

// inCart is what a client's cart has, as "product×units" in the products' order.
func (s *shop) inCart(client string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	views, err := cart.Views(ctx, s.db, inventory.New(s.db), checkout.UnderWay, []string{client})
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []inventory.Line
	for _, line := range views[client].Lines {
		lines = append(lines, inventory.Line{ProductID: line.ProductID, Quantity: line.Quantity})
	}
	return shown(lines)
}

func shown(lines []inventory.Line) string {
	text := ""
	for i, line := range lines {
		if i > 0 {
			text += " "
		}
		text += fmt.Sprintf("%s×%d", line.ProductID, line.Quantity)
	}
	return text
}

// entries is what the journal has, the newest first.
func (s *shop) entries(filter checkout.Filter) []checkout.Entry {
	s.t.Helper()
	var entries []checkout.Entry
	if err := checkout.List(context.Background(), s.db, filter, func(e checkout.Entry) error {
		entries = append(entries, e)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return entries
}

// entry is the client's only checkout.
func (s *shop) entry(client string) checkout.Entry {
	s.t.Helper()
	entries := s.entries(checkout.Filter{ClientID: client})
	if len(entries) != 1 {
		s.t.Fatalf("the journal has %d checkouts of %s, want one", len(entries), client)
	}
	return entries[0]
}

// open returns how many checkouts are in flight.
func (s *shop) inFlight() int { return len(s.entries(checkout.Filter{Open: true})) }

// expireLeases lets the lease of every open checkout be over, as the database's clock sees it.
func (s *shop) expireLeases() {
	s.t.Helper()
	s.exec("UPDATE checkout_journal SET lease_expires_at = " + s.db.Dialect().NowPlus(-time.Second) +
		" WHERE lease_expires_at IS NOT NULL")
}

// quiet waits until no checkout is in flight.
func (s *shop) quiet() {
	s.t.Helper()
	eventually(s.t, "no checkout is in flight", func() bool { return s.inFlight() == 0 })
}

// eventually waits until what is described holds.
func eventually(t tester, what string, holds func() bool) {
	t.Helper()
	databasetest.Eventually(t, patience, what, holds)
}

// wantErr checks an answer.
func wantErr(t tester, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("answered %v, want %v", got, want)
	}
}

// want checks a value.
func want[T comparable](t tester, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
