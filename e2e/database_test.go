package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// A shopServer is a database server of a test's own, which it may break, and the way of its
// administrator to it.
type shopServer struct {
	*databasetest.Server
	admin *sql.DB
}

func newShopServer(t *testing.T, flavour dbserver.Flavour, options ...string) shopServer {
	t.Helper()
	return newShopServerIn(t, flavour, "", options...)
}

// newShopServerIn starts it with its data below a directory.
func newShopServerIn(t *testing.T, flavour dbserver.Flavour, parent string, options ...string) shopServer {
	t.Helper()
	server := databasetest.StartServerIn(t, flavour, parent, options...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the database server's log:\n%s", server.Log())
		}
	})
	return shopServer{server, openSQL(t, server.TCPDSN(""))}
}

func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	settings.Logger = &mysql.NopLogger{} // what it says of servers that were killed
	connector, err := mysql.NewConnector(settings)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() }) // its server may be gone
	return db
}

func (s shopServer) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := s.admin.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// store makes a database whose instances log in as a user without an administrator's rights.
func (s shopServer) store(t *testing.T, name string) store {
	t.Helper()
	s.exec(t, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	s.exec(t, "CREATE USER IF NOT EXISTS shop@'127.0.0.1'")
	s.exec(t, "GRANT ALL ON "+name+".* TO shop@'127.0.0.1'")
	return store{[]string{"--mysql-dsn", fmt.Sprintf("shop@tcp(%s)/%s", s.Address(), name)}, database.Config{MySQLDSN: s.TCPDSN(name)}, s.Flavour()}
}

// sessions are the IDs of the shop's sessions on a database.
func (s shopServer) sessions(t *testing.T, name string) (ids []int64) {
	t.Helper()
	query := "SELECT id FROM information_schema.processlist WHERE user = 'shop' AND db = ?"
	if s.Flavour() == dbserver.MySQL { // whose processlist fails on a statement that is not valid UTF-8
		query = "SELECT processlist_id FROM performance_schema.threads WHERE processlist_user = 'shop' AND processlist_db = ?"
	}
	rows, err := s.admin.QueryContext(t.Context(), query, name)
	if err != nil {
		t.Fatalf("list the sessions: %v", err)
	}
	defer func() {
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("list the sessions: %v", err)
	}
	return ids
}

// endSession is KILL CONNECTION. The session may have ended by itself.
func (s shopServer) endSession(t *testing.T, id int64) {
	t.Helper()
	const noSuchThread = 1094
	_, err := s.admin.ExecContext(t.Context(), fmt.Sprint("KILL CONNECTION ", id))
	if number := mysqlError(err); err != nil && number != noSuchThread {
		t.Fatalf("end a session: %v", err)
	}
}

func mysqlError(err error) uint16 {
	if e, ok := err.(*mysql.MySQLError); ok { //nolint:errorlint // the driver's own, unwrapped
		return e.Number
	}
	return 0
}

// sells waits until the shop stores an add again, and notes how long that took.
func (c *chaos) sells(within time.Duration) {
	c.t.Helper()
	random := rand.New(rand.NewPCG(1, 1))
	c.recovered(eventually(c.t, within, "the shop stores an add", func() bool {
		return c.shoppers.add(c.t.Context(), random, "probe", "plenty", 1, "").Code == 200
	}))
}

// refuses wants an add and a checkout to be refused, in time and with certainty that nothing was
// done.
func (c *chaos) refuses(within time.Duration) {
	c.t.Helper()
	var asking sync.WaitGroup
	for what, ask := range map[string]func(random *rand.Rand) reply{
		"an add": func(random *rand.Rand) reply {
			return c.shoppers.add(c.t.Context(), random, "refused", "plenty", 1, "")
		},
		"a checkout": func(random *rand.Rand) reply { return c.shoppers.buy(c.t.Context(), random, "refused", "") },
	} {
		asking.Go(func() {
			started := time.Now()
			if got := ask(rand.New(rand.NewPCG(1, 1))); got.Code != 503 {
				c.violationf("%s was answered %v, want 503", what, got)
			}
			if took := time.Since(started); took > bound(within) {
				c.violationf("%s was refused after %v, want %v", what, took, bound(within))
			}
		})
	}
	asking.Wait()
}

var shortTimeouts = []string{"--checkout-lease", "4s", "--payment-timeout", "2s"}

func chaosStock() map[string]int {
	return map[string]int{"plenty": 1_000_000, "scarce": 300, "rare": 3}
}

// underLoad attacks a shop that shoppers visit, lets everything settle, and checks.
func (c *chaos) underLoad(attack func(ctx context.Context, shop *instance)) {
	c.t.Helper()
	shop := c.start(shortTimeouts...)
	c.shoppers.visits(shop)
	ctx, stop := context.WithCancel(c.t.Context())
	defer stop()
	c.shoppers.cancels = true
	wait := c.shoppers.shop(ctx, 32, "plenty", "plenty", "scarce", "rare", "missing")
	attack(ctx, shop)
	stop()
	wait()
	c.settle()
	c.recordMemory(shop)
	c.check()
}

// These break one server in turn.
func TestDatabaseServer_faults(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		server := newShopServer(t, flavour)
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))

		//nolint:paralleltest // each has the server to itself
		t.Run("whose sessions are ended at random", func(t *testing.T) {
			c := newChaos(t, server.store(t, "sessions"), chaosStock())
			c.underLoad(func(ctx context.Context, _ *instance) {
				ended := 0
				for end := time.Now().Add(shortOrLong(2*time.Second, 3*time.Minute)); time.Now().Before(end); {
					for _, id := range server.sessions(t, "sessions") {
						if random.IntN(4) == 0 {
							server.endSession(t, id)
							ended++
						}
					}
					pause(ctx, time.Duration(random.Int64N(int64(100*time.Millisecond))))
				}
				c.notef("%d sessions ended", ended)
				c.sells(2 * time.Second)
			})
		})

		//nolint:paralleltest // each has the server to itself
		t.Run("that may only be read for a while", func(t *testing.T) {
			c := newChaos(t, server.store(t, "readonly"), chaosStock())
			c.underLoad(func(ctx context.Context, _ *instance) {
				for range shortOrLong(2, 30) {
					pause(ctx, time.Duration(random.Int64N(int64(500*time.Millisecond))))
					server.exec(t, "SET GLOBAL read_only = 1")
					c.refuses(2 * time.Second)
					pause(ctx, time.Duration(random.Int64N(int64(500*time.Millisecond))))
					server.exec(t, "SET GLOBAL read_only = 0")
					c.sells(2 * time.Second)
				}
			})
		})

		//nolint:paralleltest // each has the server to itself
		t.Run("that has too many connections", func(t *testing.T) {
			c := newChaos(t, server.store(t, "connections"), chaosStock())
			c.underLoad(func(ctx context.Context, shop *instance) {
				const most = 10 // the least that may be set
				for range shortOrLong(1, 30) {
					pause(ctx, 200*time.Millisecond)
					server.exec(t, fmt.Sprint("SET GLOBAL max_connections = ", most))
					var bystanders []*sql.DB
					eventually(t, soon, "the shop has no connection left", func() bool {
						bystanders = occupy(t, server, bystanders)
						// A probe may fail while a worker still has its connection, which it gives
						// back.
						return !shop.isReady() && len(server.sessions(t, "connections")) == 0
					})
					// Behind a batch whose COMMIT was lost with its session, and is looked for
					// without success for 7 s.
					c.refuses(14 * time.Second)
					for _, conn := range bystanders {
						if err := conn.Close(); err != nil {
							t.Error(err)
						}
					}
					server.exec(t, "SET GLOBAL max_connections = 800")
					c.sells(4 * time.Second)
				}
			})
		})

		//nolint:paralleltest // each has the server to itself
		t.Run("that is killed and comes back", func(t *testing.T) {
			c := newChaos(t, server.store(t, "killed"), chaosStock())
			c.underLoad(func(ctx context.Context, _ *instance) {
				for range shortOrLong(3, 40) {
					pause(ctx, time.Duration(random.Int64N(int64(500*time.Millisecond))))
					server.Kill()
					c.kills.Add(1)
					// Longer than a lost commit is looked for, now and then.
					pause(ctx, time.Duration(random.Int64N(int64(shortOrLong(500*time.Millisecond, 12*time.Second)))))
					server.Start(t)
					c.sells(4 * time.Second)
				}
			})
		})
	})
}

