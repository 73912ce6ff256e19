package migrations_test

import (
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/migrations"
)

// refuseReads makes the next reads of the applied migrations fail as a deadlock's victim does.
func refuseReads(t *testing.T, db *database.DB, times int) {
	t.Helper()
	// MyISAM: a failed statement does not bring the count back.
	run(t, db, "CREATE TABLE refusals (n INT NOT NULL) ENGINE = MyISAM", "INSERT INTO refusals VALUES (0)",
		`CREATE FUNCTION refusal(version BIGINT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA
		BEGIN
			UPDATE refusals SET n = n - 1 WHERE n > 0;
			IF ROW_COUNT() > 0 THEN
				SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'deadlock';
			END IF;
			RETURN 0;
		END`,
		"RENAME TABLE goose_db_version TO applied",
		"CREATE VIEW goose_db_version AS SELECT * FROM applied WHERE refusal(version_id) = 0")
	if _, err := db.Setup().ExecContext(t.Context(), "UPDATE refusals SET n = ?", times); err != nil {
		t.Fatal(err)
	}
}

// A cluster ends reads of one node for an ALTER on another one.
func TestUp_retriesReadsThatEndedInConflicts(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		db := open(t, database.Config{MySQLDSN: dsn})
		up(t, db)
		refuseReads(t, db, 3)
		if applied := up(t, db); applied != 0 {
			t.Errorf("applied %d migrations, want 0", applied)
		}
		equal(t, "refusals that are left", rows(t, db, "SELECT n FROM refusals"), []string{"0"})
	})
}

func TestUp_boundsRetriesOfConflicts(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		db := open(t, database.Config{MySQLDSN: dsn})
		up(t, db)
		refuseReads(t, db, 1000)
		if _, err := migrations.Up(t.Context(), db, databasetest.Log(t)); !database.IsConflict(err) {
			t.Errorf("Up: %v, want a conflict", err)
		}
	})
}
