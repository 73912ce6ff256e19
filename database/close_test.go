package database_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestClose_succeedsAfterTheServerEndedItsSessions(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		db, err := database.Open(t.Context(), database.Config{MySQLDSN: dsn, Log: databasetest.Log(t)})
		if err != nil {
			t.Fatal(err)
		}
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "SET @a = 1")
			return err
		})
		if err := db.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}

		beside, err := sql.Open("mysql", dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = beside.Close() })
		const others = " FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
		ended := 0
		for deadline := time.Now().Add(20 * time.Second); ; {
			var id int
			err := beside.QueryRowContext(t.Context(), "SELECT id"+others+" LIMIT 1").Scan(&id)
			if err != nil {
				is(t, err, sql.ErrNoRows)
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the sessions do not end")
			}
			if _, err := beside.ExecContext(t.Context(), fmt.Sprint("KILL ", id)); err == nil {
				ended++
			}
		}
		if ended < 2 {
			t.Errorf("%d sessions were ended, want the writer's and the reader's", ended)
		}
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func TestDB_closeAgainIsHarmless(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		for n := range 2 {
			if err := db.Close(); err != nil {
				t.Errorf("close number %d: %v", n+1, err)
			}
		}
	})
}
