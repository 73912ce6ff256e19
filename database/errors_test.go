package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
)

func my(number uint16) error { return fmt.Errorf("do it: %w", &mysql.MySQLError{Number: number}) }

func TestFaultsAreToldApart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want fault
	}{
		{nil, faultOther},
		{errors.New("some other"), faultOther},
		{sql.ErrNoRows, faultOther},
		{fmt.Errorf("it: %w", ErrRetry), faultConflict},
		{errors.Join(ErrRetry, my(1062)), faultConflict},
		{errOverdue, faultRefused},

		{my(1064), faultOther}, // ER_PARSE_ERROR
		{my(3819), faultOther}, // MySQL's ER_CHECK_CONSTRAINT_VIOLATED
		{my(4025), faultOther}, // MariaDB's ER_CONSTRAINT_FAILED
		{my(1062), faultDuplicate},
		{my(1264), faultOutOfRange},
		{my(1690), faultOutOfRange},
		{my(1213), faultConflict},
		{my(1020), faultConflict},
		{my(3101), faultConflict},
		{my(1205), faultRowLocked},
		{my(3572), faultRowLocked},
		{my(1040), faultRefused},
		{my(1203), faultRefused},
		{my(1290), faultRefused},
		{my(1792), faultRefused},
		{my(1836), faultRefused},
		{my(1114), faultRefused},
		{my(1146), faultRefused},
		{my(1047), faultLost},
		{my(1053), faultLost},
		{my(1317), faultLost},
		{my(1927), faultLost},
		{my(3169), faultLost},
		{my(4031), faultLost},

		{driver.ErrBadConn, faultLost},
		{mysql.ErrInvalidConn, faultLost},
		{mysql.ErrMalformPkt, faultLost},
		{mysql.ErrPktSync, faultLost},
		{mysql.ErrPktTooLarge, faultOther}, // the statement's own: nothing was sent
		{sql.ErrConnDone, faultLost},
		{io.EOF, faultLost},
		{fmt.Errorf("it: %w", io.ErrUnexpectedEOF), faultLost},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, faultLost},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, faultLost},
		{&net.DNSError{Err: "no such host"}, faultLost},
		{fmt.Errorf("it: %w", context.Canceled), faultLost},
		{context.DeadlineExceeded, faultLost},
		{&acquireError{my(1040)}, faultRefused},
	} {
		if got := faultOf(test.err); got != test.want {
			t.Errorf("%v: got fault %d, want %d", test.err, got, test.want)
		}
	}
}

func TestSQLitesFaultsAreToldApart(t *testing.T) {
	t.Parallel()
	db := sqliteDB(filepath.Join(t.TempDir(), "faults.db"), 1, busyTimeout, "")
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	run := func(statement string) error {
		_, err := db.ExecContext(t.Context(), statement)
		return err
	}
	if err := run("CREATE TABLE key (a int PRIMARY KEY, b int UNIQUE, c int CHECK (c >= 0)); INSERT INTO key VALUES (1, 1, 1)"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		err  error
		want fault
	}{
		{"syntax", run("SELEC 1"), faultOther},
		{"a check", run("INSERT INTO key VALUES (2, 2, -1)"), faultOther},
		{"a primary key", run("INSERT INTO key VALUES (1, 2, 1)"), faultDuplicate},
		{"a unique column", run("INSERT INTO key VALUES (2, 1, 1)"), faultDuplicate},
		{"read-only", errors.Join(run("PRAGMA query_only = 1"), run("INSERT INTO key VALUES (2, 2, 1)")), faultRefused},
	} {
		var lite *sqlite.Error
		if got := faultOf(test.err); got != test.want || !errors.As(test.err, &lite) {
			t.Errorf("%s: got fault %d of %v, want %d", test.name, got, test.err, test.want)
		}
	}
}

func TestACommitThatWasRefusedIsToldFromOneThatMayHaveHappened(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{my(1213), true},
		{my(3101), true},
		{my(1205), true},
		{my(1290), true},
		{my(1030), false}, // whatever went wrong in the engine
		{my(1180), false}, // ER_ERROR_DURING_COMMIT
		{my(1026), false},
		{my(1053), false},
		{my(1317), false},
		{my(1927), false},
		{mysql.ErrInvalidConn, false},
		{driver.ErrBadConn, false},
		{io.EOF, false},
		{errors.New("some other"), false},
	} {
		if got := rolledBack(test.err); got != test.want {
			t.Errorf("%v: rolled back: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestWhatOneJobMayHaveCausedIsToldFromAnOutage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{my(1264), true},
		{errors.New("some other"), true},
		{fmt.Errorf("%w: %w", ErrUnavailable, my(1040)), false},
		{fmt.Errorf("%w: %w", ErrOutcomeUnknown, io.EOF), false},
		{fmt.Errorf("%w: %w", ErrRowLocked, my(1205)), false}, // each job would wait for it again
	} {
		if got := IsJobFault(test.err); got != test.want {
			t.Errorf("%v: one job's: %v, want %v", test.err, got, test.want)
		}
	}
	if !IsDuplicate(my(1062)) || IsDuplicate(nil) || IsDuplicate(my(1264)) {
		t.Error("duplicates are not told apart")
	}
	if !IsRowLocked(my(1205)) || !IsRowLocked(my(3572)) || IsRowLocked(nil) || IsRowLocked(my(1213)) {
		t.Error("taken rows are not told apart")
	}
	if !IsOutOfRange(my(1264)) || !IsOutOfRange(my(1690)) || IsOutOfRange(nil) || IsOutOfRange(my(1062)) {
		t.Error("numbers out of range are not told apart")
	}
}
