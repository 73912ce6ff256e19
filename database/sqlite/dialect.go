package sqlite

import (
	"fmt"
	"strings"
	"time"

	"cartwheel/database/engine"
)

// dialect is SQLite's.
type dialect struct{}

func (dialect) Name() string { return "sqlite" }

func (dialect) Now() string { return "strftime('%Y-%m-%d %H:%M:%f', 'now')" }

func (dialect) NowPlus(after time.Duration) string {
	return fmt.Sprintf("strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '%+.3f seconds')", after.Seconds())
}

// RowLocks returns "": a transaction has the write lock from its beginning.
func (dialect) RowLocks(string) string { return "" }

func (dialect) OnConflict(key string) string { return " ON CONFLICT (" + key + ") DO UPDATE SET " }

func (dialect) Incoming(column string) string { return "excluded." + column }

func (dialect) ByKey(table string) string { return table }

func (dialect) List(_ int, args []any) []any { return args }

func (dialect) ListIsOneArgument() bool { return false }

func (dialect) JoinKeys(table string, n int, key ...string) string {
	return table + " AS t WHERE (" + strings.Join(key, ",") + ") IN (VALUES " + engine.Values(n, len(key)) + ")"
}

func (d dialect) DeleteKeys(table string, n int, key ...string) string {
	return "DELETE FROM " + d.JoinKeys(table, n, key...)
}

func (dialect) Subtract(table, key, column string, n int) string {
	return fmt.Sprintf("UPDATE %[1]s SET %[3]s = %[1]s.%[3]s - k.column2 FROM (VALUES %[4]s) k"+
		" WHERE %[1]s.%[2]s = k.column1 AND %[1]s.%[3]s >= k.column2", table, key, column, engine.Values(n, 2))
}

func (dialect) InsertList(table string, n int, number string, key ...string) string {
	return "INSERT INTO " + table + " (" + strings.Join(key, ",") + "," + number + ")" +
		" VALUES " + engine.Values(n, len(key)+1)
}

func (dialect) Returning() bool { return true }

func (dialect) Parallel() int { return 1 }
