package checkout_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"cartwheel/cart"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

// BenchmarkReserveBatch is one TX 1, flushed to disk, of so many carts with one line each.
func BenchmarkReserveBatch(b *testing.B) {
	benchmarkBatches(b, func(b *testing.B, m *checkout.Manager, fill func() []string) {
		for b.Loop() {
			b.StopTimer()
			clients := fill()
			b.StartTimer()
			if _, err := m.ReserveBatch(b.Context(), clients...); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSettleBatch is one TX 2, flushed to disk, of so many paid checkouts of one line each.
func BenchmarkSettleBatch(b *testing.B) {
	benchmarkBatches(b, func(b *testing.B, m *checkout.Manager, fill func() []string) {
		for b.Loop() {
			b.StopTimer()
			reserved, err := m.ReserveBatch(b.Context(), fill()...)
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := m.SellBatch(b.Context(), reserved); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchmarkBatches runs a benchmark on both engines, with batches of several sizes, of one hot
// product and of many.
func benchmarkBatches(b *testing.B, run func(b *testing.B, m *checkout.Manager, fill func() []string)) {
	b.Helper()
	for engine, at := range map[string]func(*testing.B) database.Config{
		"embedded": func(b *testing.B) database.Config { return database.Config{DataDir: b.TempDir(), LockDataDir: true} },
		"mariadb": func(b *testing.B) database.Config {
			return database.Config{MySQLDSN: databasetest.ServerDSN(b, dbserver.MariaDB)}
		},
		"mysql": func(b *testing.B) database.Config {
			return database.Config{MySQLDSN: databasetest.ServerDSN(b, dbserver.MySQL)}
		},
	} {
		for kind, products := range map[string]int{"hot": 1, "spread": 1000} {
			for _, size := range []int{1, 16, 256} {
				b.Run(fmt.Sprintf("%s/%s/checkouts=%d", engine, kind, size), func(b *testing.B) {
					cfg := at(b)
					cfg.Log = slog.New(slog.DiscardHandler) // else the output is between the figures
					db := databasetest.Open(b, cfg)
					write := func(statement func(i int) (string, []any), n int) {
						if err := db.Transact(b.Context(), func(tx *database.Tx) error {
							for i := range n {
								query, args := statement(i)
								if _, err := tx.Exec(b.Context(), query, args...); err != nil {
									return err
								}
							}
							return nil
						}, nil); err != nil {
							b.Fatal(err)
						}
					}
					write(func(i int) (string, []any) {
						return "INSERT INTO product_details (product_id, product_name, quantity) VALUES (?, '', 2000000000)", []any{fmt.Sprintf("p%04d", i)}
					}, products)
					m := checkout.New(db, &cart.Store{}, inventory.New(db), newLedger().till(), checkout.Config{
						QueueCapacity: 1, BatchSize: size, InFlight: 1, Lease: time.Hour, PaymentTimeout: time.Minute,
						ResponseTo: present, Log: cfg.Log,
					})
					defer func() { _ = m.Close(context.Background()) }()
					filled := 0
					b.ReportAllocs()
					run(b, m, func() []string {
						var clients []string
						write(func(int) (string, []any) {
							filled++
							clients = append(clients, fmt.Sprintf("c%07d", filled))
							return "INSERT INTO client_cart (client_id, product_id, quantity) VALUES (?, ?, 1)",
								[]any{clients[len(clients)-1], fmt.Sprintf("p%04d", filled*7%products)}
						}, size)
						return clients
					})
					b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "checkouts/s")
				})
			}
		}
	}
}
