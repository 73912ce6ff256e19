package e2e

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // to end sessions

	"cartwheel/database/databasetest/dbserver"
)

var soakFor = flag.Duration("soak-for", 0, "how long the soak of mixed faults lasts on each engine; 0 means 4s, or 3m with -soak")

// Everything goes wrong at once and in turn: instances are killed, stopped, paused and started, the
// gateway misbehaves, dies and comes back, the clients come in rushes, and the database's sessions
// are ended under the shop's hands.
func TestSoak_mixedFaults(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		length := *soakFor
		if length == 0 {
			length = shortOrLong(4*time.Second, 3*time.Minute)
		}
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		c := newChaos(t, s, map[string]int{"plenty": 10_000_000, "scarce": 5000, "rare": 3})
		k := &soaked{c: c, gateway: c.startUnreliableGateway(seed, 900*time.Millisecond), random: rand.New(rand.NewPCG(seed, 5)), did: map[string]int{}}
		instances := 1
		if s.config.MySQLDSN != "" {
			instances = 3
			k.sessions = openSessions(t, s.config.MySQLDSN)
		}
		for range instances {
			k.shops = append(k.shops, k.start())
		}
		c.shoppers.visits(k.shops...)
		ctx, stop := context.WithTimeout(t.Context(), length)
		defer stop()
		c.shoppers.cancels = true
		wait := c.shoppers.shop(ctx, 24, "plenty", "plenty", "scarce", "rare", "missing")
		k.run(ctx)
		wait()
		k.rushes.Wait()
		k.gateway.behave(well)
		c.settle()
		for _, shop := range k.shops {
			c.recordMemory(shop)
		}
		c.sellsAgain("plenty")
		k.gateway.after.Wait()
		c.notef("%v", k.did)
		c.check()
	})
}

// A soaked is a soak under way. It belongs to one goroutine.
type soaked struct {
	c        *chaos
	gateway  *moodyGateway
	random   *rand.Rand
	shops    []*instance
	sessions *sql.DB // nil on the embedded engine
	rushes   sync.WaitGroup
	did      map[string]int
}

func (k *soaked) start() *instance {
	return k.c.start("--payment-url", k.gateway.url, "--payment-timeout", "500ms", "--checkout-lease", "2500ms",
		"--request-timeout", "4s", "--drain-timeout", "3s", "--queue-capacity", "64", "--checkouts-in-flight", "256")
}

// run does one thing after the other until ctx ends.
func (k *soaked) run(ctx context.Context) {
	deeds := []struct {
		name string
		do   func(context.Context)
	}{
		{"kills", k.kill},
		{"restarts", k.restart},
		{"pauses", k.pause},
		{"moods", k.turn},
		{"rushes", k.rush},
		{"endings of sessions", k.endSessions},
	}
	if k.sessions == nil {
		deeds = deeds[:len(deeds)-1]
	}
	for {
		k.random.Shuffle(len(deeds), func(i, j int) { deeds[i], deeds[j] = deeds[j], deeds[i] })
		for _, deed := range deeds {
			pause(ctx, time.Duration(k.random.Int64N(int64(250*time.Millisecond))))
			if ctx.Err() != nil {
				return
			}
			deed.do(ctx)
			k.did[deed.name]++
		}
	}
}

// away picks an instance, and lets no client visit it until it is replaced.
func (k *soaked) away() (place int, shop *instance) {
	place = k.random.IntN(len(k.shops))
	shop = k.shops[place]
	k.c.shoppers.visits(slices.Delete(slices.Clone(k.shops), place, place+1)...)
	return place, shop
}

func (k *soaked) replace(place int) {
	k.shops[place] = k.start()
	k.c.shoppers.visits(k.shops...)
}

func (k *soaked) kill(context.Context) {
	place, shop := k.away()
	k.c.kill(shop)
	k.replace(place)
}

func (k *soaked) restart(context.Context) {
	place, shop := k.away()
	k.c.recordMemory(shop)
	if status := shop.stop(); status != 0 {
		k.c.violationf("exit status %d after SIGTERM, want 0", status)
	}
	k.replace(place)
}

// pause stops an instance for longer than its leases, or for a moment, while clients still visit
// it.
func (k *soaked) pause(ctx context.Context) {
	shop := k.shops[k.random.IntN(len(k.shops))]
	shop.signal(syscall.SIGSTOP)
	pause(ctx, time.Duration(k.random.Int64N(int64(shortOrLong(500*time.Millisecond, 4*time.Second)))))
	shop.signal(syscall.SIGCONT)
}

// turn changes the gateway's mood. It does not stay dead for long: nothing else would happen.
func (k *soaked) turn(ctx context.Context) {
	turned := mood(k.random.IntN(int(dead) + 1))
	k.gateway.behave(turned)
	if turned == dead {
		pause(ctx, 500*time.Millisecond)
		k.gateway.behave(unreliableGateway)
	}
}

func (k *soaked) rush(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, 500*time.Millisecond)
	wait := k.c.shoppers.rush(ctx, fmt.Sprint("rush-", k.did["rushes"]), 200, "plenty", "scarce")
	k.rushes.Go(func() {
		defer stop()
		wait()
	})
}

// openSessions connects to the server beside the instances.
func openSessions(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatalf("connect to the server: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the connection to the server: %v", err)
		}
	})
	return db
}

// endSessions ends every session that the instances have at the database.
func (k *soaked) endSessions(ctx context.Context) {
	ids, err := k.sessionIDs(ctx)
	if err != nil && ctx.Err() == nil {
		k.c.t.Errorf("list the sessions: %v", err)
	}
	for _, id := range ids {
		_, _ = k.sessions.ExecContext(ctx, fmt.Sprint("KILL ", id)) // it may have ended by itself
	}
}

func (k *soaked) sessionIDs(ctx context.Context) (ids []int64, err error) {
	query := "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
	if k.c.store.flavour == dbserver.MySQL { // whose processlist fails on a statement that is not valid UTF-8
		query = "SELECT processlist_id FROM performance_schema.threads WHERE processlist_db = DATABASE() AND processlist_id <> CONNECTION_ID()"
	}
	rows, err := k.sessions.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
