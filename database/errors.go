package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrUnavailable means that the database could not be used, and that certainly nothing was done.
	ErrUnavailable = errors.New("database is unavailable")
	// ErrOutcomeUnknown means that the answer to a COMMIT was lost and could not be found out in time.
	ErrOutcomeUnknown = errors.New("the database went away during the commit")
	// ErrRowLocked means that someone else keeps a row locked for longer than we wait; nothing was done.
	ErrRowLocked = errors.New("a row is locked by someone else")
	// ErrRetry is for a transaction's own work to return: what it met was written by another transaction
	// meanwhile, and everything is to be run again, as after a deadlock.
	ErrRetry = errors.New("the rows changed meanwhile")
	// ErrLocked means that another server has the data directory.
	ErrLocked = errors.New("the data directory is in use by another server")
)

// A fault is what an engine's error means for the transaction that met it.
type fault int

const (
	faultOther      fault = iota // the statement's own: a constraint, a typo
	faultDuplicate               // a key that is there already
	faultOutOfRange              // a value that does not fit its column
	faultConflict                // deadlock or snapshot conflict: run again
	faultRowLocked               // a lock wait that ran out
	faultLost                    // the connection is gone, or must not be used again
	faultRefused                 // the server is there and will not: full, read-only, shutting down
)

// MySQL and MariaDB error numbers, by what they mean for us.
var mysqlFaults = map[uint16]fault{
	1062: faultDuplicate,  // ER_DUP_ENTRY
	1264: faultOutOfRange, // ER_WARN_DATA_OUT_OF_RANGE
	1690: faultOutOfRange, // ER_DATA_OUT_OF_RANGE
	1020: faultConflict,   // ER_CHECKREAD: MariaDB, the snapshot is older than the row
	1213: faultConflict,   // ER_LOCK_DEADLOCK, also Galera's certification failure
	3101: faultConflict,   // ER_TRANSACTION_ROLLBACK_DURING_COMMIT: group replication's certification failure
	1205: faultRowLocked,  // ER_LOCK_WAIT_TIMEOUT, of a row or a table: rolls back only the statement
	3572: faultRowLocked,  // ER_LOCK_NOWAIT

	1040: faultRefused, // ER_CON_COUNT_ERROR: too many connections
	1129: faultRefused, // ER_HOST_IS_BLOCKED
	1135: faultRefused, // ER_CANT_CREATE_THREAD
	1203: faultRefused, // ER_TOO_MANY_USER_CONNECTIONS
	1226: faultRefused, // ER_USER_LIMIT_REACHED
	1037: faultRefused, // ER_OUTOFMEMORY
	1041: faultRefused, // ER_OUT_OF_RESOURCES
	1206: faultRefused, // ER_LOCK_TABLE_FULL
	1637: faultRefused, // ER_TOO_MANY_CONCURRENT_TRXS
	1021: faultRefused, // ER_DISK_FULL
	1114: faultRefused, // ER_RECORD_FILE_FULL
	1026: faultRefused, // ER_ERROR_ON_WRITE
	1030: faultRefused, // ER_GET_ERRNO: the storage engine's own error, a full disk among them
	1290: faultRefused, // ER_OPTION_PREVENTS_STATEMENT: --read-only
	1792: faultRefused, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	1836: faultRefused, // ER_READ_ONLY_MODE
	3024: faultRefused, // ER_QUERY_TIMEOUT
	1969: faultRefused, // MariaDB ER_STATEMENT_TIMEOUT
	1049: faultRefused, // ER_BAD_DB_ERROR: dropped under us
	1146: faultRefused, // ER_NO_SUCH_TABLE: likewise

	1047: faultLost, // ER_UNKNOWN_COM_ERROR: Galera, node is not ready
	1053: faultLost, // ER_SERVER_SHUTDOWN
	1152: faultLost, // ER_ABORTING_CONNECTION
	1184: faultLost, // ER_NEW_ABORTING_CONNECTION
	1158: faultLost, // ER_NET_READ_ERROR
	1159: faultLost, // ER_NET_READ_INTERRUPTED
	1160: faultLost, // ER_NET_ERROR_ON_WRITE
	1161: faultLost, // ER_NET_WRITE_INTERRUPTED
	1317: faultLost, // ER_QUERY_INTERRUPTED
	1927: faultLost, // MariaDB ER_CONNECTION_KILLED
	3169: faultLost, // MySQL ER_SESSION_WAS_KILLED
	2003: faultLost, // CR_CONN_HOST_ERROR, from a proxy
	2006: faultLost, // CR_SERVER_GONE_ERROR, from a proxy
	2013: faultLost, // CR_SERVER_LOST, from a proxy
	4031: faultLost, // ER_CLIENT_INTERACTION_TIMEOUT
}

// faultOf says what err means. A context's end counts as a lost connection: the statement may still be running.
func faultOf(err error) fault {
	switch {
	case errors.Is(err, ErrRetry):
		return faultConflict
	case errors.Is(err, errOverdue):
		return faultRefused
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return mysqlFaults[my.Number]
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY:
			return faultRefused
		case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM:
			return faultLost
		case sqlite3.SQLITE_CONSTRAINT:
			if c := lite.Code(); c == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || c == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
				return faultDuplicate
			}
		}
		return faultOther
	}
	var network net.Error
	switch {
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, mysql.ErrMalformPkt),
		errors.Is(err, mysql.ErrPktSync), errors.Is(err, mysql.ErrPktSyncMul),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &network):
		return faultLost
	}
	return faultOther
}

// rolledBack reports whether a COMMIT that the engine answered with err certainly had no effect.
func rolledBack(err error) bool {
	switch faultOf(err) {
	case faultConflict, faultRowLocked:
		return true
	case faultRefused:
		// What SQLite refuses stays open or is rolled back. MySQL and MariaDB say the same of a server that became
		// read-only meanwhile; of nothing else can one be certain there.
		var my *mysql.MySQLError
		return !errors.As(err, &my) || my.Number == 1290
	default:
		return false
	}
}

// IsDuplicate reports whether err is an insert of a key that is there already.
func IsDuplicate(err error) bool { return err != nil && faultOf(err) == faultDuplicate }

// IsOutOfRange reports whether err is a number that does not fit its column.
func IsOutOfRange(err error) bool { return err != nil && faultOf(err) == faultOutOfRange }

// IsJobFault reports whether a batch that failed with err may succeed in parts: the database is there, the batch
// certainly had no effect, and trying its jobs one by one does not mean waiting for a lock once for each.
func IsJobFault(err error) bool {
	return !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrRowLocked)
}

// IsRowLocked reports whether err is a row that someone else has locked. Only the statement was rolled back.
func IsRowLocked(err error) bool { return err != nil && faultOf(err) == faultRowLocked }
