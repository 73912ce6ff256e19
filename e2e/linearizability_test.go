package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
)

// checking bounds the search for an order of one round's steps.
const checking = 2 * time.Minute

// Adds, removals, merges, checkouts, declines, imports and looks at the tables run at once, an
// instance is killed in the middle of each round, and what everybody saw must be explained by one
// order of all that happened.
func TestLinearizability_holdsBesideKills(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		rounds := make([]*round, shortOrLong(6, 120))
		stocked := map[string]int{"plenty": 100}
		for n := range rounds {
			rounds[n] = &round{n: n, strict: s.config.MySQLDSN == "", onHand: units{12, 7}}
			for i, product := range rounds[n].products() {
				stocked[product] = rounds[n].onHand[i]
			}
		}
		c := newChaos(t, s, stocked)
		c.shoppers.modelled = true
		w := &watched{c: c, gateway: slow(t, c.payments, 10*time.Millisecond), random: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 13)),
			began: time.Now()}
		var err error
		if w.db, err = database.Open(t.Context(), s.config); err != nil {
			t.Fatalf("open the books: %v", err)
		}
		defer func() {
			if err := w.db.Close(); err != nil {
				t.Errorf("close the books: %v", err)
			}
		}()
		w.shops = append(w.shops, w.start())
		if s.config.MySQLDSN != "" {
			w.shops = append(w.shops, w.start())
		}
		c.shoppers.visits(w.shops...)
		for _, r := range rounds {
			w.play(r)
		}
		c.settle()
		c.recordMemory(w.shops[0])
		steps := 0
		for _, r := range rounds {
			w.resolve(r)
			w.look(r)
			steps += len(r.steps)
			switch result := r.steps.linearizable(r.onHand, checking); result {
			case porcupine.Illegal:
				c.violationf("no order explains what was seen in round %d:\n%s", r.n, r.steps)
			case porcupine.Unknown:
				t.Errorf("within %v it is not known whether an order explains round %d, of %d steps", checking, r.n, len(r.steps))
			case porcupine.Ok:
			}
		}
		c.notef("%d rounds of %d steps in all, %d of them unknown forever", len(rounds), steps, w.pending)
		c.check()
	})
}

// watched is a shop whose history is taken down.
type watched struct {
	c       *chaos
	gateway string // URL; it takes its time, so that kills meet checkouts under way
	db      *database.DB
	random  *rand.Rand // the chaos test's goroutine
	began   time.Time
	shops   []*instance
	pending int // steps that are pending forever; the chaos test's goroutine

	importing sync.Mutex // held while stock is imported
}

// A round has clients and products of its own, and so a history of its own.
type round struct {
	n      int
	strict bool
	onHand units // at first

	mu         sync.Mutex
	requests   int        // under mu
	steps      trace      // under mu
	unanswered []checkOut // under mu
}

// A checkOut is a checkout whose answer does not tell how it ended.
type checkOut struct {
	step step
	key  string
	call int64
}

func (r *round) products() [modelProducts]string {
	return [modelProducts]string{fmt.Sprintf("r%04d-a", r.n), fmt.Sprintf("r%04d-b", r.n)}
}

// clients are those of a round; the second is declined by the payment service.
func (r *round) clients() [modelClients]string {
	return [modelClients]string{fmt.Sprintf("r%04d", r.n), fmt.Sprintf("decline-r%04d", r.n)}
}

// request numbers a request, for its steps.
func (r *round) request() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	return r.requests
}

// happened takes steps down, which lie between call and end.
func (r *round) happened(call, end int64, steps ...step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range steps {
		s.strict = r.strict
		r.steps = append(r.steps, porcupine.Operation{Input: s, Call: call, Return: end})
	}
}

func (w *watched) now() int64 { return time.Since(w.began).Nanoseconds() }

func (w *watched) start() *instance {
	return w.c.start("--payment-url", w.gateway, "--checkout-lease", "2500ms", "--payment-timeout", "500ms")
}

