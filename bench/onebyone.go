package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite"
)

// oneByOne compares one add at a time with its two parts: what the HTTP stack takes, and what its
// statements take when a Go program sends them to the same engine.
func (b *bench) oneByOne(ctx context.Context) error {
	const most = 1.2
	for _, engine := range engines {
		key := "one/" + engine
		if !b.settings.wants(key) {
			continue
		}
		name := "one add at a time, " + engineName(engine) + ", median"
		null, err := b.nullBase(ctx)
		if err != nil {
			return err
		}
		s, err := b.openShop(ctx, engine)
		if err != nil {
			return err
		}
		// A WAL that grows costs each fsync the file's length as well. That of a shop that has run
		// for a while does not grow, nor does the hand-written program's, after 1,000 pages.
		if _, err := b.measure(ctx, s, add, 256, false, 0); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		var measured, base []float64
		for range b.settings.rounds {
			n, err := b.measureNull(ctx, null, add, 1)
			if err != nil {
				return err
			}
			statements, err := b.statements(ctx, s.store)
			if err != nil {
				return err
			}
			o, err := b.measure(ctx, s, add, 1, false, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			measured, base = append(measured, o.P50), append(base, n.P50+statements)
			b.progressf("%s: %.0f µs; no-op baseline %.0f µs and the statements %.0f µs", key, o.P50, n.P50, statements)
		}
		r := row{Key: key, Name: name, Measured: summarize(measured, "µs"), BaseName: "no-op baseline and statements", Base: summarize(base, "µs"), Relation: atMost, Target: most}
		b.report.add(r)
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

// statements returns the median time, in µs, of an add's statements sent by database/sql over one
// connection.
func (b *bench) statements(ctx context.Context, like *store) (median float64, err error) {
	s, err := b.open(ctx, like.engine, products) // of its own: the embedded engine has one writer
	if err != nil {
		return 0, err
	}
	var driver, dsn, upsert string
	if like.engine == embedded {
		driver, upsert = "sqlite", " ON CONFLICT (client_id, product_id) DO UPDATE SET quantity = quantity + excluded.quantity"
		dsn = "file:" + filepath.Join(s.flags[1], "cartwheel.db") +
			"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_txlock=immediate"
	} else {
		server, err := mysql.ParseDSN(s.flags[1])
		if err != nil {
			return 0, err
		}
		server.InterpolateParams = true
		driver, dsn, upsert = "mysql", server.FormatDSN(), " ON DUPLICATE KEY UPDATE quantity = quantity + VALUES(quantity)"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	var took []float64
	for began := time.Now(); time.Since(began) < b.settings.measured; {
		client, product := fmt.Sprintf("c%07d", spread(len(took)*7, adders)), fmt.Sprintf("p%05d", spread(len(took), products))
		start := time.Now()
		if err := addByHand(ctx, db, client, product, upsert); err != nil {
			return 0, err
		}
		took = append(took, float64(time.Since(start).Microseconds()))
	}
	return summarize(took, "").Value, nil
}

func addByHand(ctx context.Context, db *sql.DB, client, product, upsert string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	var available int64
	if err := tx.QueryRowContext(ctx, "SELECT quantity FROM product_details WHERE product_id = ?", product).Scan(&available); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO client_cart (client_id, product_id, quantity) VALUES (?, ?, 1)"+upsert, client, product); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
