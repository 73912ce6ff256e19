package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"time"

	"cartwheel/checkout"
)

// A cartLine is a product in a client's cart.
type cartLine struct{ client, product string }

// Shoppers are many clients who shop at random, at any of the instances that are open, and remember
// what they were told.
type shoppers struct {
	c       *chaos
	hangsUp bool // when ctx ends; else an answer is waited for then, too
	// modelled says that a model accounts for all units: merges move them between clients.
	modelled bool
	cancels  bool // clients with keys cancel one in four of their checkouts

	mu        sync.Mutex
	shops     []*instance        // under mu; whom to ask
	sure      map[cartLine]int64 // under mu; units whose add was answered Success
	perhaps   map[cartLine]int64 // under mu; units whose add had no answer, or one that does not know
	bought    map[string]int     // under mu; checkouts that were answered Success, by client
	unknown   map[string]int     // under mu; checkouts without an answer, or Pending, by client
	cancelled map[string]bool    // under mu; checkouts whose cancellation was answered Success
	codes     map[string]int     // under mu; answers, by path and code; 0 is none
	refused   []time.Duration    // under mu; how long each refusal for now (429, 503) took
}

func newShoppers(c *chaos) *shoppers {
	return &shoppers{c: c, sure: map[cartLine]int64{}, perhaps: map[cartLine]int64{}, bought: map[string]int{}, unknown: map[string]int{},
		cancelled: map[string]bool{}, codes: map[string]int{}}
}

// visits tells the shoppers which instances are open. None: it waits.
func (c *shoppers) visits(shops ...*instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shops = shops
}

func (c *shoppers) pick(random *rand.Rand) *instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.shops) == 0 {
		return nil
	}
	return c.shops[random.IntN(len(c.shops))]
}

// tellsOfDeadlock finds the database's words for one.
var tellsOfDeadlock = regexp.MustCompile(`(?i)deadlock|error 1213`)

// ask sends one request to one of the instances, and holds the answer against what every answer
// must be. The reply has code 0 where there was none.
func (c *shoppers) ask(ctx context.Context, random *rand.Rand, r request) reply {
	shop := c.pick(random)
	if shop == nil {
		pause(ctx, 20*time.Millisecond)
		return reply{Code: 503}
	}
	c.c.requests.Add(1)
	if !c.hangsUp {
		// A checkout goes on without its client, and one that is still to begin is in no books.
		ctx = context.WithoutCancel(ctx)
	}
	asked := time.Now()
	got := shop.send(ctx, r)
	refusal := got.Code == 429 || got.Code == 503
	c.mu.Lock()
	c.codes[fmt.Sprint(r.path, " ", got.Code)]++
	if refusal {
		c.refused = append(c.refused, time.Since(asked))
	}
	c.mu.Unlock()
	if refusal && got.RetryAfter == "" {
		c.c.violationf("%s was answered %v without Retry-After", r.path, got)
	}
	if got.Code == 500 || tellsOfDeadlock.MatchString(got.Body) {
		c.c.violationf("%s was answered %v", r.path, got)
	}
	return got
}

// add adds units and remembers what came of it. With a key it repeats the request until the answer
// is known.
func (c *shoppers) add(ctx context.Context, random *rand.Rand, client, product string, quantity int, key string) reply {
	line, units := cartLine{client, product}, int64(quantity)
	got := c.ask(ctx, random, addition(client, product, quantity).withKey(key))
	for key != "" && !known(got.Code) && ctx.Err() == nil {
		pause(ctx, 50*time.Millisecond)
		got = c.ask(ctx, random, addition(client, product, quantity).withKey(key))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case got.Code == 200:
		c.sure[line] += units
	case got.Code == 0, got.Code == 504, key != "" && !known(got.Code): // a keyed one that gave up may have been stored by an earlier try
		c.perhaps[line] += units
	}
	return got
}

// known says whether an answer is an end: everything but no answer, a refusal for now, and "not
// known".
func known(code int) bool { return code != 0 && code != 202 && code < 500 }

// unpaid reports whether a checkout ended without a payment: nothing is charged, the cart is as
// before and the key is free.
func unpaid(got reply) bool {
	return got.Code == 503 && strings.Contains(got.Error, "payment not completed")
}

// buy checks a cart out and remembers what came of it. With a key it repeats the request until the
// answer is known.
func (c *shoppers) buy(ctx context.Context, random *rand.Rand, client, key string) reply {
	got := c.ask(ctx, random, purchase(client).withKey(key))
	for key != "" && !known(got.Code) && !unpaid(got) && ctx.Err() == nil {
		pause(ctx, 50*time.Millisecond)
		got = c.ask(ctx, random, purchase(client).withKey(key))
	}
	return c.remember(client, key, got)
}

// buyOnce is buy with a key, but without repeats.
func (c *shoppers) buyOnce(ctx context.Context, random *rand.Rand, client, key string) reply {
	return c.remember(client, key, c.ask(ctx, random, purchase(client).withKey(key)))
}

func (c *shoppers) remember(client, key string, got reply) reply {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case got.Code == 200:
		c.bought[client]++
	case unpaid(got):
	case !known(got.Code) && (got.Code != 503 || key != ""):
		c.unknown[client]++
	}
	return got
}

