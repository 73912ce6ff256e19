package e2e

import (
	"cartwheel/database/databasetest/dbserver"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/proxy"
)

// behindProxy returns a store whose instances reach the database through a proxy, while the books
// are read directly.
func behindProxy(t *testing.T, flavour dbserver.Flavour) (store, *proxy.Proxy) {
	t.Helper()
	dsn := databasetest.ServerDSN(t, flavour)
	way, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen(way.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	way.Net, way.Addr = "tcp", p.Address()
	return store{[]string{"--mysql-dsn", way.FormatDSN()}, database.Config{MySQLDSN: dsn}, flavour}, p
}

// A lostCommit is one way in which a COMMIT's answer can get lost.
type lostCommit struct {
	fate    func() proxy.Fate
	arrives bool // at the server
}

func lostCommits() map[string]lostCommit {
	return map[string]lostCommit{
		"before the server had it":     {proxy.CutBefore, false},
		"after the server did it":      {proxy.CutAfter, true},
		"while it is still on its way": {func() proxy.Fate { return heldFor(300 * time.Millisecond) }, true},
	}
}

func heldFor(d time.Duration) proxy.Fate {
	release := make(chan struct{})
	time.AfterFunc(d, func() { close(release) })
	return proxy.Hold(release)
}

func lost(p *proxy.Proxy) int {
	counts := p.Counts()
	return counts.CutBefore + counts.CutAfter + counts.Held
}

// A committing is a shop of which each commit can be lost.
type committing struct {
	*chaos
	lost        lostCommit
	proxy       *proxy.Proxy
	interceptor *interceptor
	manualSQL   *editor
	shop        *instance
	random      *rand.Rand
}

// cut loses the next commit.
func (c *committing) cut() { c.proxy.Next(c.lost.fate()) }

// add adds lamps and wants the answer given.
func (c *committing) add(code int, client, product string, units int, key string) {
	c.t.Helper()
	if got := c.shoppers.add(c.t.Context(), c.random, client, product, units, key); got.Code != code {
		c.t.Errorf("add for %s: got %v, want %d", client, got, code)
	}
}

// buy begins a checkout; the function returned wants its answer.
func (c *committing) buy(client, key string) (want func(code int)) {
	answer := make(chan reply, 1)
	random := rand.New(rand.NewPCG(1, 2))
	go func() { answer <- c.shoppers.buy(context.Background(), random, client, key) }()
	return func(code int) {
		c.t.Helper()
		if got := <-answer; got.Code != code {
			c.t.Errorf("checkout of %s: got %v, want %d", client, got, code)
		}
	}
}

// repeat wants a repeat with a key to get the same answer as the first.
func (c *committing) repeat(code int, r request) {
	c.t.Helper()
	if got := c.shop.send(c.t.Context(), r); got.Code != code {
		c.t.Errorf("the repeat of %v got %v, want %d", r.body, got, code)
	}
}

// The flows are all that commits, by the name of the commit that is lost.
var flows = map[string]func(c *committing){
	"an add": func(c *committing) {
		c.cut()
		c.add(504, "adder", "lamp", 2, "")
		want := int64(0)
		if c.lost.arrives {
			want = 2
		}
		eventually(c.t, soon, "the add is stored if its commit arrived", func() bool {
			return c.store.snapshot(c.t).carts["adder"]["lamp"] == want
		})
	},
	"an add with a key": func(c *committing) {
		c.cut()
		c.add(200, "keyed-adder", "lamp", 2, "add")
		c.repeat(200, addition("keyed-adder", "lamp", 2).withKey("add"))
	},
	"a refusal's key": func(c *committing) {
		c.cut()
		c.buy("empty-handed", "buy")(409)
		c.repeat(409, purchase("empty-handed").withKey("buy"))
	},
	"TX 1": func(c *committing) {
		c.add(200, "reserver", "lamp", 3, "")
		c.cut()
		c.buy("reserver", "")(200)
	},
	"TX 1 with a key": func(c *committing) {
		c.add(200, "keyed-reserver", "lamp", 3, "")
		c.cut()
		c.buy("keyed-reserver", "buy")(200)
		c.repeat(200, purchase("keyed-reserver").withKey("buy"))
	},
	"TX 2, approved":             func(c *committing) { c.settles("buyer", "", 200) },
	"TX 2, approved, with a key": func(c *committing) { c.settles("keyed-buyer", "buy", 200) },
	"TX 2, declined":             func(c *committing) { c.settles("decline-buyer", "", 402) },
	"TX 2, declined, with a key": func(c *committing) { c.settles("decline-keyed-buyer", "buy", 402) },
	"TX 2 to refunding": func(c *committing) {
		c.strands("fading", func() { c.cut() }, func() {})
	},
	"TX 2 after the refund": func(c *committing) {
		c.strands("waning", func() {}, func() { c.cut() })
	},
}

// settles loses TX 2 of a checkout that is to be answered with the code.
func (c *committing) settles(client, key string, code int) {
	c.t.Helper()
	c.add(200, client, "lamp", 2, "")
	charge := c.interceptor.before(c.t, http.MethodPut)
	want := c.buy(client, key)
	charge.await(soon)
	c.cut()
	charge.letGo()
	want(code)
	if key != "" {
		c.repeat(code, purchase(client).withKey(key))
	}
}

// strands lowers a product's stock under a checkout that is being paid for. Each function is called
// before a commit.
func (c *committing) strands(product string, refunding, refunded func()) {
	c.t.Helper()
	client := "stranded-by-" + product
	c.add(200, client, product, 5, "")
	charge := c.interceptor.before(c.t, http.MethodPut)
	want := c.buy(client, "buy")
	charge.await(soon)
	c.manualSQL.setStock(c.t, product, 4)
	refund := c.interceptor.before(c.t, http.MethodPost)
	refunding()
	charge.letGo()
	refund.await(soon)
	refunded()
	refund.letGo()
	want(409)
	c.repeat(409, purchase(client).withKey("buy"))
}

func TestLostCommit_everyFlowResolvesIt(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, lostCommit := range lostCommits() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, p := behindProxy(t, flavour)
				c := &committing{chaos: newChaos(t, s, map[string]int{"lamp": 1000, "fading": 10, "waning": 10}),
					lost: lostCommit, proxy: p, random: rand.New(rand.NewPCG(1, 1))}
				c.interceptor, c.manualSQL = startInterceptor(t, c.payments), newEditor(c.chaos)
				c.shop = start(t, s, "--payment-url", c.interceptor.url)
				c.shoppers.visits(c.shop)
				for commit, flow := range flows {
					before := lost(p)
					flow(c)
					if n := lost(p) - before; n != 1 {
						t.Errorf("%s: %d commits were lost, want 1", commit, n)
					}
				}
				c.notef("%d commits lost", lost(p))
				c.settle()
				c.manualSQL.reckon()
				c.recordMemory(c.shop)
				c.check()
			})
		}
	})
}

