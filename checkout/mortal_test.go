package checkout_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/payment"
)

// A point is where an instance may die.
type point string

// The points, in the order in which a checkout comes by them.
const (
	inTX1        point = "in TX 1"
	beforeCharge point = "before the charge"
	afterCharge  point = "after the charge"
	beforeVoid   point = "before the void"
	afterVoid    point = "after the void"
	inTX2        point = "in TX 2"
	beforeRefund point = "before the refund"
	afterRefund  point = "after the refund"
	afterRestock point = "after the restock, in TX 2"

	inAnyTransaction point = "in any transaction"
)

var errDead = errors.New("the instance is dead")

// A life ends at a point, as kill -9 ends it: what is in a transaction is rolled back, and nothing
// that comes later reaches the tables or the payment service. A nil life does not end.
type life struct {
	ended chan struct{}

	mu   sync.Mutex
	at   point // under mu; empty: nowhere
	dead bool  // under mu
}

func newLife() *life { return &life{ended: make(chan struct{})} }

// endsAt lets the life end where it next comes by the point.
func (l *life) endsAt(at point) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = at
}

// end ends the life wherever it is.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		close(l.ended)
	}
}

// await waits for the life's end.
func (l *life) await(t tester) {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(patience):
		t.Fatal("the instance goes on living")
	}
}

// pass is called at the points. It reports that the life has ended there, or before.
func (l *life) pass(by point) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	over := l.dead || l.at == by
	l.mu.Unlock()
	if !over {
		return nil
	}
	l.end()
	return errDead
}

// passOrHang is pass for what waits for an answer: the dead hear none.
func (l *life) passOrHang(ctx context.Context, by point) error {
	err := l.pass(by)
	if err != nil {
		<-ctx.Done()
	}
	return err
}

func (w *watchedStock) Reserve(b *database.Batch, reservations []inventory.Reservation) {
	w.Manager.Reserve(b, reservations)
	w.life.passIn(b, inTX1)
}

func (w *watchedStock) Restock(
	ctx context.Context, tx *database.Tx, stock *inventory.Stock, lines []inventory.Line,
) ([]inventory.Line, error) {
	lost, err := w.Manager.Restock(ctx, tx, stock, lines)
	if err != nil || len(lines) == 0 {
		return lost, err
	}
	if w.restocked != nil {
		w.restocked()
	}
	return lost, w.life.pass(afterRestock)
}

// passIn is pass once the batch is sent.
func (l *life) passIn(b *database.Batch, by point) {
	b.Exec(func(int64) error { return l.pass(by) }, "UPDATE checkout_journal SET epoch = epoch WHERE checkout_id = ''")
}

// RefuseLocked begins TX 1 as well as TX 2: the dead write in neither.
func (w *watchedCarts) RefuseLocked(
	ctx context.Context, tx *database.Tx, jobs []int, needsOf func(int) cart.Needs, refuse func(int, error),
) ([]int, error) {
	if err := w.life.pass(inAnyTransaction); err != nil {
		return nil, err
	}
	return w.Store.RefuseLocked(ctx, tx, jobs, needsOf, refuse)
}

func (w *watchedCarts) Restore(b *database.Batch, lines []cart.ClientLine) (full func() bool) {
	defer w.life.passIn(b, inTX2)
	return w.Store.Restore(b, lines)
}

func (w *watchedCarts) LockAndRestore(
	ctx context.Context, b *database.Batch, lines []cart.ClientLine,
) ([]cart.ClientLine, error) {
	defer w.life.passIn(b, inTX2)
	return w.Store.LockAndRestore(ctx, b, lines)
}

// mortal makes a till that of an instance which may die.
func (g *till) mortal(l *life) *till {
	charge := g.onCharge
	g.charges(func(ctx context.Context, order payment.Order) (payment.Result, error) {
		if err := l.passOrHang(ctx, beforeCharge); err != nil {
			return payment.Result{}, err
		}
		result, err := charge(ctx, order)
		return result, errors.Join(err, l.passOrHang(ctx, afterCharge))
	})
	g.voids(func(ctx context.Context, id string) (payment.Result, error) {
		if err := l.passOrHang(ctx, beforeVoid); err != nil {
			return payment.Result{}, err
		}
		result, err := g.ledger.void(ctx, id)
		return result, errors.Join(err, l.passOrHang(ctx, afterVoid))
	})
	g.refunds(func(ctx context.Context, id string) (payment.Result, error) {
		if err := l.passOrHang(ctx, beforeRefund); err != nil {
			return payment.Result{}, err
		}
		result, err := g.ledger.refund(ctx, id)
		return result, errors.Join(err, l.passOrHang(ctx, afterRefund))
	})
	return g
}
