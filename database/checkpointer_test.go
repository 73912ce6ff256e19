package database_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cartwheel/database"
)

func TestTheLogStaysBoundedWhileTwoProcessesWriteAllTheTime(t *testing.T) {
	t.Parallel()
	server, dir := embedded(t)
	command := open(t, database.Config{DataDir: dir})
	create := func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE large (what blob)")
		return err
	}
	transact(t, server, create)
	write := func(db *database.DB, bytes int) {
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO large VALUES (zeroblob(?))", bytes)
			return err
		})
	}
	// Much more than the log is to hold, which is 8,000 pages of 4 KiB and what comes while they are copied.
	const turns, bytes, most = 400, 400_000, 80 << 20
	done := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				write(command, 20_000)
			}
		}
	})
	for range turns {
		write(server, bytes)
	}
	close(done)
	other.Wait()
	info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal"))
	if err != nil || info.Size() > most {
		t.Errorf("of %d MB that were written the log has %d, error %v; want %d at most", turns*bytes/1_000_000, info.Size()/1_000_000, err, most/1_000_000)
	}
	// What is copied is in the file while both have it open.
	if info, err := os.Stat(filepath.Join(dir, "cartwheel.db")); err != nil || info.Size() < turns*bytes/2 {
		t.Errorf("the file has %d bytes, error %v", info.Size(), err)
	}
}

// A report or a backup reads from one snapshot for long, which the log must keep meanwhile.
func TestTransactionsAreNotHeldUpByAReaderThatTheLogWaitsFor(t *testing.T) {
	t.Parallel()
	db, dir := embedded(t)
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE large (what blob)")
		return err
	})
	var slowest time.Duration
	err := db.Snapshot(t.Context(), func(reader *database.Tx) error {
		var rows []int
		if err := reader.Select(t.Context(), &rows, "SELECT COUNT(*) FROM large"); err != nil {
			return err
		}
		for range 100 { // 40 MB: more than the log is to hold
			began := time.Now()
			transact(t, db, func(tx *database.Tx) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO large VALUES (zeroblob(400000))")
				return err
			})
			slowest = max(slowest, time.Since(began))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The log waits a tenth of a second for the reader, who goes on for seconds.
	if slowest > 2*time.Second {
		t.Errorf("a transaction took %v", slowest)
	}
	if info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal")); err != nil || info.Size() < 40_000_000 {
		t.Errorf("the log has %d bytes, error %v: it was not waited for", info.Size(), err)
	}
}
