package app

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cartwheel/app/certificatetest"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// checks runs config check, which must end with the status and say all the words, and no password.
func (c terminal) checks(status int, flags []string, words ...string) {
	c.t.Helper()
	got, out, said := c.run("", append([]string{"config", "check"}, flags...)...)
	if got != status {
		c.t.Errorf("%v: status %d: %s%s", flags, got, out, said)
	}
	for _, word := range words {
		if !strings.Contains(out+said, word) {
			c.t.Errorf("%v: %s%s, want %q", flags, out, said, word)
		}
	}
	if strings.Contains(out+said, "p4ss") {
		c.t.Errorf("%v shows a password: %s%s", flags, out, said)
	}
}

func TestConfigCheck_findsWhatServeWouldMeet(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	c.checks(0, nil, "settings    ok     valid\n", "database    ok     there is none yet", "sandbox: charges nobody")
	if _, err := os.Stat(c.args[1]); !os.IsNotExist(err) {
		t.Errorf("it creates the data directory: %v", err)
	}
	c.run(mugs7, "stock", "import", "-")
	c.checks(0, nil, "cartwheel.db: up to date")
	c.checks(0, []string{"--json"}, `"settings":"valid"`)

	service := httptest.NewServer(http.NotFoundHandler())
	defer service.Close()
	c.checks(0, []string{"--payment-url", strings.Replace(service.URL, "//", "//shop:p4ss@", 1)}, "payments    ok", "answers")
	service.Close()
	c.checks(1, []string{"--payment-url", service.URL}, "payments    FAILED", "connection refused")
	c.checks(1, []string{"--payment-url", "shop:p4ss@host/b"}, "payments    FAILED", "expected sandbox:")

	dir := t.TempDir()
	files := []string{"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem")}
	c.checks(1, files, "certificate FAILED", "no such file")
	certificatetest.Write(t, files[1], files[3], 1)
	c.checks(0, files, "certificate ok     valid until 2")
	c.checks(2, []string{"--rate-limit", "NaN"}, "--rate-limit (RATE_LIMIT) is NaN")
}

func TestConfigCheck_saysWhatWouldBeMigrated(t *testing.T) {
	t.Parallel()
	databasetest.EachServerDSN(t, func(t *testing.T, dsn string) {
		t.Parallel()
		c := terminal{t, []string{"--mysql-dsn", dsn}}
		c.checks(0, nil, "database    ok     there is none yet")
		c.checks(0, nil, "database    ok     there is none yet") // nor did the first check create it
		c.run(mugs7, "stock", "import", "-")
		c.checks(0, nil, ": up to date")
		db := databasetest.Open(t, database.Config{MySQLDSN: dsn})
		if _, err := db.Setup().ExecContext(t.Context(), "DELETE FROM goose_db_version WHERE version_id = 4"); err != nil {
			t.Fatal(err)
		}
		c.checks(1, []string{"--mysql-read-dsn", "shop:p4ss@replica"}, "FAILED", "--mysql-read-dsn: the MySQL DSN is not of the form")
		for range 2 {
			c.checks(0, nil, ": serve applies 00004_storefront")
		}
	})
}
