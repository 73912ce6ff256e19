package database_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"

	"github.com/google/go-cmp/cmp"
)

// pragma returns what a pragma says on a transaction's connection.
func pragma(t testing.TB, tx *database.Tx, name string) string {
	t.Helper()
	var value []string
	if err := tx.Select(t.Context(), &value, "PRAGMA "+name); err != nil || len(value) != 1 {
		t.Errorf("PRAGMA %s: %v, error %v", name, value, err)
		return ""
	}
	return value[0]
}

// embedded returns a migrated engine and its data directory.
func embedded(t *testing.T) (db *database.DB, dir string) {
	t.Helper()
	dir = t.TempDir()
	return databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true}), dir
}

func TestEmbedded_everyCommitIsFlushed(t *testing.T) {
	t.Parallel()
	db, _ := embedded(t)
	const full = "2"
	check := func(tx *database.Tx, queryOnly, autoCheckpoint string) error {
		for name, want := range map[string]string{
			"journal_mode": "wal", "synchronous": full, "busy_timeout": "5000", "fullfsync": "1", "checkpoint_fullfsync": "1", "query_only": queryOnly, "wal_autocheckpoint": autoCheckpoint,
		} {
			if got := pragma(t, tx, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		return nil
	}
	transact(t, db, func(tx *database.Tx) error { return check(tx, "0", "0") })
	for range 2 { // also on the connection that follows a broken one
		_ = db.Transact(t.Context(), func(*database.Tx) error { return context.Canceled }, nil)
		transact(t, db, func(tx *database.Tx) error { return check(tx, "0", "0") })
	}
	if err := db.Read(t.Context(), func(tx *database.Tx) error { return check(tx, "1", "1000") }); err != nil {
		t.Error(err)
	}
}

func TestEmbedded_startWaitsForACommandThatWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command, err := database.Open(t.Context(), database.Config{DataDir: dir, LockDataDir: true})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() {
		server, err := database.Open(t.Context(), database.Config{DataDir: dir, LockDataDir: true, LockTimeout: time.Minute})
		if err == nil {
			err = server.Close()
		}
		started <- err
	}()
	select {
	case err := <-started:
		t.Errorf("beside the command: %v", err)
	case <-time.After(time.Second):
	}
	if err := command.Close(); err != nil {
		t.Error(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}

func TestEmbedded_directoryHasOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := database.Open(t.Context(), database.Config{DataDir: dir, LockDataDir: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = opened(t, t.Context(), database.Config{DataDir: dir, LockDataDir: true})
	is(t, err, database.ErrDataDirLocked)
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error does not name the directory: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, database.Config{DataDir: dir, LockDataDir: true})
}

func TestEmbedded_anotherProcessMayWrite(t *testing.T) {
	t.Parallel()
	server, dir := embedded(t)
	command := open(t, database.Config{DataDir: dir})
	store(t, command, "by the command")
	store(t, server, "by the server")
	for _, db := range []*database.DB{server, command} {
		isStored(t, db, "by the command", true)
		isStored(t, db, "by the server", true)
	}
}

func TestEmbedded_isCreatedByManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "of", "data")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := opened(t, t.Context(), database.Config{DataDir: dir}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestEmbedded_directoryMayHaveAnyName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with space", "what?", "100%25", "a#b", "a&b=c", "Ünïcode", "a:b", "file:x"} {
		dir := filepath.Join(t.TempDir(), name)
		db := open(t, database.Config{DataDir: dir})
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "CREATE TABLE here (i int)")
			return err
		})
		if info, err := os.Stat(filepath.Join(dir, "cartwheel.db")); err != nil || info.IsDir() {
			t.Errorf("%q: no database in it: %v", name, err)
		}
	}
}