// MariaDB writes no binary log as it comes; shops with replicas turn it on.
func TestDatabaseServer_binaryLogOnMariaDB(t *testing.T) {
	t.Parallel()
	server := newShopServer(t, dbserver.MariaDB, "--log-bin", "--server-id=1", "--sync-binlog=1")
	c := newChaos(t, server.store(t, "shop"), chaosStock())
	c.underLoad(func(context.Context, *instance) {
		eventually(t, soon, "the shop is busy", func() bool { return c.shoppers.told("/checkOutCart", 200) > 50 })
		server.Kill()
		c.kills.Add(1)
		server.Start(t)
		c.sells(4 * time.Second)
	})
}

// occupy takes all connections that a server has for those who are no administrators, from the one
// who has them.
func occupy(t *testing.T, server shopServer, taken []*sql.DB) []*sql.DB {
	t.Helper()
	oursAlone := func() bool {
		query := "SELECT COUNT(*) FROM information_schema.processlist WHERE user NOT IN ('root', 'system user', 'event_scheduler')"
		if server.Flavour() == dbserver.MySQL { // see sessions
			query = "SELECT COUNT(*) FROM performance_schema.threads WHERE name = 'thread/sql/one_connection'" +
				" AND COALESCE(processlist_user, '') <> 'root'"
		}
		var sessions int
		if err := server.admin.QueryRowContext(t.Context(), query).Scan(&sessions); err != nil {
			t.Fatalf("count the sessions: %v", err)
		}
		return sessions == len(taken)
	}
	quiet := 0 // times in a row that nobody else was there and no connection was to be had
	eventually(t, soon, "all connections are taken", func() bool {
		for _, id := range server.sessions(t, "connections") {
			server.endSession(t, id)
		}
		alone := oursAlone()
		for {
			db := openSQL(t, fmt.Sprintf("shop@tcp(%s)/", server.Address()))
			db.SetMaxIdleConns(1)
			if db.PingContext(t.Context()) != nil {
				break
			}
			taken = append(taken, db)
			alone = false
		}
		// MySQL forgets a session that ends before it counts its connection as free.
		if quiet++; !alone || !oursAlone() {
			quiet = 0
		}
		return quiet == 5
	})
	return taken
}
