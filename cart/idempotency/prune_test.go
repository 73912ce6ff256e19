package idempotency_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cartwheel/cart/idempotency"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// putKeys stores answered keys of one client. Their age is in hours.
func putKeys(t *testing.T, db *database.DB, client string, n int, hours int) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		age := tx.Dialect().NowPlus(-time.Duration(hours) * time.Hour)
		for from := 0; from < n; from += 500 {
			var rows []string
			for i := from; i < min(n, from+500); i++ {
				rows = append(rows, fmt.Sprintf("('%s', 'addToCart', 'key-%d', x'%064d', 200, 'x', %s)", client, i, 0, age))
			}
			if _, err := tx.Exec(t.Context(), "INSERT INTO idempotency_key (client_id, endpoint, idempotency_key, request_hash,"+
				" http_status, body, created_at) VALUES "+strings.Join(rows, ",")); err != nil {
				return err
			}
		}
		return nil
	})
}

func transact(t *testing.T, db *database.DB, work func(*database.Tx) error) {
	t.Helper()
	if err := db.Transact(t.Context(), work, nil); err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, db *database.DB, client string) (n int) {
	t.Helper()
	transact(t, db, func(tx *database.Tx) error {
		var counts []int
		err := tx.Select(t.Context(), &counts, "SELECT COUNT(*) FROM idempotency_key WHERE client_id = ?", client)
		n = counts[0]
		return err
	})
	return n
}

func TestPrune_leavesFreshAndUnansweredKeys(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putKeys(t, db, "old", 3, 48)
		putKeys(t, db, "fresh", 3, 23)
		putKeys(t, db, "open", 1, 48)
		transact(t, db, func(tx *database.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE idempotency_key SET http_status = NULL WHERE client_id = 'open'")
			return err
		})
		if n, err := idempotency.PruneOnce(t.Context(), db); n != 3 || err != nil {
			t.Errorf("pruned %d, %v, want 3", n, err)
		}
		for client, want := range map[string]int{"old": 0, "fresh": 3, "open": 1} {
			if got := stored(t, db, client); got != want {
				t.Errorf("%s has %d keys, want %d", client, got, want)
			}
		}
	})
}

// A key may be pruned and used again between the search for old keys and their deletion.
func TestPrune_leavesAKeyThatWasUsedAgain(t *testing.T) {
	t.Parallel()
	databasetest.Each(t, func(t *testing.T, db *database.DB) {
		putKeys(t, db, "ann", 2, 1)
		transact(t, db, func(tx *database.Tx) error {
			return idempotency.Remove(t.Context(), tx, []idempotency.Key{
				{ClientID: "ann", Endpoint: "addToCart", Key: "key-0"}, {ClientID: "ann", Endpoint: "addToCart", Key: "key-1"},
			}, 24*time.Hour)
		})
		if got := stored(t, db, "ann"); got != 2 {
			t.Errorf("%d keys are left, want 2", got)
		}
	})
}

// A row that another program keeps locked delays neither the pruning of others nor their use.
func TestPrune_leavesALockedKey(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putKeys(t, db, "ann", 3, 48)
		transact(t, db, func(tx *database.Tx) error {
			key := idempotency.Key{ClientID: "ann", Endpoint: "addToCart", Key: "key-1"}
			if err := idempotency.TryLock(t.Context(), tx, key); err != nil {
				return err
			}
			if n, err := idempotency.PruneOnce(t.Context(), db); n != 2 || err != nil {
				t.Errorf("pruned %d, %v, want 2", n, err)
			}
			return nil
		})
	})
}

// The engines must find each key by its whole primary key, and the old keys by their age.
func TestPrune_costsNoMoreForAClientWithManyKeys(t *testing.T) {
	t.Parallel()
	databasetest.EachServer(t, func(t *testing.T, db *database.DB) {
		putKeys(t, db, "many", 20_000, 1)
		putKeys(t, db, "old", 300, 48)
		var read int64
		transact(t, db, func(tx *database.Tx) error {
			before := rowsRead(t, tx)
			old, err := idempotency.AnsweredBefore(t.Context(), tx, 25*time.Hour, idempotency.PruneRows)
			if err != nil {
				return err
			}
			for i := range old {
				old[i].ClientID = "many" // as many keys of the client with many
			}
			if err := idempotency.Remove(t.Context(), tx, old, 25*time.Hour); err != nil {
				return err
			}
			read = rowsRead(t, tx) - before
			return nil
		})
		if limit := int64(10 * idempotency.PruneRows); read > limit {
			t.Errorf("pruning %d keys read %d rows, want at most %d", idempotency.PruneRows, read, limit)
		}
	})
}

// rowsRead is how many rows the transaction's session has read.
func rowsRead(t *testing.T, tx *database.Tx) (rows int64) {
	t.Helper()
	var counters []struct {
		Name  string `db:"Variable_name"`
		Value int64  `db:"Value"`
	}
	if err := tx.Select(t.Context(), &counters, "SHOW SESSION STATUS LIKE 'Handler_read%'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range counters {
		rows += c.Value
	}
	return rows
}
