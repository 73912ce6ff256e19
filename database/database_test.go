package database_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestMain(m *testing.M) { os.Exit(databasetest.Main(m)) }

// errWork is what a transaction's own work returns in these tests.
var errWork = errors.New("the work failed")

// patience bounds what a test waits for.
const patience = 20 * time.Second

// insert stores a product, which is these tests' row.
func insert(t testing.TB, tx *database.Tx, id string, quantity int) error {
	_, err := tx.Exec(t.Context(), "INSERT INTO product_details (product_id, quantity) VALUES (?, ?)", id, quantity)
	return err
}

// lock locks a row to the end of the transaction, waiting for it.
func lock(t testing.TB, tx *database.Tx, id string) error {
	var found []string
	return tx.Select(t.Context(), &found, "SELECT product_id FROM product_details WHERE product_id = ?"+tx.ForUpdate(), id)
}

// lookFor returns what looks a row up after a lost commit.
func lookFor(t testing.TB, id string) func(*database.Tx) (bool, error) {
	return func(tx *database.Tx) (bool, error) {
		var found []string
		err := tx.Select(t.Context(), &found, "SELECT product_id FROM product_details WHERE product_id = ?"+tx.ForUpdate(), id)
		return len(found) > 0, err
	}
}

// store stores rows of 10 each, in a transaction of its own.
func store(t testing.TB, db *database.DB, ids ...string) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		for _, id := range ids {
			if err := insert(t, tx, id, 10); err != nil {
				return err
			}
		}
		return nil
	})
}

// transact runs work, which must succeed.
func transact(t testing.TB, db *database.DB, work func(*database.Tx) error) {
	t.Helper()
	if err := db.Transact(t.Context(), work, nil); err != nil {
		t.Fatal(err)
	}
}

// stored returns the products that are committed, in order, and how many there are of each.
func stored(t testing.TB, db *database.DB) (ids []string, quantities []int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *database.Tx) error {
		ids, quantities = nil, nil
		return tx.Each(t.Context(), func(rows *sql.Rows) error {
			var id string
			var quantity int
			err := rows.Scan(&id, &quantity)
			ids, quantities = append(ids, id), append(quantities, quantity)
			return err
		}, "SELECT product_id, quantity FROM product_details ORDER BY product_id")
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, quantities
}

// isStored checks whether a row is committed.
func isStored(t testing.TB, db *database.DB, id string, want bool) {
	t.Helper()
	ids, _ := stored(t, db)
	got := false
	for _, found := range ids {
		got = got || found == id
	}
	if got != want {
		t.Errorf("%q is stored: %v, want %v", id, got, want)
	}
}

// isClean checks that no transaction's connection is still out, and that the next transaction finds
// all locks free.
func isClean(t testing.TB, db *database.DB) {
	t.Helper()
	if !db.Embedded() {
		if stats := db.Stats(); stats.InUse != 0 {
			t.Errorf("%d connections are still out", stats.InUse)
		}
	}
	began := time.Now()
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "UPDATE product_details SET quantity = quantity")
		return err
	})
	if took := time.Since(began); took > time.Second {
		t.Errorf("the next transaction took %v: something is still locked", took)
	}
}

// is checks that err is what all of the targets say.
func is(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got error %v, want %v", err, target)
		}
	}
}

// isNot checks that err is none of the targets.
func isNot(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if errors.Is(err, target) {
			t.Errorf("got error %v, which should not be %v", err, target)
		}
	}
}

// hold runs a transaction that keeps a row locked until the function that it returns is called.
func hold(t testing.TB, db *database.DB, id string) (release func()) {
	t.Helper()
	locked, done, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		result <- db.Transact(t.Context(), func(tx *database.Tx) error {
			if err := lock(t, tx, id); err != nil {
				return err
			}
			close(locked)
			<-done
			return nil
		}, nil)
	}()
	release = sync.OnceFunc(func() {
		close(done)
		if err := <-result; err != nil {
			t.Errorf("keep %q locked: %v", id, err)
		}
	})
	await(t, locked, "the lock")
	t.Cleanup(release)
	return release
}

// await waits for a signal.
func await(t testing.TB, signal <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-signal:
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
}

// eventually waits until something is true that nothing signals.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	databasetest.Eventually(t, patience, what, holds)
}

// someoneWaits waits until a session of the database waits for a row that another one has locked.
func someoneWaits(t testing.TB, db *database.DB) {
	t.Helper()
	eventually(t, "a wait for a lock", func() bool {
		// Not from information_schema.innodb_trx: asked more often than ten times a second, it
		// returns old data.
		var engine, name, status string
		if err := db.Setup().QueryRowContext(t.Context(), "SHOW ENGINE INNODB STATUS").Scan(&engine, &name, &status); err != nil {
			t.Fatal(err)
		}
		for _, session := range lockWait.FindAllStringSubmatch(status, -1) {
			var ours bool
			if err := db.Setup().QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.processlist"+
				" WHERE id = ? AND db = database()", session[1]).Scan(&ours); err != nil {
				t.Fatal(err)
			}
			if ours {
				return true
			}
		}
		return false
	})
}

// lockWait finds the sessions that wait for a lock.
var lockWait = regexp.MustCompile(`LOCK WAIT [^\n]*\n[^\n]*thread id (\d+)`)

// closed closes something after the test.
func closed(t testing.TB, closer io.Closer) {
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A recorder is a log that a test reads.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer // under mu
}

func (r *recorder) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(line)
}

func (r *recorder) says(words string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Contains(r.text.Bytes(), []byte(words))
}

func (r *recorder) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// open opens what cfg names and closes it after the test.
func open(t testing.TB, cfg database.Config) *database.DB {
	t.Helper()
	db, err := opened(t, t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// opened is open for what may fail.
func opened(t testing.TB, ctx context.Context, cfg database.Config) (*database.DB, error) { //nolint:revive // t comes first
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = databasetest.Log(t)
	}
	db, err := database.Open(ctx, cfg)
	if err == nil {
		closed(t, db)
	}
	return db, err
}
