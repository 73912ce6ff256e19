package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/engine"
)

// faults are MySQL's and MariaDB's error numbers, by what they mean for us.
var faults = map[uint16]engine.Fault{
	1062: engine.Duplicate,        // ER_DUP_ENTRY
	1020: engine.Conflict,         // ER_CHECKREAD: MariaDB, the snapshot is older than the row
	1213: engine.Conflict,         // ER_LOCK_DEADLOCK, also Galera's certification failure
	3101: engine.Conflict,         // ER_TRANSACTION_ROLLBACK_DURING_COMMIT: group replication's certification failure
	1205: engine.LockNotAvailable, // ER_LOCK_WAIT_TIMEOUT, of a row or a table: rolls back only the statement
	3572: engine.LockNotAvailable, // ER_LOCK_NOWAIT

	1040: engine.Refused,  // ER_CON_COUNT_ERROR: too many connections
	1129: engine.Refused,  // ER_HOST_IS_BLOCKED
	1135: engine.Refused,  // ER_CANT_CREATE_THREAD
	1203: engine.Refused,  // ER_TOO_MANY_USER_CONNECTIONS
	1226: engine.Refused,  // ER_USER_LIMIT_REACHED
	1037: engine.Refused,  // ER_OUTOFMEMORY
	1041: engine.Refused,  // ER_OUT_OF_RESOURCES
	1206: engine.Refused,  // ER_LOCK_TABLE_FULL
	1637: engine.Refused,  // ER_TOO_MANY_CONCURRENT_TRXS
	1021: engine.Refused,  // ER_DISK_FULL
	1114: engine.Refused,  // ER_RECORD_FILE_FULL
	1026: engine.Refused,  // ER_ERROR_ON_WRITE
	1030: engine.Refused,  // ER_GET_ERRNO: the storage engine's own error, a full disk among them
	1290: engine.ReadOnly, // ER_OPTION_PREVENTS_STATEMENT: --read-only
	1792: engine.Refused,  // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	1836: engine.Refused,  // ER_READ_ONLY_MODE
	3024: engine.Refused,  // ER_QUERY_TIMEOUT
	1969: engine.Refused,  // MariaDB ER_STATEMENT_TIMEOUT
	1049: engine.Refused,  // ER_BAD_DB_ERROR: dropped under us
	1146: engine.Refused,  // ER_NO_SUCH_TABLE: likewise

	1047: engine.Lost, // ER_UNKNOWN_COM_ERROR: Galera, node is not ready
	1053: engine.Lost, // ER_SERVER_SHUTDOWN
	1152: engine.Lost, // ER_ABORTING_CONNECTION
	1184: engine.Lost, // ER_NEW_ABORTING_CONNECTION
	1158: engine.Lost, // ER_NET_READ_ERROR
	1159: engine.Lost, // ER_NET_READ_INTERRUPTED
	1160: engine.Lost, // ER_NET_ERROR_ON_WRITE
	1161: engine.Lost, // ER_NET_WRITE_INTERRUPTED
	1317: engine.Lost, // ER_QUERY_INTERRUPTED
	1927: engine.Lost, // MariaDB ER_CONNECTION_KILLED
	3169: engine.Lost, // MySQL ER_SESSION_WAS_KILLED
	2003: engine.Lost, // CR_CONN_HOST_ERROR, from a proxy
	2006: engine.Lost, // CR_SERVER_GONE_ERROR, from a proxy
	2013: engine.Lost, // CR_SERVER_LOST, from a proxy
	4031: engine.Lost, // ER_CLIENT_INTERACTION_TIMEOUT
}

// noNumber stands for a server's error number in metrics.
const noNumber = "connection"

// Fault returns what an error of a server, the driver or the network means, and the server's number
// for metrics. A context's end counts as a lost connection: the statement may still be running.
func Fault(err error) (fault engine.Fault, number string) {
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		if my.Number == 1180 && strings.Contains(my.Message, "error 149 ") {
			// ER_ERROR_DURING_COMMIT with HA_ERR_LOCK_DEADLOCK: rolled back for a transaction of
			// another node, by group replication.
			return engine.Conflict, "1180"
		}
		return faults[my.Number], strconv.Itoa(int(my.Number))
	}
	for _, lost := range []error{
		mysql.ErrInvalidConn, mysql.ErrMalformPkt, mysql.ErrPktSync, mysql.ErrPktSyncMul,
		driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, lost) {
			return engine.Lost, noNumber
		}
	}
	if _, network := errors.AsType[net.Error](err); network {
		return engine.Lost, noNumber
	}
	return engine.Other, noNumber
}
