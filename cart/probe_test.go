package cart_test

import (
	"testing"

	"cartwheel/cart"
	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
	"cartwheel/inventory"
)

// MySQL, because MariaDB has no setting that keeps root from writing.
func TestProbe_failsWhereAnAddWould(t *testing.T) {
	t.Parallel()
	server := databasetest.StartServerIn(t, dbserver.MySQL, "")
	db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop")})
	m := cart.New(db, &cart.Store{}, inventory.New(db), nil, cart.Config{QueueCapacity: 1, BatchSize: 1})
	t.Cleanup(func() { _ = m.Close(t.Context()) })
	for _, setting := range []struct {
		readOnly string
		ready    bool
	}{{"OFF", true}, {"ON", false}, {"OFF", true}} {
		if _, err := db.Setup().ExecContext(t.Context(), "SET GLOBAL super_read_only = "+setting.readOnly); err != nil {
			t.Fatal(err)
		}
		if setting.readOnly == "OFF" {
			if _, err := db.Setup().ExecContext(t.Context(), "SET GLOBAL read_only = OFF"); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.CheckWritable(t.Context()); (err == nil) != setting.ready {
			t.Errorf("super_read_only %s: %v, want ready %v", setting.readOnly, err, setting.ready)
		}
	}
}
