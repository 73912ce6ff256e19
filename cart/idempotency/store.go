package idempotency

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"cartwheel/database"
)

const isKey = "client_id = ? AND endpoint = ? AND idempotency_key = ?"

func sorted(keys []Key) []Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, compare)
	return slices.Compact(keys)
}

// compare orders keys as the primary key does.
func compare(a, b Key) int {
	return cmp.Or(cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Key, b.Key))
}

func args(keys []Key) []any {
	out := make([]any, 0, 3*len(keys))
	for _, k := range keys {
		out = append(out, k.ClientID, k.Endpoint, k.Key)
	}
	return out
}

func find(ctx context.Context, tx *database.Tx, keys []Key) (map[Key]Record, error) {
	found := make(map[Key]Record, len(keys))
	for chunk := range slices.Chunk(sorted(keys), database.ChunkRows) {
		err := tx.Each(ctx, func(rows *sql.Rows) error {
			var r Record
			var hash []byte
			err := rows.Scan(&r.Key.ClientID, &r.Key.Endpoint, &r.Key.Key, &hash, &r.Status, &r.Code, &r.CheckoutID, &r.Body)
			copy(r.Hash[:], hash)
			found[r.Key] = r
			return err
		}, "SELECT client_id, endpoint, idempotency_key, request_hash, COALESCE(http_status, 0), COALESCE(error_code, ''),"+
			" COALESCE(checkout_id, ''), body FROM idempotency_key WHERE "+
			database.AnyOf(len(chunk), isKey), args(chunk)...)
		if err != nil {
			return nil, fmt.Errorf("find idempotency keys: %w", err)
		}
	}
	return found, nil
}

// now reads the database's clock, in the form in which the column gives it back.
func now(ctx context.Context, tx *database.Tx) (stamp, error) {
	var times []string
	if err := tx.Select(ctx, &times, "SELECT CAST("+tx.Dialect().Now()+" AS CHAR(26))"); err != nil || len(times) != 1 {
		return "", fmt.Errorf("read the database's clock: %w", err)
	}
	return stamp(times[0]), nil
}

// countStored returns how many of the records are stored with the stamp. It locks their rows.
func countStored(ctx context.Context, tx *database.Tx, records []Record, at stamp) (stored int, err error) {
	keys := make([]Key, 0, len(records))
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	for chunk := range slices.Chunk(sorted(keys), database.ChunkRows) {
		var found []int
		if err := tx.Select(ctx, &found, "SELECT 1 FROM "+tx.Dialect().ByKey("idempotency_key")+
			" WHERE "+database.AnyOf(len(chunk), isKey)+" AND created_at = ?"+tx.ForUpdate(),
			append(args(chunk), string(at))...); err != nil {
			return 0, fmt.Errorf("look for idempotency keys: %w", err)
		}
		stored += len(found)
	}
	return stored, nil
}

// TryLock locks what is stored under the key, without waiting. It returns an error of
// database.IsLockNotAvailable when another transaction has the row locked, or has inserted it and
// not committed.
func TryLock(ctx context.Context, tx *database.Tx, key Key) error {
	var found []int
	if err := tx.Select(ctx, &found, "SELECT 1 FROM "+tx.Dialect().ByKey("idempotency_key")+" WHERE "+isKey+tx.ForUpdateNoWait(),
		args([]Key{key})...); err != nil {
		return fmt.Errorf("ask for an idempotency key: %w", err)
	}
	return nil
}

func insert(ctx context.Context, tx *database.Tx, records []Record, at stamp) error {
	records = slices.Clone(records)
	slices.SortFunc(records, func(a, b Record) int { return compare(a.Key, b.Key) })
	for chunk := range slices.Chunk(records, database.ChunkRows) {
		values := make([]any, 0, 9*len(chunk))
		for _, r := range chunk {
			values = append(values, r.Key.ClientID, r.Key.Endpoint, r.Key.Key, r.Hash[:],
				sql.NullInt64{Int64: int64(r.Status), Valid: !r.Unanswered()}, database.NullIfEmpty(r.Code), database.NullIfEmpty(r.CheckoutID), r.Body, string(at))
		}
		if _, err := tx.Exec(ctx, "INSERT INTO idempotency_key "+
			"(client_id, endpoint, idempotency_key, request_hash, http_status, error_code, checkout_id, body, created_at) VALUES "+
			database.Values(len(chunk), 9), values...); err != nil {
			return fmt.Errorf("store idempotency keys: %w", err)
		}
	}
	return nil
}

// Complete stores the answer to a request that was stored as under way, and begins the time for
// which it is kept. The record keeps its CheckoutID. An answer that is there already stays.
func Complete(ctx context.Context, tx *database.Tx, key Key, r Response) error {
	if _, err := tx.Exec(ctx, "UPDATE "+tx.Dialect().ByKey("idempotency_key")+
		" SET http_status = ?, error_code = ?, body = ?, created_at = "+tx.Dialect().Now()+" WHERE "+isKey+
		" AND http_status IS NULL", r.Status, database.NullIfEmpty(r.Code), r.Body, key.ClientID, key.Endpoint, key.Key); err != nil {
		return fmt.Errorf("answer an idempotency key: %w", err)
	}
	return nil
}

// deleteFrom begins a DELETE by primary key. MySQL allows an index hint only in the form for
// several tables; without one MariaDB scans, and locks, a table that its statistics call small.
func deleteFrom(d database.Dialect) string {
	if d.Name() == "mysql" {
		return "DELETE t FROM idempotency_key t FORCE INDEX (PRIMARY) WHERE "
	}
	return "DELETE FROM idempotency_key WHERE "
}

// DeleteUnderWay deletes the key of a request that is under way, so that a later request may use
// it. An answered key stays.
func DeleteUnderWay(ctx context.Context, tx *database.Tx, key Key) error {
	if _, err := tx.Exec(ctx, deleteFrom(tx.Dialect())+isKey+" AND http_status IS NULL",
		args([]Key{key})...); err != nil {
		return fmt.Errorf("delete an idempotency key: %w", err)
	}
	return nil
}

// answeredBefore returns the oldest answered keys of more than this age, and locks them. It leaves
// out locked rows.
func answeredBefore(ctx context.Context, tx *database.Tx, age time.Duration, limit int) ([]Key, error) {
	var keys []Key
	err := tx.Each(ctx, func(rows *sql.Rows) error {
		var k Key
		err := rows.Scan(&k.ClientID, &k.Endpoint, &k.Key)
		keys = append(keys, k)
		return err
	}, "SELECT client_id, endpoint, idempotency_key FROM idempotency_key WHERE created_at < "+
		tx.Dialect().NowPlus(-age)+" AND http_status IS NOT NULL ORDER BY created_at LIMIT ?"+tx.ForUpdateSkipLocked(), limit)
	if err != nil {
		return nil, fmt.Errorf("find old idempotency keys: %w", err)
	}
	return keys, nil
}

// remove deletes those of the keys that are answered and of more than this age. A list of
// conditions on the whole primary key costs one look-up a key, however many keys one client has. A
// join with a list of keys costs more where the list has another character set than the column.
func remove(ctx context.Context, tx *database.Tx, keys []Key, age time.Duration) error {
	keys = sorted(keys)
	if _, err := tx.Exec(ctx, deleteFrom(tx.Dialect())+database.AnyOf(len(keys), isKey)+
		" AND created_at < "+tx.Dialect().NowPlus(-age)+" AND http_status IS NOT NULL", args(keys)...); err != nil {
		return fmt.Errorf("prune idempotency keys: %w", err)
	}
	return nil
}
