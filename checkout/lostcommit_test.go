package checkout_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/database/databasetest/proxy"
)

// behindProxy returns a shop whose tests look at its database directly, and a way to it through a
// proxy.
func behindProxy(t *testing.T, flavour dbserver.Flavour) (*shop, *proxy.Proxy, *database.DB) {
	t.Helper()
	dsn := databasetest.ServerDSN(t, flavour)
	s := newShop(t, databasetest.Open(t, database.Config{MySQLDSN: dsn}))
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
	return s, p, databasetest.Open(t, database.Config{MySQLDSN: way.FormatDSN()})
}

// fates are what may become of a COMMIT whose answer is lost.
func fates() map[string]func() proxy.Fate {
	return map[string]func() proxy.Fate{
		"before the server had it": proxy.CutBefore,
		"after the server did it":  proxy.CutAfter,
		"while it is still on its way": func() proxy.Fate {
			release := make(chan struct{})
			time.AfterFunc(300*time.Millisecond, func() { close(release) })
			return proxy.Hold(release)
		},
	}
}

func TestLostCommit_lostAnswerToACommitIsFoundOut(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, fate := range fates() {
			for transaction := 1; transaction <= 2; transaction++ {
				for _, sold := range []bool{true, false} {
					t.Run(fmt.Sprintf("TX %d, sold %v, %s", transaction, sold, name), func(t *testing.T) {
						t.Parallel()
						s, p, db := behindProxy(t, flavour)
						s.stock("book", 20)
						in := s.open(settings{db: db})
						held := in.till.hold()
						decide := func() {
							p.Next(fate())
						}
						if transaction == 1 {
							decide()
						}
						var calls []*call
						for i := range 5 {
							client := fmt.Sprint("client-", i)
							s.add(client, "book", 2)
							calls = append(calls, in.beginKeyed(client, "key"))
						}
						held.await(t, len(calls))
						if transaction == 2 {
							decide()
						}
						answer := s.ledger.approve
						var outcome error
						if !sold {
							answer, outcome = s.ledger.decline("no"), &checkout.ReasonError{Err: checkout.ErrDeclined, Reason: "no"}
						}
						held.open(answer)
						for i, c := range calls {
							if err := c.end(); sold {
								wantErr(t, err, nil)
							} else {
								wantErr(t, err, checkout.ErrDeclined)
							}
							wantReplay(t, in.beginKeyed(fmt.Sprint("client-", i), "key").end(), outcome)
						}
						want(t, "charges", in.till.charged.Load(), int64(len(calls)))
						counts := p.Counts()
						want(t, "commits that were lost", counts.CutBefore+counts.CutAfter+counts.Held, 1)
					})
				}
			}
		}
	})
}

func TestLostCommit_lostAnswerToARefusalsCommitIsFoundOut(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, fate := range fates() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, p, db := behindProxy(t, flavour)
				in := s.open(settings{db: db})
				p.Next(fate())
				err := in.beginKeyed("ada", "key").end()
				wantErr(t, err, cart.ErrEmpty)
				wantReplay(t, in.beginKeyed("ada", "key").end(), err)
				want(t, "keys", s.number("SELECT COUNT(*) FROM idempotency_key"), 1)
			})
		}
	})
}

// A claim whose answer is lost may be another instance's as well: it is left to expire, and claimed
// again.
func TestLostCommit_lostAnswerToAClaimIsLeftToExpire(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		for name, fate := range fates() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, p, db := behindProxy(t, flavour)
				s.stock("book", 20)
				var clients []string
				for i := range 5 {
					clients = append(clients, fmt.Sprint("client-", i))
					s.add(clients[i], "book", 2)
				}
				s.crash(settings{}, clients...)
				s.expireLeases()
				in := s.open(settings{Config: checkout.Config{Lease: time.Second}, db: db, idle: true})
				p.Next(fate())
				in.start()
				s.quiet()
				want(t, "held", s.held("book"), 0)
			})
		}
	})
}

func TestLostCommit_checkoutIsRefusedHonestlyWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	databasetest.EachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		s, p, db := behindProxy(t, flavour)
		s.stock("book", 5)
		s.add("ada", "book", 2)
		s.add("bob", "book", 1)
		in := s.open(settings{db: db})
		held := in.till.hold()
		ada := in.begin("ada")
		held.await(t, 1)

		p.Away(true)
		wantErr(t, in.buy("bob"), database.ErrUnavailable)
		held.open(s.ledger.approve) // the settle is tried until the database is back
		want(t, "bob's checkouts", len(s.entries(checkout.Filter{ClientID: "bob"})), 0)
		if !ada.waits() {
			t.Errorf("answered %v while the database was away", ada.err)
		}
		p.Away(false)
		wantErr(t, ada.end(), nil)
		wantErr(t, in.buy("bob"), nil)
	})
}
