package database_test

import (
	"os"
	"path/filepath"
	"slices"
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
	// Much more than the log is to hold, which is 8,000 pages of 4 KiB, and what comes while they are copied and a gap is looked for.
	const turns, bytes, most = 400, 400_000, 120 << 20
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

// Whoever writes, or still reads the log, keeps it from beginning anew, also where all of it is copied: a gap must be looked for.
func TestWhoWritesOrReadsIsInTheLogsWay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := open(t, database.Config{DataDir: dir}) // as a command, whose checkpointer does nothing yet
	transact(t, db, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE small (what int)")
		return err
	})
	end := otherWriter(t, dir)
	if !db.BeginLogAnew(t.Context()) {
		t.Error("another process was writing, which was not noticed")
	}
	end()
	transact(t, db, func(tx *database.Tx) error { // or the reader would need the file alone
		_, err := tx.Exec(t.Context(), "INSERT INTO small VALUES (1)")
		return err
	})
	err := db.Snapshot(t.Context(), func(reader *database.Tx) error {
		var rows []int
		if err := reader.Select(t.Context(), &rows, "SELECT COUNT(*) FROM small"); err != nil {
			return err
		}
		if !db.BeginLogAnew(t.Context()) {
			t.Error("somebody was reading, which was not noticed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if db.BeginLogAnew(t.Context()) {
		t.Error("nobody was there any more, and somebody was in the way")
	}
}

// What a command writes is in the file when it ends, though the server beside it writes nothing.
func TestACommandLeavesNothingInTheLogThatIsNotInTheFile(t *testing.T) {
	t.Parallel()
	_, dir := embedded(t)
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "cartwheel.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const bytes = 1_000_000
	before := size()
	command, err := database.Open(t.Context(), database.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	transact(t, command, func(tx *database.Tx) error {
		if _, err := tx.Exec(t.Context(), "CREATE TABLE large (what blob)"); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), "INSERT INTO large VALUES (zeroblob(?))", bytes)
		return err
	})
	if err := command.Close(); err != nil {
		t.Fatal(err)
	}
	if after := size(); after < before+bytes {
		t.Errorf("the file has %d bytes, and %d when the command had written %d", before, after, bytes)
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
		for range 150 { // 60 MB: more than the log is to hold, and more than the room that was taken for it
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
	if info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal")); err != nil || info.Size() < 60_000_000 {
		t.Errorf("the log has %d bytes, error %v: it did not keep what the reader sees", info.Size(), err)
	}
}

// The log's room is taken while others write, whose commits must be there when the file is opened anew, as after a crash.
func TestTheLogsRoomIsTakenWhileTwoProcessesWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	command := open(t, database.Config{DataDir: dir})
	transact(t, command, func(tx *database.Tx) error {
		_, err := tx.Exec(t.Context(), "CREATE TABLE counted (who varchar(10), what blob)")
		return err
	})
	write := func(db *database.DB, who string) {
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "INSERT INTO counted VALUES (?, randomblob(5000))", who)
			return err
		})
	}
	done := make(chan int, 1)
	stop := make(chan struct{})
	go func() {
		n := 0
		defer func() { done <- n }() // also where writing fails the test
		for ; ; n++ {
			select {
			case <-stop:
				return
			default:
				write(command, "command")
			}
		}
	}()
	server := open(t, database.Config{DataDir: dir, Serve: true})
	wrote := 0
	reserved := func() bool { return logSize(t, dir) >= database.ReservedLog }
	for began := time.Now(); !reserved() && time.Since(began) < 30*time.Second; wrote++ {
		write(server, "server")
	}
	close(stop)
	others := <-done
	if !reserved() {
		t.Error("the log's room was not taken within 30 s")
	}
	// What a crash leaves: both files as they are.
	crashed := t.TempDir()
	for _, name := range []string{"cartwheel.db", "cartwheel.db-wal"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(crashed, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var check []string
	var counts []int
	err := open(t, database.Config{DataDir: crashed}).Read(t.Context(), func(tx *database.Tx) error {
		if err := tx.Select(t.Context(), &check, "PRAGMA integrity_check"); err != nil {
			return err
		}
		return tx.Select(t.Context(), &counts, "SELECT COUNT(*) FROM counted GROUP BY who ORDER BY who")
	})
	if want := []int{others, wrote}; err != nil || !slices.Equal(check, []string{"ok"}) || !slices.Equal(counts, want) {
		t.Errorf("after a crash there are %v rows, want %v; the file is %v; error %v", counts, want, check, err)
	}
}

func TestTheLogsRoomIsNotTakenWhileAnotherProcessWrites(t *testing.T) {
	t.Parallel()
	db, dir := embedded(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	end := otherWriter(t, dir)
	began := logSize(t, dir)
	open(t, database.Config{DataDir: dir, Serve: true})
	for range 20 {
		if size := logSize(t, dir); size != began {
			t.Fatalf("the log's file grew from %d to %d bytes while another process was writing", began, size)
		}
		<-time.After(10 * time.Millisecond) // nothing tells that nothing happens
	}
	end()
	for waited := time.Now(); logSize(t, dir) < database.ReservedLog; <-time.After(time.Millisecond) {
		if time.Since(waited) > 10*time.Second {
			t.Fatal("the log's room was not taken when the other process had ended")
		}
	}
}

func logSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "cartwheel.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