// play runs a round, in the middle of which an instance is killed.
func (w *watched) play(r *round) {
	ctx := w.c.t.Context()
	pace := shortOrLong(15*time.Millisecond, time.Duration(5+w.random.IntN(300))*time.Millisecond)
	var workers sync.WaitGroup
	for client := range modelClients {
		for worker := range 2 {
			random := rand.New(rand.NewPCG(w.random.Uint64(), uint64(worker)))
			workers.Go(func() {
				for range 8 { // the search for an order takes exponentially longer the more there are
					w.request(ctx, r, random, client)
					pause(ctx, time.Duration(random.Int64N(int64(pace))))
				}
			})
		}
	}
	stop := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			w.look(r)
			select {
			case <-stop:
				return
			case <-time.After(pace / 2):
			}
		}
	})
	looking.Go(func() {
		pause(ctx, 2*pace)
		w.importOne(r)
	})
	endLooking := sync.OnceFunc(func() {
		close(stop)
		looking.Wait()
	})
	defer endLooking()

	pause(ctx, time.Duration(w.random.Int64N(int64(10*pace))))
	place := w.random.IntN(len(w.shops))
	victim := w.shops[place]
	w.importing.Lock() // the embedded engine's server runs the import: killed, its outcome is unknown
	w.c.kill(victim)   // while it is visited
	w.importing.Unlock()
	w.shops = append(w.shops[:place:place], w.shops[place+1:]...)
	w.c.shoppers.visits(w.shops...)
	w.shops = append(w.shops, w.start())
	w.c.shoppers.visits(w.shops...)
	workers.Wait()
	endLooking()
	for _, op := range r.steps {
		if op.Return == forever {
			w.pending++
		}
	}
}

// request adds something, or checks out, and takes down what that meant.
func (w *watched) request(ctx context.Context, r *round, random *rand.Rand, client int) {
	base := step{request: r.request(), client: client}
	call := w.now()
	key := fmt.Sprintf("r%04d-%d", r.n, base.request)
	switch random.IntN(12) {
	case 0:
		base.product = random.IntN(modelProducts)
		if w.c.shoppers.change(ctx, random, update(r.clients()[client], r.products()[base.product], 0), key) {
			r.happened(call, w.now(), base.as(stepLower))
		}
		return
	case 1:
		if w.c.shoppers.change(ctx, random, merge(r.clients()[1-client], r.clients()[client]), key) {
			steps := []step{base.as(stepMergeSee), base.as(stepMerge)}
			if r.strict {
				steps = steps[1:]
			}
			r.happened(call, w.now(), steps...)
		}
		return
	}
	if random.IntN(3) > 0 {
		base.product, base.quantity = random.IntN(modelProducts), 1+random.IntN(3)
		got := w.c.shoppers.add(ctx, random, r.clients()[client], r.products()[base.product], base.quantity, "")
		w.added(r, base, got, call, w.now())
		return
	}
	got := w.c.shoppers.buyOnce(ctx, random, r.clients()[client], key)
	w.bought(r, base, key, got, call, w.now())
}

func (w *watched) added(r *round, s step, got reply, call, end int64) {
	switch got.Code {
	case 200:
		if r.strict {
			r.happened(call, end, s.as(stepAdd))
			return
		}
		r.happened(call, end, s.as(stepAllow), s.as(stepStore))
	case 409:
		product, wanted, available := w.shortage(r, got)
		s.wanted, s.available = wanted, available
		if product != s.product {
			w.c.violationf("an add of product %d was answered %v", s.product, got)
		}
		r.happened(call, end, s.as(stepRefuseAdd))
	case 0, 504:
		s.maybe = true
		r.happened(call, forever, s.as(stepAdd))
	case 503:
	default:
		w.c.violationf("an add was answered %v", got)
	}
}

func (w *watched) bought(r *round, s step, key string, got reply, call, end int64) {
	switch got.Code {
	case 200:
		r.checkedOut(s, stepSell, call, end)
	case 402:
		r.checkedOut(s, stepPutBack, call, end)
	case 503:
		if unpaid(got) {
			r.checkedOut(s, stepPutBack, call, end)
		}
	case 409:
		if strings.Contains(got.Error, "empty") {
			r.happened(call, end, s.as(stepRefuseEmpty))
			return
		}
		s.product, s.wanted, s.available = w.shortage(r, got)
		r.happened(call, end, s.as(stepRefuseShort))
	case 0, 202, 504:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unanswered = append(r.unanswered, checkOut{s, key, call})
	default:
		w.c.violationf("a checkout was answered %v", got)
	}
}

