package database_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

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
