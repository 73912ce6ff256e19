package cart_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

// BenchmarkAddBatch is one transaction of the worker, flushed to disk: so many adds of as many
// clients, of 1,000 products.
func BenchmarkAddBatch(b *testing.B) {
	const products = 1000
	for engine, at := range map[string]func(*testing.B) database.Config{
		"embedded": func(b *testing.B) database.Config { return database.Config{DataDir: b.TempDir(), LockDataDir: true} },
		"mariadb": func(b *testing.B) database.Config {
			return database.Config{MySQLDSN: databasetest.ServerDSN(b, dbserver.MariaDB)}
		},
		"mysql": func(b *testing.B) database.Config {
			return database.Config{MySQLDSN: databasetest.ServerDSN(b, dbserver.MySQL)}
		},
	} {
		for _, size := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/adds=%d", engine, size), func(b *testing.B) {
				cfg := at(b)
				cfg.Log = slog.New(slog.DiscardHandler) // else the output is between the figures
				db := databasetest.Open(b, cfg)
				if err := db.Transact(b.Context(), func(tx *database.Tx) error {
					for i := range products {
						if _, err := tx.Exec(b.Context(), "INSERT INTO product_details (product_id, product_name, quantity) VALUES (?, '', 2000000000)",
							product(i)); err != nil {
							return err
						}
					}
					return nil
				}, nil); err != nil {
					b.Fatal(err)
				}
				m := cart.New(db, &cart.Store{}, inventory.New(db), nil,
					cart.Config{QueueCapacity: 1, BatchSize: size, ResponseTo: present, Log: cfg.Log})
				defer func() { _ = m.Close(context.Background()) }()
				batch := make([]cart.LineChange, size)
				b.ReportAllocs()
				for n := 0; b.Loop(); n++ {
					for i := range batch {
						k := n*size + i
						batch[i] = addition(fmt.Sprintf("c%07d", k%100_000), product(k*7%products), 1)
					}
					errs, err := m.AddBatch(b.Context(), batch...)
					if err != nil || errs[0] != nil {
						b.Fatal(err, errs)
					}
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "adds/s")
			})
		}
	}
}
