package app

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

const (
	mugs7 = "product_id,product_name,quantity\nmug,Mug,7\n"
	mugs3 = "product_id,product_name,quantity\nmug,Mug,3\n"
)

// stockIs checks on hand of the one product.
func (c terminal) stockIs(onHand string) {
	c.t.Helper()
	if status, out, said := c.run("", "stock", "list", "--json"); status != 0 || !strings.Contains(out, `"onHand":`+onHand+",") {
		c.t.Errorf("status %d: %s%s, want %s on hand", status, out, said, onHand)
	}
}

// imported returns a terminal beside an embedded database with 7 mugs.
func imported(t *testing.T) (c terminal, dir string) {
	t.Helper()
	c = newTerminal(t)
	if status, _, said := c.run(mugs7, "stock", "import", "-"); status != 0 {
		t.Fatal(said)
	}
	return c, c.args[1]
}

func TestRestore_bringsTheBackupBackAndKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	c, dir := imported(t)
	file := filepath.Join(t.TempDir(), "shop.db")
	if status, out, said := c.run("", "backup", file, "--json"); status != 0 || !strings.Contains(out, `"bytes":`) {
		t.Fatalf("status %d: %s%s", status, out, said)
	}
	_, streamed, said := c.run("", "backup", "-")
	if said != "" || !strings.HasPrefix(streamed, "SQLite format 3") {
		t.Fatalf("%.20q, %s", streamed, said)
	}
	c.run(mugs3, "stock", "import", "-")
	c.stockIs("3")
	status, out, said := c.run("", "restore", file)
	if status != 0 || !strings.Contains(out, "what was there is "+filepath.Join(dir, "cartwheel.db.before-")) {
		t.Fatalf("status %d: %s%s", status, out, said)
	}
	c.stockIs("7")

	// The old database is whole, and a backup like any other.
	old, err := filepath.Glob(filepath.Join(dir, "cartwheel.db.before-*"))
	if err != nil || len(old) != 1 {
		t.Fatalf("kept %v, error %v", old, err)
	}
	if status, _, said := c.run("", "restore", old[0]); status != 0 {
		t.Fatal(said)
	}
	c.stockIs("3")
	elsewhere := newTerminal(t)
	if status, out, said := elsewhere.run(streamed, "restore", "-"); status != 0 || strings.Contains(out, "what was there") {
		t.Fatalf("status %d: %s%s", status, out, said)
	}
	elsewhere.stockIs("7")
}

func TestRestore_replacesADamagedDatabaseWithItsWAL(t *testing.T) {
	t.Parallel()
	c, dir := imported(t)
	file, path := filepath.Join(t.TempDir(), "shop.db"), filepath.Join(dir, "cartwheel.db")
	if status, _, said := c.run("", "backup", file); status != 0 {
		t.Fatal(said)
	}
	for name, text := range map[string]string{path: strings.Repeat("no database ", 999), path + "-wal": strings.Repeat("rubbish ", 99)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, said := c.run("", "restore", file); status != 0 {
		t.Fatal(said)
	}
	c.stockIs("7")
}

func TestRestore_refusesAndChangesNothing(t *testing.T) {
	t.Parallel()
	c, dir := imported(t)
	file := filepath.Join(t.TempDir(), "shop.db")
	if status, _, said := c.run("", "backup", file); status != 0 {
		t.Fatal(said)
	}
	c.run(mugs3, "stock", "import", "-")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The pages of a table that a quick look at the file would not read.
	damaged := slices.Concat(whole[:4096], bytes.Repeat([]byte{0xee}, 4096), whole[8192:])
	foreign := filepath.Join(t.TempDir(), "foreign.db")
	db, err := sql.Open("sqlite", foreign)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE other (what text)"); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	other, err := os.ReadFile(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ backup, want string }{
		"damaged":   {string(damaged), "is damaged"},
		"truncated": {string(whole[:len(whole)-4096]), "is not restored"},
		"empty":     {"", "none of Cartwheel's tables"},
		"foreign":   {string(other), "none of Cartwheel's tables"},
		"text":      {"product_id", "not a database"},
	} {
		if status, _, said := c.run(test.backup, "restore", "-"); status != 1 || !strings.Contains(said, test.want) {
			t.Errorf("%s: status %d: %s, want %s", name, status, said, test.want)
		}
	}
	server := databasetest.Open(t, database.Config{DataDir: dir, LockDataDir: true})
	if status, _, said := c.run("", "restore", file); status != 1 || !strings.Contains(said, "in use by another server") {
		t.Errorf("beside a server: status %d: %s", status, said)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	// As a copy of a running shop would be.
	if err := os.WriteFile(foreign+"-wal", []byte("newest data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, said := c.run("", "restore", foreign); status != 1 || !strings.Contains(said, "foreign.db-wal") {
		t.Errorf("from a file in use: status %d: %s", status, said)
	}
	if status, _, said := c.run("", "restore", file, "--mysql-dsn", "root@tcp(localhost)/shop"); status != 1 || !strings.Contains(said, "mysqldump") {
		t.Errorf("on MySQL: status %d: %s", status, said)
	}
	c.stockIs("3")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 { // the database and its lock
		t.Errorf("left %v, error %v", left, err)
	}
}

func TestBackup_streamRefusesMySQLAndMissingData(t *testing.T) {
	t.Parallel()
	c := newTerminal(t)
	if status, out, said := c.run("", "backup", "-"); status != 1 || out != "" || !strings.Contains(said, "--data-dir (DATA_DIR)") {
		t.Errorf("status %d: %s%s", status, out, said)
	}
}

func TestCommandLine_commandsWithAResultHaveJSON(t *testing.T) {
	t.Parallel()
	_, script := answer("completion", "bash")
	without := []string{"", "serve", "completion"}
	for line := range strings.SplitSeq(script, "\n") {
		name, words, found := strings.Cut(strings.TrimSpace(line), "*) words=")
		name = strings.Trim(name, "'")
		if found && !slices.Contains(without, name) && !strings.Contains(words, "--json") {
			t.Errorf("%s has no --json", name)
		}
	}
}
