package sqlite

import (
	"errors"
	"strconv"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"cartwheel/database/engine"
)

// Fault returns what SQLite's error means, and its number for metrics, "" for other errors.
func Fault(err error) (fault engine.Fault, number string) {
	lite, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return engine.Other, ""
	}
	code := lite.Code() & 0xff // without the extended part
	number = "sqlite-" + strconv.Itoa(code)
	switch code {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY:
		return engine.Refused, number
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM:
		return engine.Lost, number
	case sqlite3.SQLITE_CONSTRAINT:
		if c := lite.Code(); c == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || c == sqlite3.SQLITE_CONSTRAINT_UNIQUE {
			return engine.Duplicate, number
		}
	}
	return engine.Other, number
}

// isBusy reports whether another connection was in SQLite's way.
func isBusy(err error) bool {
	return hasCode(err, sqlite3.SQLITE_BUSY) || hasCode(err, sqlite3.SQLITE_LOCKED)
}

// hasCode reports whether err is SQLite's and has that primary result code.
func hasCode(err error, code int) bool {
	lite, ok := errors.AsType[*sqlite.Error](err)
	return ok && lite.Code()&0xff == code
}
