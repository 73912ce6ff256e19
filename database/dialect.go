package database

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ChunkRows is the most rows, or values of an IN list, that one statement names: lists of 1,000 and more become
// joins on MariaDB, which lock in another order than the one they were given in.
const ChunkRows = 256

// Dialect writes what the engines' SQL has different words for.
type Dialect struct {
	name string
	now  string // the engine's clock, UTC
	// nowPlus turns a duration into the engine's clock that much later.
	nowPlus func(time.Duration) string
	// lockRows is what follows a SELECT that locks its rows; lockFree the same, leaving out the rows that are taken;
	// lockNow the same, failing at once where one is.
	lockRows, lockFree, lockNow string
	// onConflict begins an upsert's second half; %s is the key.
	onConflict string
	// incoming is the value that an upsert would have inserted; %s is the column.
	incoming string
	// byKey is what follows a table whose rows are to be found by primary key, whatever the statistics say.
	byKey string
	// listRows is where an INSERT takes a list of keys and numbers from.
	listRows func(key []string, n int) string
	// insertEach writes what Dialect's method of that name describes.
	insertEach func(table, columns string, values []string, n int) string
	// joinKeys, deleteKeys and subtract write what Dialect's methods of those names describe.
	joinKeys   func(table string, key []string, n int) string
	deleteKeys func(table string, key []string, n int) string
	subtract   func(table, key, column string, n int) string
	// beginSnapshot starts a transaction that sees one moment of the whole database.
	beginSnapshot []string
	// pack turns a list's arguments into those that the methods above expect; nil: they stay as they are.
	pack func(columns int, args []any) []any
	// returning says that INSERT … RETURNING is to be had.
	returning bool
	// pipelines says that several statements may be sent in one round trip, and that there is one to save.
	pipelines bool
	// parallel is how many transactions can make progress at once.
	parallel int
}

var mysqlDialect = Dialect{
	name: "mysql",
	now:  "UTC_TIMESTAMP(6)",
	nowPlus: func(d time.Duration) string {
		return fmt.Sprintf("UTC_TIMESTAMP(6) + INTERVAL %d MICROSECOND", d.Microseconds())
	},
	lockRows:   " FOR UPDATE",
	lockFree:   " FOR UPDATE SKIP LOCKED",
	lockNow:    " FOR UPDATE NOWAIT",
	onConflict: " ON DUPLICATE KEY UPDATE ",
	incoming:   "VALUES(%s)",
	byKey:      " FORCE INDEX (PRIMARY)",
	listRows:   mysqlListRows,
	insertEach: mysqlInsertEach,
	joinKeys:   mysqlJoinKeys,
	deleteKeys: mysqlDeleteKeys,
	subtract:   mysqlSubtract,
	pack:       mysqlPack,
	beginSnapshot: []string{
		"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
		"START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
	},
	pipelines: true,
	parallel:  2,
}

var sqliteDialect = Dialect{
	name: "sqlite",
	now:  "strftime('%Y-%m-%d %H:%M:%f', 'now')",
	nowPlus: func(d time.Duration) string {
		return fmt.Sprintf("strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '%+.3f seconds')", d.Seconds())
	},
	onConflict: " ON CONFLICT (%s) DO UPDATE SET ",
	incoming:   "excluded.%s",
	listRows:   sqliteListRows,
	insertEach: sqliteInsertEach,
	joinKeys:   sqliteJoinKeys,
	deleteKeys: sqliteDeleteKeys,
	subtract:   sqliteSubtract,
	// The first SELECT takes the snapshot.
	beginSnapshot: []string{"BEGIN DEFERRED"},
	returning:     true,
	parallel:      1,
}

// Name is the dialect's folder below migrations: "mysql" or "sqlite".
func (d Dialect) Name() string { return d.name }

// Now is the expression for the database's clock, in UTC.
func (d Dialect) Now() string { return d.now }

// NowPlus is the expression for the database's clock that much later.
func (d Dialect) NowPlus(after time.Duration) string { return d.nowPlus(after) }

// OnConflict begins the second half of an upsert on the table's primary key, given as "a, b".
func (d Dialect) OnConflict(key string) string {
	if strings.Contains(d.onConflict, "%s") {
		return fmt.Sprintf(d.onConflict, key)
	}
	return d.onConflict
}

// Incoming is the value that an upsert would have inserted in the column.
func (d Dialect) Incoming(column string) string { return fmt.Sprintf(d.incoming, column) }

