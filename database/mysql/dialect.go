package mysql

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// dialect is that of MySQL and MariaDB.
type dialect struct{ returning bool }

func (dialect) Name() string { return "mysql" }

func (dialect) Now() string { return "UTC_TIMESTAMP(6)" }

func (dialect) NowPlus(after time.Duration) string {
	return fmt.Sprintf("UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND", after.Microseconds())
}

func (dialect) RowLocks(clause string) string { return clause }

func (dialect) OnConflict(string) string { return " ON DUPLICATE KEY UPDATE " }

func (dialect) Incoming(column string) string { return "VALUES(" + column + ")" }

func (dialect) ByKey(table string) string { return table + " FORCE INDEX (PRIMARY)" }

// DeleteKeys joins the rows to the list of keys, in a fixed order. For a DELETE whose WHERE lists
// keys, MariaDB scans and locks the whole table when its statistics call the table small. It
// ignores an index hint there.
func (d dialect) DeleteKeys(table string, n int, key ...string) string {
	return "DELETE t FROM " + d.JoinKeys(table, n, key...)
}

func (dialect) JoinKeys(table string, _ int, key ...string) string {
	equal := make([]string, len(key))
	for i, column := range key {
		equal[i] = fmt.Sprintf("t.%s = k.c%d", column, i)
	}
	return list(slices.Repeat([]string{listedKey}, len(key))...) +
		" STRAIGHT_JOIN " + table + " t FORCE INDEX (PRIMARY) ON " + strings.Join(equal, " AND ")
}

func (dialect) Subtract(table, key, column string, _ int) string {
	return fmt.Sprintf("UPDATE %s STRAIGHT_JOIN %s t FORCE INDEX (PRIMARY) ON t.%s = k.c0"+
		" SET t.%[4]s = t.%[4]s - k.c1 WHERE t.%[4]s >= k.c1", list(listedKey, listedNumber), table, key, column)
}

// InsertList has a SELECT. A subquery in its RETURNING then reads committed rows, and the
// statement's own so far, without locks; in an INSERT with VALUES it would lock them.
func (dialect) InsertList(table string, _ int, number string, key ...string) string {
	columns := make([]string, len(key)+1)
	for i := range columns {
		columns[i] = fmt.Sprintf("k.c%d", i)
	}
	from := list(append(slices.Repeat([]string{listedKey}, len(key)), listedNumber)...)
	return "INSERT INTO " + table + " (" + strings.Join(key, ",") + "," + number + ")" +
		" SELECT " + strings.Join(columns, ",") + " FROM " + from
}

// Returning reports that the server is a MariaDB.
func (d dialect) Returning() bool { return d.returning }

func (dialect) Parallel() int { return 2 }

func (dialect) ListIsOneArgument() bool { return true }

// The types of a list's columns. No key has more than 255 characters. Without a character set
// MariaDB uses the database's default.
const (
	listedKey    = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	listedNumber = "BIGINT"
)

// list is a table, called k, whose columns c0, c1, … are of these types, and whose rows come as one
// argument: see dialect.List. So the text is the same for any number of rows, and there is no list
// of SELECTs to be planned one by one.
func list(types ...string) string {
	columns := make([]string, len(types))
	for i, of := range types {
		columns[i] = fmt.Sprintf("c%d %s PATH '$[%d]'", i, of, i)
	}
	return "JSON_TABLE(?, '$[*]' COLUMNS (" + strings.Join(columns, ", ") + ")) k"
}

// List writes rows of strings and integers as list reads them.
func (dialect) List(columns int, args []any) []any {
	text, err := json.Marshal(slices.Collect(slices.Chunk(args, columns)))
	if err != nil {
		panic(err) // never: they are strings and integers
	}
	return []any{string(text)}
}
