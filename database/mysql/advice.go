package mysql

import (
	"errors"
	"io/fs"
	"net"
	"syscall"

	"github.com/go-sql-driver/mysql"
)

// adviceOn returns what an operator should check when a server could not be used. It is empty where
// the error is clear.
func adviceOn(err error) string {
	if my, ok := errors.AsType[*mysql.MySQLError](err); ok {
		switch my.Number {
		case 1044, 1142: // ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR
			return "the user needs all rights to this database: GRANT ALL ON its name.* TO the user"
		case 1045, 1698: // ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR
			return "are the user and the password right?"
		case 1040, 1203: // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS
			return "raise max_connections: each instance opens up to 28"
		}
		return ""
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok && lookup.IsNotFound {
		return "is the host's name right?"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "does the database server run there, and on this port?"
	case errors.Is(err, fs.ErrNotExist):
		return "does the database server run here, and is this its socket?"
	}
	if network, ok := errors.AsType[net.Error](err); ok && network.Timeout() {
		return "is the address right, and no firewall between?"
	}
	return ""
}
