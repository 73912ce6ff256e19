package database_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestRead_cannotWrite(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		for name, read := range map[string]func(context.Context, func(*database.Tx) error) error{"Read": db.Read, "Snapshot": db.Snapshot} {
			err := read(t.Context(), func(tx *database.Tx) error { return insert(t, tx, "hat", 1) })
			if is(t, err, database.ErrUnavailable); err == nil {
				t.Errorf("%s wrote", name)
			}
			is(t, read(t.Context(), func(*database.Tx) error { return errWork }), errWork)
		}
		isStored(t, db, "hat", false)
	})
}

func TestSnapshot_seesOneMoment(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		store(t, db, "shoe")
		count := func(tx *database.Tx) (n []int) {
			if err := tx.Select(t.Context(), &n, "SELECT count(*) FROM product_details"); err != nil {
				t.Error(err)
			}
			return n
		}
		look := func(tx *database.Tx) (before, after []int) {
			before = count(tx)
			store(t, db, "n"+time.Now().Format(time.RFC3339Nano))
			return before, count(tx)
		}
		_ = db.Snapshot(t.Context(), func(tx *database.Tx) error {
			if before, after := look(tx); !cmp.Equal(before, after) {
				t.Errorf("a snapshot counted %d products, then %d", before, after)
			}
			return nil
		})
		_ = db.Read(t.Context(), func(tx *database.Tx) error {
			if before, after := look(tx); cmp.Equal(before, after) {
				t.Errorf("a read counted %d products, and %d after another one was stored", before, after)
			}
			return nil
		})
	})
}

// Behind a proxy the old server may be a replica by now, which reads old rows.
func TestMySQL_brokenTransactionRenewsTheConnectionsThatRead(t *testing.T) {
	t.Parallel()
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		db := open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
		connection := func(tx *database.Tx) (int64, error) {
			var ids []int64
			if err := tx.Select(t.Context(), &ids, "SELECT CONNECTION_ID()"); err != nil {
				return 0, err
			}
			return ids[0], nil
		}
		reader := func() int64 {
			t.Helper()
			id, err := database.Query(t.Context(), db.Read, connection)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		before := reader()
		if again := reader(); again != before {
			t.Fatalf("connections %d and %d read: want one", before, again)
		}
		attempts := 0
		if err := db.Transact(t.Context(), func(tx *database.Tx) error {
			writer, err := connection(tx)
			if attempts++; err != nil || attempts > 1 {
				return err
			}
			execute(t, db.Setup(), fmt.Sprintf("KILL %d", writer))
			_, err = connection(tx)
			return err
		}, nil); err != nil {
			t.Fatal(err)
		}
		if after := reader(); after == before {
			t.Errorf("connection %d still reads", after)
		}
	})
}