// checkedOut takes down the steps of a checkout that took its lines, and their last step.
func (r *round) checkedOut(s step, last stepKind, call, end int64) {
	if !r.strict {
		r.happened(call, end, s.as(stepSee))
	}
	r.happened(call, end, s.as(stepTake), s.as(last))
}

// resolve finds in the journal, by their keys, how the checkouts without an answer ended. Those
// that are not there never began. All are over when it is called.
func (w *watched) resolve(r *round) {
	for _, unanswered := range r.unanswered {
		var states []checkout.State
		err := w.db.Read(w.c.t.Context(), func(tx *database.Tx) error {
			return tx.Select(w.c.t.Context(), &states, "SELECT state FROM checkout_journal WHERE client_id = ? AND idempotency_key = ?",
				r.clients()[unanswered.step.client], unanswered.key)
		})
		switch {
		case err != nil || len(states) > 1:
			w.c.t.Errorf("look for the checkout of key %s: %v, %v", unanswered.key, states, err)
		case len(states) == 0:
		case states[0] == checkout.Committed:
			r.checkedOut(unanswered.step, stepSell, unanswered.call, w.now())
		case states[0] == checkout.RolledBack:
			r.checkedOut(unanswered.step, stepPutBack, unanswered.call, w.now())
		default:
			w.c.violationf("the checkout of key %s is %s", unanswered.key, states[0])
		}
	}
}

func (s step) as(kind stepKind) step {
	s.kind = kind
	return s
}

var shortages = regexp.MustCompile(`not enough stock of product (\S+): wanted (\d+), available (\d+)`)

// shortage reads a refusal.
func (w *watched) shortage(r *round, got reply) (product, wanted, available int) {
	said := shortages.FindStringSubmatch(got.Error)
	if said == nil {
		w.c.violationf("a request was answered %v", got)
		return 0, 0, 0
	}
	for i, name := range r.products() {
		if name == said[1] {
			product = i
		}
	}
	wanted, _ = strconv.Atoi(said[2])
	available, _ = strconv.Atoi(said[3])
	return product, wanted, available
}

// importOne adds to the stock while the round goes on.
func (w *watched) importOne(r *round) {
	s := step{kind: stepImport, product: r.n % modelProducts, quantity: 3, request: r.request()}
	name := r.products()[s.product]
	call := w.now()
	w.importing.Lock()
	defer w.importing.Unlock()
	csv := "product_id,product_name,quantity\n" + name + ",," + itoa(s.quantity) + "\n"
	if _, errs, status := run(w.c.t, w.c.store, strings.NewReader(csv), "stock", "import", "--add", "-"); status != 0 {
		w.c.t.Errorf("stock import: status %d: %s", status, errs)
	}
	r.happened(call, w.now(), s)
	w.c.stocked[name] += s.quantity
}

// look looks at the round's rows, all of them at one moment.
func (w *watched) look(r *round) {
	ctx := w.c.t.Context()
	s := step{kind: stepLook, request: r.request()}
	products, clients := r.products(), r.clients()
	call := w.now()
	if err := w.db.Snapshot(ctx, func(tx *database.Tx) error {
		if err := inventory.EachLevel(ctx, tx, func(id string, level inventory.Level) error {
			for i := range products {
				if products[i] == id {
					s.seen.onHand[i], s.seen.held[i] = int(level.OnHand), int(level.Reserved)
				}
			}
			return nil
		}); err != nil {
			return err
		}
		var lines []struct {
			Client   string `db:"client_id"`
			Product  string `db:"product_id"`
			Quantity int    `db:"quantity"`
		}
		if err := tx.Select(ctx, &lines, "SELECT client_id, product_id, quantity FROM client_cart WHERE client_id IN (?, ?)",
			clients[0], clients[1]); err != nil {
			return err
		}
		for _, line := range lines {
			for i := range clients {
				for j := range products {
					if clients[i] == line.Client && products[j] == line.Product {
						s.seen.carts[i][j] = line.Quantity
					}
				}
			}
		}
		return nil
	}); err != nil {
		w.c.t.Errorf("look at the tables: %v", err)
		return
	}
	r.happened(call, w.now(), s)
}
