package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"cartwheel/database"

	"github.com/jmoiron/sqlx"
	goosedb "github.com/pressly/goose/v3/database"
)

// versionTable is goose's own, under its own name, so that its command line understands it.
const versionTable = "goose_db_version"

// versions keeps goose's table of applied migrations. It differs from goose's own store in that
// several instances may create the table at once, and that a crash between its creation and its
// first row (version 0, which goose insists on) is mended by the next start: a version is there
// once or not at all.
type versions struct {
	goosedb.Store
	create, insertFirst, exists string
}

func newVersions(db *database.DB) (*versions, error) {
	dialect, v := goosedb.DialectSQLite3, &versions{
		create: `CREATE TABLE IF NOT EXISTS goose_db_version (
			id         INTEGER PRIMARY KEY AUTOINCREMENT,
			version_id INTEGER NOT NULL UNIQUE,
			is_applied INTEGER NOT NULL,
			tstamp     TIMESTAMP DEFAULT (datetime('now'))
		)`,
		insertFirst: "INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1) ON CONFLICT DO NOTHING",
		exists:      "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'",
	}
	if !db.Embedded() {
		dialect, v = goosedb.DialectMySQL, &versions{
			create: `CREATE TABLE IF NOT EXISTS goose_db_version (
				id         bigint unsigned NOT NULL AUTO_INCREMENT,
				version_id bigint NOT NULL,
				is_applied boolean NOT NULL,
				tstamp     datetime NULL DEFAULT CURRENT_TIMESTAMP,
				PRIMARY KEY (id),
				UNIQUE KEY version_id (version_id)
			) ENGINE = InnoDB`,
			insertFirst: `INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1)
				ON DUPLICATE KEY UPDATE version_id = version_id`,
			exists: `SELECT count(*) FROM information_schema.tables
				WHERE table_schema = database() AND table_name = 'goose_db_version'`,
		}
	}
	store, err := goosedb.NewStore(dialect, versionTable)
	if err != nil {
		return nil, fmt.Errorf("goose's table of versions: %w", err)
	}
	v.Store = store
	return v, nil
}

// CreateVersionTable creates the table unless it is there.
func (v *versions) CreateVersionTable(ctx context.Context, conn goosedb.DBTxConn) error {
	if _, err := conn.ExecContext(ctx, v.create); err != nil {
		return fmt.Errorf("create %s: %w", versionTable, err)
	}
	return nil
}

// Insert records a version as applied. Only of version 0 is a repeat harmless.
func (v *versions) Insert(ctx context.Context, conn goosedb.DBTxConn, request goosedb.InsertRequest) error {
	if request.Version != 0 {
		return v.Store.Insert(ctx, conn, request)
	}
	if _, err := conn.ExecContext(ctx, v.insertFirst); err != nil {
		return fmt.Errorf("begin %s: %w", versionTable, err)
	}
	return nil
}

// TableExists reports whether the table is there with its first row; goose creates both otherwise.
func (v *versions) TableExists(ctx context.Context, conn goosedb.DBTxConn) (bool, error) {
	var tables, rows int
	if err := conn.QueryRowContext(ctx, v.exists).Scan(&tables); err != nil || tables == 0 {
		return false, err
	}
	err := conn.QueryRowContext(ctx, "SELECT count(*) FROM goose_db_version WHERE version_id = 0").Scan(&rows)
	return rows > 0, err
}

// applied returns when each applied version was applied.
func (v *versions) applied(ctx context.Context, db *sql.DB) (map[int64]*time.Time, error) {
	if there, err := v.TableExists(ctx, db); err != nil || !there {
		return nil, err
	}
	var rows []struct {
		Version int64
		At      time.Time
	}
	if err := sqlx.NewDb(db, "").SelectContext(ctx, &rows,
		"SELECT version_id AS version, tstamp AS at FROM goose_db_version WHERE version_id > 0"); err != nil {
		return nil, err
	}
	at := map[int64]*time.Time{}
	for _, row := range rows {
		at[row.Version] = new(row.At.UTC())
	}
	return at, nil
}
