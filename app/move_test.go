package app

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

func TestMigrateMove_movesEverything(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		dir, dsn := filepath.Join(t.TempDir(), "data"), dsn
		embedded, mysql := terminal{t, []string{"--data-dir", dir}}, terminal{t, []string{"--mysql-dsn", dsn}}
		move := terminal{t, []string{"--data-dir", dir, "--mysql-dsn", dsn}}
		refused := func(c terminal, want string, command ...string) {
			t.Helper()
			if status, out, said := c.run("", command...); status != 1 || !strings.Contains(said, want) {
				t.Errorf("%v: status %d: %s%s, want %q", command, status, out, said, want)
			}
		}
		refused(embedded, "--mysql-dsn (or MYSQL_DSN) is missing", "migrate", "move")
		refused(move, "there is no data yet in "+dir, "migrate", "move")
		if status, _, said := embedded.run("product_id,product_name,quantity\nmug,Mug,1200\ntea,Tea,50\n", "stock", "import", "-"); status != 0 {
			t.Fatal(said)
		}

		// Not while a server sells.
		server := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
		refused(move, "in use by another server", "migrate", "move")
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}

		status, out, said := move.run("", "migrate", "move")
		if status != 0 || said != "" {
			t.Fatalf("status %d: %s%s", status, out, said)
		}
		out = regexp.MustCompile(`to mysql://\S+; [0-9.]+ s`).ReplaceAllString(out, "to DATABASE; N s")
		if diff := cmp.Diff("2 rows copied and compared, to DATABASE; N s\n"+
			"the embedded engine's file is "+filepath.Join(dir, "cartwheel.db.moved")+" now\n"+
			"from now on, start the server with --mysql-dsn or MYSQL_DSN\n", out); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		mysql.want("PRODUCT  NAME  ON HAND  RESERVED  AVAILABLE\nmug      Mug      1200         0       1200\ntea      Tea        50         0         50\n", "", "stock", "list")

		if status, out, said := move.run("", "migrate", "move"); status != 0 || !strings.HasPrefix(out, "nothing is left to move") {
			t.Errorf("a repeat: status %d: %s%s", status, out, said)
		}
		empty := terminal{t, []string{"--data-dir", dir, "--mysql-dsn", databasetest.ServerDSN(t, dbserver.MySQL)}}
		refused(empty, "there is no data yet", "migrate", "move")

		// What was moved is not sold from again, and nothing is moved onto other data.
		refused(embedded, "was moved to a MySQL server", "serve", "--listen", "127.0.0.1:0")
		refused(embedded, "was moved to a MySQL server", "stock", "list")
		other := terminal{t, []string{"--data-dir", filepath.Join(t.TempDir(), "other"), "--mysql-dsn", dsn}}
		if status, _, said := (terminal{t, other.args[:2]}).run("product_id,product_name,quantity\nmug,Mug,1\n", "stock", "import", "-"); status != 0 {
			t.Fatal(said)
		}
		refused(other, "is not empty", "migrate", "move")
	})
}