// change repeats a keyed request until its answer is known, and reports whether it is.
func (c *shoppers) change(ctx context.Context, random *rand.Rand, r request, key string) bool {
	for {
		got := c.ask(ctx, random, r.withKey(key))
		switch {
		case got.Code == 200:
			return true
		case known(got.Code):
			c.c.violationf("%s %v was answered %v", r.path, r.body, got)
			return true
		case ctx.Err() != nil:
			return false
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// cancel cancels a checkout, and repeats the request until its answer is known.
func (c *shoppers) cancel(ctx context.Context, random *rand.Rand, checkoutID string) {
	got := c.ask(ctx, random, cancellation(checkoutID))
	for !known(got.Code) && ctx.Err() == nil {
		pause(ctx, 50*time.Millisecond)
		got = c.ask(ctx, random, cancellation(checkoutID))
	}
	switch {
	case got.Code == 200:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cancelled[checkoutID] = true
	case known(got.Code):
		c.c.violationf("the cancellation of a sale was answered %v", got)
	}
}

// changeTheirMind adds units of a product that nothing else buys, and removes them again.
func (c *shoppers) changeTheirMind(ctx context.Context, random *rand.Rand, client, key string) {
	const quantity = 2
	line := cartLine{client, regretted}
	if c.add(ctx, random, client, regretted, quantity, key+"-add").Code != 200 {
		return
	}
	removed := c.change(ctx, random, update(client, regretted, 0), key+"-remove")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sure[line] -= quantity; !removed {
		c.perhaps[line] += quantity
	}
}

// logIn adds units as a guest, whose cart is then merged into the client's.
func (c *shoppers) logIn(ctx context.Context, random *rand.Rand, client, product, key string) {
	guest := "guest-" + key
	if c.add(ctx, random, guest, product, 1, key+"-guest").Code != 200 {
		return
	}
	merged := c.change(ctx, random, merge(guest, client), key+"-merge")
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sure, cartLine{guest, product})
	if merged {
		c.sure[cartLine{client, product}]++
		return
	}
	c.perhaps[cartLine{client, product}]++
	c.perhaps[cartLine{guest, product}]++
}

// regretted is the product that clients add and remove again.
const regretted = "regretted"

// shop sends that many clients shopping until ctx ends, and returns how to wait for them. Each adds
// one to three lines and then checks out, half of them with keys; one in eight is declined by the
// payment service. Some of those with keys log in before, or change their mind.
func (c *shoppers) shop(ctx context.Context, clients int, products ...string) (wait func()) {
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 7))
			for round := 0; ctx.Err() == nil; round++ {
				client := fmt.Sprintf("client-%d-%d", n, round%7) // comes back to its carts
				if n%8 == 0 {
					client = "decline-" + client
				}
				key := ""
				if n%2 == 0 {
					key = fmt.Sprintf("%d-%d", n, round)
				}
				if key != "" {
					switch random.IntN(8) {
					case 0:
						c.changeTheirMind(ctx, random, client, key)
					case 1:
						c.logIn(ctx, random, client, products[random.IntN(len(products))], key)
					}
				}
				for line := range 1 + random.IntN(3) {
					lineKey := key
					if key != "" {
						lineKey = fmt.Sprint(key, "-", line)
					}
					if got := c.add(ctx, random, client, products[random.IntN(len(products))], 1+random.IntN(3), lineKey); !known(got.Code) {
						pause(ctx, 20*time.Millisecond)
					}
				}
				switch got := c.buy(ctx, random, client, key); {
				case !known(got.Code):
					pause(ctx, 20*time.Millisecond)
				case c.cancels && got.Code == 200 && key != "" && random.IntN(4) == 0:
					c.cancel(ctx, random, got.Checkout)
				}
			}
		})
	}
	return all.Wait
}

// agrees checks promises U and A, line by line, and that who was told Success has bought.
func (c *shoppers) agrees(b snapshot) {
	c.c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	stored := map[cartLine]int64{}
	for client, lines := range b.carts {
		for product, units := range lines {
			stored[cartLine{client, product}] += units
		}
	}
	committed := map[string]int{}
	for _, e := range b.checkouts {
		if e.State == checkout.RolledBack {
			continue
		}
		if c.cancelled[e.CheckoutID] && e.State != checkout.Cancelled {
			c.c.violationf("checkout %s is %s, and its client was told that it is cancelled", e.CheckoutID, e.State)
		}
		if e.State == checkout.Committed || e.State == checkout.Cancelled {
			committed[e.ClientID]++
		}
		for _, line := range e.Lines {
			stored[cartLine{e.ClientID, line.ProductID}] += line.Quantity
		}
	}
	if c.modelled {
		clear(stored)
		clear(c.sure)
	}
	for line, units := range stored {
		if least, most := c.sure[line], c.sure[line]+c.perhaps[line]; units < least || units > most {
			c.c.violationf("%d units of %s are with client %s, who was told of %d to %d", units, line.product, line.client, least, most)
		}
	}
	for line, least := range c.sure {
		if _, found := stored[line]; !found && least > 0 {
			c.c.violationf("nothing of %s is with client %s, who was told of %d", line.product, line.client, least)
		}
	}
	for client, n := range committed {
		if least, most := c.bought[client], c.bought[client]+c.unknown[client]; n < least || n > most {
			c.c.violationf("client %s bought %d times, and was told of %d to %d", client, n, least, most)
		}
	}
	for client, least := range c.bought {
		if committed[client] < least {
			c.c.violationf("client %s bought %d times, and was told of %d", client, committed[client], least)
		}
	}
	c.c.t.Logf("answers: %v", c.codes)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
