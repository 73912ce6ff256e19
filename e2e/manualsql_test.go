package e2e

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/database/databasetest/proxy"
)

// A hand is a client at a SQL prompt, beside the shop.
type manualSQL struct {
	t       *testing.T
	db      *sql.DB
	flavour dbserver.Flavour
}

func (s store) manualSQL(t *testing.T) *manualSQL {
	t.Helper()
	db, err := database.Open(context.Background(), s.config)
	if err != nil {
		t.Fatalf("open the database by manual SQL: %v", err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return &manualSQL{t, db.Setup(), s.flavour}
}

func (h *manualSQL) exec(statement string, args ...any) {
	h.t.Helper()
	if _, err := h.db.ExecContext(h.t.Context(), statement, args...); err != nil {
		h.t.Fatalf("%s: %v", statement, err)
	}
}

// lock keeps locked what a statement locks, until release is called. The embedded engine has one
// lock, for all writing.
func (h *manualSQL) lock(statement string, args ...any) (release func()) {
	h.t.Helper()
	tx, err := h.db.BeginTx(context.Background(), nil) // immediate, on the embedded engine
	if err != nil {
		h.t.Fatalf("begin: %v", err)
	}
	if h.flavour != "" {
		if _, err := tx.ExecContext(h.t.Context(), statement, args...); err != nil {
			h.t.Fatalf("%s: %v", statement, err)
		}
	}
	var once sync.Once
	release = func() {
		once.Do(func() {
			if err := tx.Rollback(); err != nil {
				h.t.Errorf("roll back: %v", err)
			}
		})
	}
	h.t.Cleanup(release)
	return release
}

// waitLimit is the maximum time until a transaction waits for a lock, on a busy machine.
const waitLimit = 30 * time.Second

// lockProbe is how long a writer of the embedded engine is given to come to its lock, which cannot
// be seen from outside.
const lockProbe = 300 * time.Millisecond

// awaitWaiter waits until a transaction waits for what lock has locked.
func (h *manualSQL) awaitWaiter() {
	h.t.Helper()
	switch h.flavour {
	case "":
		pause(h.t.Context(), lockProbe)
	case dbserver.MySQL:
		eventually(h.t, waitLimit, "a transaction waits for the lock", func() bool {
			var waiting int
			if err := h.db.QueryRowContext(h.t.Context(), `
				SELECT COUNT(*) FROM performance_schema.data_lock_waits AS w
				JOIN performance_schema.data_locks AS l ON l.engine_lock_id = w.requesting_engine_lock_id
				WHERE l.object_schema = DATABASE()`).Scan(&waiting); err != nil {
				h.t.Fatalf("count the lock waits: %v", err)
			}
			return waiting > 0
		})
	case dbserver.MariaDB:
		// InnoDB's own list of lock waits is cached for a while. A statement that is still there
		// after several looks is waiting.
		const looks = 4
		seen := map[string]int{}
		eventually(h.t, waitLimit, "a transaction waits for the lock", func() bool {
			for statement := range h.underWay() {
				if seen[statement]++; seen[statement] >= looks {
					return true
				}
			}
			return false
		})
	}
}

// underWay returns the statements that MariaDB runs for other sessions.
func (h *manualSQL) underWay() map[string]bool {
	h.t.Helper()
	rows, err := h.db.QueryContext(h.t.Context(), "SELECT CONCAT(id, ' ', info) FROM information_schema.processlist"+
		" WHERE db = DATABASE() AND id <> CONNECTION_ID() AND command IN ('Query', 'Execute') AND info IS NOT NULL")
	if err != nil {
		h.t.Fatalf("look what is under way: %v", err)
	}
	defer rows.Close() //nolint:errcheck // all is read by then, or the test fails
	statements := map[string]bool{}
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			h.t.Fatalf("look what is under way: %v", err)
		}
		statements[statement] = true
	}
	if err := rows.Err(); err != nil {
		h.t.Fatalf("look what is under way: %v", err)
	}
	return statements
}

// through puts a proxy before the store's MySQL server and returns it with the DSN that goes
// through it.
func (s store) through(t *testing.T) (*proxy.Proxy, string) {
	t.Helper()
	dsn, err := mysql.ParseDSN(s.config.MySQLDSN)
	if err != nil {
		t.Fatal(err)
	}
	between, err := proxy.Listen(dsn.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := between.Close(); err != nil {
			t.Errorf("close the proxy: %v", err)
		}
	})
	dsn.Net, dsn.Addr = "tcp", between.Address()
	return between, dsn.FormatDSN()
}