// otherWriter is another process's connection, which has begun to write.
func otherWriter(t *testing.T, dir string) (end func()) {
	t.Helper()
	other, err := sql.Open("sqlite", "file:"+(&url.URL{Path: filepath.Join(dir, "cartwheel.db")}).EscapedPath()+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	closed(t, other)
	conn, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, conn, "BEGIN IMMEDIATE")
	end = sync.OnceFunc(func() {
		execute(t, conn, "ROLLBACK")
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return end
}

func TestEmbedded_waitsForAnotherWriter(t *testing.T) {
	t.Parallel()
	db, dir := embedded(t)
	end := otherWriter(t, dir)
	result := make(chan error, 1)
	go func() {
		result <- db.Transact(t.Context(), func(tx *database.Tx) error { return insert(t, tx, "shoe", 1) }, nil)
	}()
	select {
	case err := <-result:
		t.Errorf("it was not waited for: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	end()
	if err := <-result; err != nil {
		t.Error(err)
	}
	isStored(t, db, "shoe", true)
}

func TestEmbedded_anotherWriterThatStaysIsAnOutage(t *testing.T) {
	t.Parallel()
	db, dir := embedded(t)
	isClean(t, db)
	if err := db.SetBusyTimeout(t.Context(), 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	end := otherWriter(t, dir)
	began, ran := time.Now(), false
	err := db.Transact(t.Context(), func(*database.Tx) error { ran = true; return nil }, nil)
	is(t, err, database.ErrUnavailable)
	if took := time.Since(began); ran || took < 100*time.Millisecond || took > 3*time.Second {
		t.Errorf("the work ran: %v; it was given up after %v, want 100ms", ran, took)
	}
	if _, err := opened(t, t.Context(), database.Config{DataDir: dir}); err != nil {
		t.Errorf("another command cannot even open it: %v", err)
	}
	end()
	isClean(t, db)
}

func TestEmbedded_contextEndsTheWaitForAnotherWriter(t *testing.T) {
	t.Parallel()
	db, dir := embedded(t)
	end := otherWriter(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := db.Transact(ctx, func(*database.Tx) error { return nil }, nil)
	is(t, err, database.ErrUnavailable)
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it waited %v", took)
	}
	end()
	isClean(t, db)
}

func TestEmbedded_contextEndsTheWaitForTheWriter(t *testing.T) {
	t.Parallel()
	db, _ := embedded(t)
	store(t, db, "shoe")
	release := hold(t, db, "shoe")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	is(t, db.Transact(ctx, func(*database.Tx) error { return nil }, nil), database.ErrUnavailable, context.DeadlineExceeded)
	release()
	isClean(t, db)
}

func TestEmbedded_namesAnUnusableDirectory(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	file := filepath.Join(base, "file")
	folder := filepath.Join(base, "folder")
	readOnly := filepath.Join(base, "read-only")
	written := filepath.Join(base, "written")
	write := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(os.WriteFile(file, nil, 0o600))
	write(os.MkdirAll(filepath.Join(folder, "cartwheel.db"), 0o700))
	write(os.Mkdir(readOnly, 0o500))
	open(t, database.Config{DataDir: written})
	write(os.Chmod(filepath.Join(written, "cartwheel.db"), 0o400))
	for _, dir := range []string{file, folder, readOnly, written} {
		if os.Geteuid() == 0 && (dir == readOnly || dir == written) {
			continue // nothing is read-only to root
		}
		_, err := opened(t, t.Context(), database.Config{DataDir: dir})
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error does not name it: %v", filepath.Base(dir), err)
		}
	}
}

func TestEmbedded_fullDatabaseRefusesUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	db, _ := embedded(t)
	limit := func(pages string) {
		transact(t, db, func(tx *database.Tx) error {
			pragma(t, tx, "max_page_count = "+pages)
			return nil
		})
	}
	store(t, db, "shoe")
	limit("1") // it becomes what there are
	err := db.Transact(t.Context(), func(tx *database.Tx) error {
		for i := range 2000 {
			if err := insert(t, tx, fmt.Sprint("n", i), 1); err != nil {
				return err
			}
		}
		return nil
	}, nil)
	is(t, err, database.ErrUnavailable)
	isStored(t, db, "n0", false)
	limit("1000000")
	store(t, db, "hat")
	if ids, _ := stored(t, db); !cmp.Equal(ids, []string{"hat", "shoe"}) {
		t.Errorf("stored %v, want the hat and the shoe", ids)
	}
}

func TestDialect_timesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		const hour = time.Hour
		abroad := time.Date(2026, 7, 1, 23, 59, 59, 123_000_000, time.FixedZone("", -5*60*60))
		d := db.Dialect()
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO checkout_journal (checkout_id, client_id, state, epoch, lease_expires_at, items, created_at, updated_at)"+
				" VALUES ('c', 'c', 'reserved', 1, "+d.NowPlus(hour)+", '[]', ?, "+d.Now()+")", abroad)
			return err
		})
		err := db.Read(t.Context(), func(tx *database.Tx) error {
			rows := 0
			err := tx.Each(t.Context(), func(r *sql.Rows) error {
				rows++
				var lease, given, now time.Time
				if err := r.Scan(&lease, &given, &now); err != nil {
					return err
				}
				if !given.Equal(abroad) || given.UTC().Hour() != 4 {
					t.Errorf("%v came back as %v", abroad, given)
				}
				if lease.Sub(now).Round(time.Second) != hour || time.Since(now).Abs() > time.Minute {
					t.Errorf("it is %v for the engine, and %v in an hour", now, lease)
				}
				for _, at := range []time.Time{lease, given, now} {
					if _, offset := at.Zone(); offset != 0 {
						t.Errorf("%v is not UTC", at)
					}
				}
				return nil
			}, "SELECT lease_expires_at, created_at, updated_at FROM checkout_journal WHERE lease_expires_at > "+d.Now()+
				" AND lease_expires_at < "+d.NowPlus(hour+time.Minute)+" AND updated_at >= "+d.NowPlus(-time.Minute)+
				" AND created_at > ? AND created_at < ? AND updated_at < ?",
				abroad.Add(-time.Second), abroad.Add(time.Second), time.Now().Add(time.Minute))
			if rows != 1 {
				t.Errorf("found %d rows, want the one", rows)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