// ByKey names a table in a SELECT or UPDATE whose WHERE lists primary keys: other rows are neither read nor locked.
func (d Dialect) ByKey(table string) string { return table + d.byKey }

// ForceKey is ByKey for a table that has another name in the statement: it follows that name.
func (d Dialect) ForceKey() string { return d.byKey }

// List turns the arguments of JoinKeys, DeleteKeys or Subtract, row by row of so many columns, into those that the
// engine is to be given. They are strings, ints and int64s.
func (d Dialect) List(columns int, args []any) []any {
	if d.pack == nil {
		return args
	}
	return d.pack(columns, args)
}

// JoinKeys is what follows FROM in a SELECT of the rows, called t, with n primary keys, whose columns are key; the
// arguments are the n keys as a List. For keys of several columns it is planned faster than a WHERE that lists them.
func (d Dialect) JoinKeys(table string, n int, key ...string) string {
	return d.joinKeys(table, key, n)
}

// DeleteKeys deletes the rows with n primary keys, whose columns are key; the arguments are the n keys as a List in
// order, which is the order in which their rows are locked.
func (d Dialect) DeleteKeys(table string, n int, key ...string) string {
	return d.deleteKeys(table, key, n)
}

// Subtract lowers a column in n rows, in those that have enough; the arguments are a List of the rows' keys and by how
// much, in the order in which the rows are to be locked. Each key may be there once; Exec returns how many rows had
// enough.
func (d Dialect) Subtract(table, key, column string, n int) string {
	return d.subtract(table, key, column, n)
}

// InsertList is an INSERT of n rows into the columns key and number; the arguments are a List of them in order, which is the
// order in which their rows are locked. It may go on with OnConflict, and with RETURNING.
func (d Dialect) InsertList(table string, n int, number string, key ...string) string {
	return "INSERT INTO " + table + " (" + strings.Join(key, ",") + "," + number + ") " + d.listRows(key, n)
}

// InsertEach is an INSERT of n rows whose columns have these values: expressions that are the same in all rows, or "?"; the
// arguments of these come row by row.
func (d Dialect) InsertEach(table, columns string, values []string, n int) string {
	return d.insertEach(table, columns, values, n)
}

// Returning reports whether an InsertList may end in RETURNING: it then gives its rows back as they are stored.
func (d Dialect) Returning() bool { return d.returning }

// Parallel is how many writing transactions the engine lets run at once to some use.
func (d Dialect) Parallel() int { return d.parallel }

// Values returns n groups of that many placeholders: Values(2, 3) is "(?,?,?),(?,?,?)".
func Values(n, columns int) string {
	group := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + "),"
	return strings.TrimSuffix(strings.Repeat(group, n), ",")
}

// In returns a list of n placeholders in parentheses.
func In(n int) string { return Values(1, n) }

// AnyOf returns n times the condition, joined by OR. `(a, b) IN ((?, ?))` with one tuple scans the table;
// an OR of ANDs does not.
func AnyOf(n int, condition string) string {
	return "(" + strings.TrimSuffix(strings.Repeat("("+condition+") OR ", n), " OR ") + ")"
}

// mysqlDeleteKeys joins the rows to the list of keys. MariaDB scans, and locks, the whole table for a DELETE whose
// WHERE lists keys when its statistics say that the table is small, and heeds no index hint there; a join in a fixed
// order leaves it nothing to choose.
func mysqlDeleteKeys(table string, key []string, _ int) string {
	return "DELETE t FROM " + mysqlJoinKeys(table, key, 0)
}

func mysqlJoinKeys(table string, key []string, _ int) string {
	return mysqlList(slices.Repeat([]string{listedKey}, len(key))...) +
		" STRAIGHT_JOIN " + table + " t FORCE INDEX (PRIMARY) ON " + equalColumns(key)
}

func mysqlSubtract(table, key, column string, _ int) string {
	return fmt.Sprintf("UPDATE %s STRAIGHT_JOIN %s t FORCE INDEX (PRIMARY) ON t.%s = k.c0"+
		" SET t.%[4]s = t.%[4]s - k.c1 WHERE t.%[4]s >= k.c1", mysqlList(listedKey, listedNumber), table, key, column)
}

