package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cartwheel/database"

	goosedb "github.com/pressly/goose/v3/database"
)

// versions keeps goose's table of applied migrations, under goose's own name, so that its command
// line understands it. It differs from goose's own store in that several instances may create the
// table at once, and that a crash between its creation and its first row (version 0, which goose
// insists on) is mended by the next start: a version is there once or not at all.
type versions struct {
	goosedb.Store

	exists string
}

func newVersions(db *database.DB) versions {
	dialect := goosedb.DialectSQLite3
	exists := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'"
	if !db.Embedded() {
		dialect = goosedb.DialectMySQL
		exists = `SELECT count(*) FROM information_schema.tables
			WHERE table_schema = database() AND table_name = 'goose_db_version'`
	}
	store, err := goosedb.NewStore(dialect, "goose_db_version")
	if err != nil {
		panic(err) // only of an unknown dialect or an empty name
	}
	return versions{store, exists}
}

// createVersions creates goose's table of versions. The comments are SQL for MySQL and MariaDB.
const createVersions = `CREATE TABLE IF NOT EXISTS goose_db_version (
	id         integer NOT NULL PRIMARY KEY /*! AUTO_INCREMENT */,
	version_id bigint NOT NULL UNIQUE,
	is_applied boolean NOT NULL,
	tstamp     datetime NULL DEFAULT CURRENT_TIMESTAMP
) /*! ENGINE = InnoDB */`

// CreateVersionTable creates the table unless it is there.
func (v versions) CreateVersionTable(ctx context.Context, conn goosedb.DBTxConn) error {
	if _, err := conn.ExecContext(ctx, createVersions); err != nil {
		return fmt.Errorf("create goose_db_version: %w", err)
	}
	return nil
}

// TableExists reports whether the table is there with its first row. Otherwise goose creates both,
// and tries again where another instance was faster.
func (v versions) TableExists(ctx context.Context, conn goosedb.DBTxConn) (bool, error) {
	var tables int
	if err := conn.QueryRowContext(ctx, v.exists).Scan(&tables); err != nil || tables == 0 {
		return false, err
	}
	first, err := v.appliedAt(ctx, conn, 0)
	return first != nil, err
}

// appliedAt returns when a version was applied; nil: it was not.
func (v versions) appliedAt(ctx context.Context, conn goosedb.DBTxConn, version int64) (*time.Time, error) {
	found, err := v.GetMigration(ctx, conn, version)
	if errors.Is(err, goosedb.ErrVersionNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return new(found.Timestamp.UTC()), nil
}
