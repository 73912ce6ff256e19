package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/engine"
)

func my(number uint16) error { return fmt.Errorf("do it: %w", &mysql.MySQLError{Number: number}) }

func TestFaultOf_tellsWhatAnErrorMeans(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want engine.Fault
	}{
		{nil, engine.Other},
		{errors.New("some other"), engine.Other},
		{sql.ErrNoRows, engine.Other},
		{fmt.Errorf("it: %w", ErrRetry), engine.Conflict},
		{errors.Join(ErrRetry, my(1062)), engine.Conflict},
		{errAttemptTooLong, engine.Refused},

		{my(1064), engine.Other}, // ER_PARSE_ERROR
		{my(3819), engine.Other}, // MySQL's ER_CHECK_CONSTRAINT_VIOLATED
		{my(4025), engine.Other}, // MariaDB's ER_CONSTRAINT_FAILED
		{my(1062), engine.Duplicate},
		{my(1264), engine.Other},
		{my(1690), engine.Other},
		{my(1213), engine.Conflict},
		{my(1020), engine.Conflict},
		{my(3101), engine.Conflict},
		{my(1205), engine.LockNotAvailable},
		{my(3572), engine.LockNotAvailable},
		{my(1040), engine.Refused},
		{my(1203), engine.Refused},
		{my(1290), engine.ReadOnly},
		{my(1792), engine.Refused},
		{my(1836), engine.Refused},
		{my(1114), engine.Refused},
		{my(1146), engine.Refused},
		{my(1047), engine.Lost},
		{my(1053), engine.Lost},
		{my(1317), engine.Lost},
		{my(1927), engine.Lost},
		{my(3169), engine.Lost},
		{my(4031), engine.Lost},

		{driver.ErrBadConn, engine.Lost},
		{mysql.ErrInvalidConn, engine.Lost},
		{mysql.ErrMalformPkt, engine.Lost},
		{mysql.ErrPktSync, engine.Lost},
		{mysql.ErrPktTooLarge, engine.Other}, // the statement's own: nothing was sent
		{sql.ErrConnDone, engine.Lost},
		{io.EOF, engine.Lost},
		{fmt.Errorf("it: %w", io.ErrUnexpectedEOF), engine.Lost},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, engine.Lost},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, engine.Lost},
		{&net.DNSError{Err: "no such host"}, engine.Lost},
		{fmt.Errorf("it: %w", context.Canceled), engine.Lost},
		{context.DeadlineExceeded, engine.Lost},
		{fmt.Errorf("%w: %w", errNoConnection, my(1040)), engine.Refused},
	} {
		if got := faultOf(test.err); got != test.want {
			t.Errorf("%v: got fault %d, want %d", test.err, got, test.want)
		}
	}
}

func TestRolledBack_onlyWhereTheCommitCertainlyFailed(t *testing.T) {
	t.Parallel()
	server := &DB{engine: &engine.Engine{}}
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
		if got := server.rolledBack(test.err); got != test.want {
			t.Errorf("%v: rolled back: %v, want %v", test.err, got, test.want)
		}
	}
}

func TestMayRetryOneByOne_notInAnOutage(t *testing.T) {
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
		if got := MayRetryOneByOne(test.err); got != test.want {
			t.Errorf("%v: one job's: %v, want %v", test.err, got, test.want)
		}
	}
	if !IsDuplicate(my(1062)) || IsDuplicate(nil) || IsDuplicate(my(1264)) {
		t.Error("duplicates are not told apart")
	}
	if !IsLockNotAvailable(my(1205)) || !IsLockNotAvailable(my(3572)) || IsLockNotAvailable(nil) || IsLockNotAvailable(my(1213)) {
		t.Error("locked rows are not told apart")
	}
}