// A claim whose commit's answer is lost may be another instance's: it is left to expire, and
// claimed again.
func TestLostCommit_recoveryClaimResolvesIt(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, lostCommit := range lostCommits() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				const buyers = 20
				times := []string{"--payment-timeout", "1s", "--checkout-lease", "3s"}
				s, p := behindProxy(t, flavour)
				c := newChaos(t, s, map[string]int{"lamp": 1000})
				g := startInterceptor(t, c.payments)
				victim := start(t, s, append(times, "--payment-url", g.url)...)
				c.shoppers.visits(victim)
				charges := g.before(t, http.MethodPut)
				ctx, stop := context.WithCancel(t.Context())
				var clients sync.WaitGroup
				for i := range buyers {
					clients.Go(func() {
						random := rand.New(rand.NewPCG(uint64(i), 1))
						client := fmt.Sprint("buyer-", i)
						c.shoppers.add(ctx, random, client, "lamp", 1, "")
						c.shoppers.buy(ctx, random, client, "")
					})
				}
				for range buyers {
					charges.await(soon)
				}
				c.kill(victim)
				stop()
				clients.Wait()
				charges.letGo() // the charges arrive after all
				eventually(t, soon, "the charges have arrived", func() bool { return c.payments.Totals().Captures == buyers })

				p.Next(lostCommit.fate())
				shop := c.start(times...)
				c.settle()
				if n := lost(p); n != 1 {
					t.Errorf("%d commits were lost, want 1", n)
				}
				b := s.snapshot(t)
				for _, e := range b.checkouts {
					if e.State != checkout.Committed {
						t.Errorf("checkout %s is %s, though it was charged", e.CheckoutID, e.State)
					}
				}
				c.notef("%d commits lost", lost(p))
				c.recordMemory(shop)
				c.check()
			})
		}
	})
}

func TestLostCommit_randomLossesUnderLoad(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		s, p := behindProxy(t, flavour)
		c := newChaos(t, s, map[string]int{"plenty": 1_000_000, "scarce": 300, "rare": 3})
		shop := c.start("--checkout-lease", "4s", "--payment-timeout", "2s")
		c.shoppers.visits(shop)
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		p.Decide(func(int) proxy.Fate {
			switch random.IntN(20) {
			case 0:
				return proxy.CutBefore()
			case 1:
				return proxy.CutAfter()
			case 2:
				return heldFor(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
			}
			return proxy.Deliver()
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
		pause(ctx, shortOrLong(4*time.Second, 5*time.Minute))
		p.Decide(nil)
		stop()
		wait()
		c.settle()
		counts := p.Counts()
		if counts.CutBefore == 0 || counts.CutAfter == 0 || counts.Held == 0 {
			t.Errorf("not every kind of loss was tried: %+v", counts)
		}
		c.notef("%d of %d commits lost", lost(p), counts.Commits)
		c.recordMemory(shop)
		c.check()
	})
}
