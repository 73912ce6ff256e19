package database_test

import (
	"os"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// galeraLibrary is where Debian's package has it.
const galeraLibrary = "/usr/lib/galera/libgalera_smm.so"

// A node that takes over may not have applied yet what another one committed.
func TestGalera_connectionsBeginWithACausalRead(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(galeraLibrary); err != nil {
		databasetest.SkipUnlessCI(t, err.Error())
	}
	server := databasetest.StartServerIn(t, dbserver.MariaDB, "",
		"--wsrep-on=ON", "--wsrep-cluster-address=gcomm://", "--wsrep-provider="+galeraLibrary, "--binlog-format=ROW",
		"--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:0;ist.recv_addr=127.0.0.1:0",
		"--log-output=TABLE", "--general-log=ON")
	var log recorder
	db := databasetest.Open(t, database.Config{MySQLDSN: server.TCPDSN("shop"), Log: log.log()})
	if !log.says("evs.suspect_timeout") {
		t.Error("the default suspect timeout, which is as long as ours, was not warned of")
	}
	if !db.Clustered() {
		t.Error("the cluster was not detected")
	}
	store(t, db, "shoe")
	var ran []string
	if err := db.Read(t.Context(), func(tx *database.Tx) error {
		return tx.Select(t.Context(), &ran, "SELECT argument FROM mysql.general_log ORDER BY event_time")
	}); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(ran, "\n")
	waits, begins := strings.Count(text, "wsrep_sync_wait = 1"), strings.Count(text, "READ COMMITTED, READ WRITE")
	if waits == 0 || waits < begins {
		t.Errorf("%d of %d writing connections began with a causal read", waits, begins)
	}
}
