package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database"
	"cartwheel/migrations"
)

// The engines, as they come: MySQL has a binary log that every COMMIT flushes, MariaDB has none.
const (
	embedded = "embedded"
	mariadb  = "mariadb"
	mysql97  = "mysql"
	// newMariaDB is the latest long-term release, unpacked beside the system.
	newMariaDB = "mariadb11.8"
)

// engines are those that every kind of row measures.
var engines = []string{embedded, mariadb}

// engineName is the engine's name in tables.
func engineName(engine string) string {
	return map[string]string{embedded: "embedded", mariadb: "MariaDB", mysql97: "MySQL", newMariaDB: "MariaDB 11.8"}[engine]
}

const (
	products    = 10_000
	adders      = 100_000       // clients who add
	plenty      = 2_000_000_000 // units on hand: never short
	hotProduct  = "p00000"
	rowsAtOnce  = 2_000
	quietWithin = 10 * time.Second
)

// A store is one database: where an instance keeps its data, and what we put and find there.
type store struct {
	engine    string
	flags     []string // that make an instance use it
	catalogue int      // products
	db        *database.DB
}

// open creates a database with the tables and a catalogue of so many products.
func (b *bench) open(ctx context.Context, engine string, catalogue int) (*store, error) {
	b.stores++
	s := &store{engine: engine, catalogue: catalogue}
	var cfg database.Config
	if engine == embedded {
		cfg.DataDir = filepath.Join(b.dir, fmt.Sprintf("embedded-%d", b.stores))
		s.flags = []string{"--data-dir", cfg.DataDir}
	} else {
		server, err := b.server(ctx, engine)
		if err != nil {
			return nil, err
		}
		server.DBName = fmt.Sprintf("bench_%d_%d", b.pid, b.stores)
		cfg.MySQLDSN = server.FormatDSN()
		s.flags = []string{"--mysql-dsn", cfg.MySQLDSN}
	}
	cfg.Log = slog.New(slog.NewTextHandler(b.errs, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	if s.db, err = database.Open(ctx, cfg); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, s.db.Close)
	if err := b.migrate(ctx, s, cfg.Log); err != nil {
		return nil, err
	}
	return s, s.insert(ctx, "product_details (product_id, product_name, quantity)", catalogue, func(i int) string {
		return fmt.Sprintf("('p%05d','',%d)", i, plenty)
	})
}

// migrate makes the tables of the build that is measured: another revision's may differ.
func (b *bench) migrate(ctx context.Context, s *store, log *slog.Logger) error {
	if b.settings.base == "" {
		_, err := migrations.Up(ctx, s.db, log)
		return err
	}
	command := exec.CommandContext(ctx, b.cartwheel, append([]string{"migrate", "up"}, s.flags...)...)
	command.Env = cleanEnvironment()
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("migrate up: %w: %s", err, output)
	}
	return nil
}

// fill gives clients of a prefix a cart each with one line of one unit: the hot product, or one of
// all products.
func (s *store) fill(ctx context.Context, prefix string, first, n int, hot bool) error {
	return s.insert(ctx, "client_cart (client_id, product_id, quantity)", n, func(i int) string {
		product := hotProduct
		if !hot {
			product = fmt.Sprintf("p%05d", spread(first+i, s.catalogue))
		}
		return fmt.Sprintf("('%s%07d','%s',1)", prefix, first+i, product)
	})
}

// fillSold gives clients of a prefix a committed checkout each, whose ID wrk.lua knows.
func (s *store) fillSold(ctx context.Context, prefix string, n int) error {
	now := time.Now().UTC().Format("2006-01-02 15:04:05.000") // old checkouts cannot be cancelled
	return s.insert(ctx, "checkout_journal (checkout_id, client_id, state, epoch, items, created_at, updated_at)", n, func(i int) string {
		return fmt.Sprintf(`('019c0%s-0000-7000-8000-%012d','%s%07d','committed',1,'[{"productID":"p%05d","quantity":1}]','%[6]s','%[6]s')`,
			prefix[1:4], i, prefix, i, spread(i, s.catalogue), now)
	})
}

// spread draws a number below a limit for another number, the same each time.
func spread(n, limit int) int { return int(mix(uint64(n)) % uint64(limit)) }

// insert writes n rows in one transaction, many in a statement. All values are our own.
func (s *store) insert(ctx context.Context, into string, n int, row func(int) string) error {
	tx, err := s.db.Setup().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for from := 0; from < n; from += rowsAtOnce {
		var statement strings.Builder
		statement.WriteString("INSERT INTO " + into + " VALUES ")
		for i := from; i < min(n, from+rowsAtOnce); i++ {
			if i > from {
				statement.WriteByte(',')
			}
			statement.WriteString(row(i))
		}
		if _, err := tx.ExecContext(ctx, statement.String()); err != nil {
			return errors.Join(fmt.Errorf("insert into %s: %w", into, err), tx.Rollback())
		}
	}
	return tx.Commit()
}

// number reads one number.
func (s *store) number(ctx context.Context, query string, args ...any) (int, error) {
	var n sql.NullInt64
	err := s.db.Setup().QueryRowContext(ctx, query, args...).Scan(&n)
	return int(n.Int64), err
}

// units are how many units are in all carts.
func (s *store) units(ctx context.Context) (int, error) {
	return s.number(ctx, "SELECT SUM(quantity) FROM client_cart")
}

// settled counts the checkouts of a prefix's clients that have a state.
func (s *store) settled(ctx context.Context, prefix, state string) (int, error) {
	return s.number(ctx, "SELECT COUNT(*) FROM checkout_journal WHERE state = ? AND client_id BETWEEN ? AND ?", state, prefix, prefix+"~")
}

// quiet waits until nothing is under way and the server has cleaned up behind the last run: what it
// still does would be taken from the next one.
func (s *store) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietWithin)
	defer cancel()
	last := -1
	for {
		open, err := s.number(ctx, "SELECT COUNT(*) FROM checkout_journal WHERE lease_expires_at < '2100-01-01'")
		if err != nil {
			return err
		}
		history := 0
		if s.engine != embedded {
			// Where it may not be read, it is not waited for.
			history, _ = s.number(ctx, "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'")
		}
		if open == 0 && (history == 0 || history == last) {
			return nil
		}
		last = history
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the %s engine is still busy after %v: %d checkouts are open", s.engine, quietWithin, open)
		}
	}
}

// server returns the address of an engine's private server, and starts it first.
func (b *bench) server(ctx context.Context, engine string) (*mysql.Config, error) {
	if b.servers[engine] == nil {
		if err := b.startServer(engine); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return mysql.ParseDSN(b.servers[engine].TCPDSN(""))
}