// mysqlListRows makes the INSERT one with a SELECT. A subquery in its RETURNING then reads what is committed, as all reads
// do; in one with VALUES it would lock what it reads.
func mysqlListRows(key []string, _ int) string {
	columns := make([]string, len(key)+1)
	for i := range columns {
		columns[i] = fmt.Sprintf("k.c%d", i)
	}
	return "SELECT " + strings.Join(columns, ",") + " FROM " + mysqlList(append(slices.Repeat([]string{listedKey}, len(key)), listedNumber)...)
}

func mysqlInsertEach(table, columns string, values []string, n int) string {
	row := "(" + strings.Join(values, ",") + ")"
	return "INSERT INTO " + table + " (" + columns + ") VALUES " + row + strings.Repeat(","+row, n-1)
}

// The types of a list's columns: no key has more than 255 characters.
const (
	listedKey    = "VARCHAR(255)"
	listedNumber = "BIGINT"
)

// mysqlList is a table, called k, whose columns c0, c1, … are of these types, and whose rows come as one argument: see
// mysqlPack. So the text is the same for any number of rows, and there is no list of SELECTs to be planned one by one.
func mysqlList(types ...string) string {
	columns := make([]string, len(types))
	for i, of := range types {
		columns[i] = fmt.Sprintf("c%d %s PATH '$[%d]'", i, of, i)
	}
	return "JSON_TABLE(?, '$[*]' COLUMNS (" + strings.Join(columns, ", ") + ")) k"
}

// mysqlPack writes rows of so many columns, strings and integers, as mysqlList reads them.
func mysqlPack(columns int, args []any) []any {
	text := make([]byte, 0, 16*len(args))
	for i, arg := range args {
		switch {
		case i == 0:
			text = append(text, "[["...)
		case i%columns == 0:
			text = append(text, "],["...)
		default:
			text = append(text, ',')
		}
		switch value := arg.(type) {
		case string:
			text = appendJSON(text, value)
		case int:
			text = strconv.AppendInt(text, int64(value), 10)
		case int64:
			text = strconv.AppendInt(text, value, 10)
		default:
			panic(fmt.Sprintf("a list cannot hold a %T", arg))
		}
	}
	return []any{string(append(text, "]]"...))}
}

// appendJSON appends a JSON string. Nearly all need no escapes.
func appendJSON(text []byte, value string) []byte {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(value)
			if err != nil {
				panic(err) // never: it is a string
			}
			return append(text, quoted...)
		}
	}
	text = append(text, '"')
	text = append(text, value...)
	return append(text, '"')
}

// equalColumns compares the key's columns with those of the list k.
func equalColumns(key []string) string {
	equal := make([]string, len(key))
	for i, column := range key {
		equal[i] = fmt.Sprintf("t.%s = k.c%d", column, i)
	}
	return strings.Join(equal, " AND ")
}

func sqliteListRows(key []string, n int) string { return "VALUES " + Values(n, len(key)+1) }

// sqliteInsertEach takes its rows from a list, so that expressions such as the clock are worked out once and not for each.
func sqliteInsertEach(table, columns string, values []string, n int) string {
	arguments := 0
	selected := slices.Clone(values)
	for i, value := range values {
		if value == "?" {
			arguments++
			selected[i] = fmt.Sprintf("column%d", arguments)
		}
	}
	return "INSERT INTO " + table + " (" + columns + ") SELECT " + strings.Join(selected, ",") +
		" FROM (VALUES " + Values(n, arguments) + ")"
}

// sqliteJoinKeys uses CROSS JOIN, which SQLite takes as the order of the loops.
func sqliteJoinKeys(table string, key []string, n int) string {
	names := make([]string, len(key))
	for i := range key {
		names[i] = fmt.Sprintf("column%d AS c%d", i+1, i)
	}
	return "(SELECT " + strings.Join(names, ",") + " FROM (VALUES " + Values(n, len(key)) + ")) k CROSS JOIN " + table +
		" t ON " + equalColumns(key)
}

func sqliteDeleteKeys(table string, key []string, n int) string {
	return "DELETE FROM " + table + " WHERE (" + strings.Join(key, ",") + ") IN (VALUES " + Values(n, len(key)) + ")"
}

func sqliteSubtract(table, key, column string, n int) string {
	return fmt.Sprintf("UPDATE %[1]s SET %[3]s = %[1]s.%[3]s - k.column2 FROM (VALUES %[4]s) k"+
		" WHERE %[1]s.%[2]s = k.column1 AND %[1]s.%[3]s >= k.column2", table, key, column, Values(n, 2))
}
