package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cartwheel/database"
	"cartwheel/database/databasetest"
)

// documentedDSN is what the page calls the new database.
const documentedDSN = "cartwheel:password@tcp(127.0.0.1:3306)/shop"

// An operator is a shell on a machine with a running shop, as docs/operations.md assumes it.
type operator struct {
	t   *testing.T
	dir string // where the commands run
	env []string
	// dsn is what documentedDSN stands for.
	dsn string
}

// A procedure is what one section of the page tells to do.
type procedure struct {
	heading, setting string
	commands         []documentedCommand
}

type documentedCommand struct{ text, want string }

// procedures reads the page: a comment "tested: SETTING" begins one, the next heading ends it.
func procedures(t *testing.T) []procedure {
	t.Helper()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []procedure
	for _, section := range regexp.MustCompile(`(?m)^##+ `).Split(string(page), -1)[1:] {
		heading, _, _ := strings.Cut(section, "\n")
		parts := strings.Split(section, "<!-- tested: ")
		if strings.Contains(parts[0], "```console") {
			t.Errorf("%s: commands that no test runs", heading)
		}
		for _, part := range parts[1:] {
			setting, _, _ := strings.Cut(part, " -->")
			p := procedure{heading: heading, setting: setting}
			for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(part, -1) {
				for _, example := range strings.Split("\n"+block[1], "\n$ ")[1:] {
					command, want, _ := strings.Cut(example+"\n", "\n")
					p.commands = append(p.commands, documentedCommand{command, strings.TrimRight(want, "\n")})
				}
			}
			all = append(all, p)
		}
	}
	return all
}

func TestOperationsPage_commandsWork(t *testing.T) {
	t.Parallel()
	all := procedures(t)
	const least = 8
	if len(all) < least {
		t.Errorf("the page has %d procedures, want %d or more", len(all), least)
	}
	for _, p := range all {
		if p.setting == "install" || p.setting == "grants" { // tests of their own have them
			continue
		}
		t.Run(p.heading, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			o.prepare(p.setting)
			o.follow(p.commands)
		})
	}
}

// systemctl stands in for systemd: it starts the server in the environment of the one who calls it,
// waits until it is ready, and stops it as systemd does.
const systemctl = `#!/bin/sh
set -e
case $1 in
start)
	cartwheel serve --demo --drain-timeout 5s >>"$HOME/log" 2>&1 &
	echo $! >"$HOME/pid"
	for try in $(seq 300); do
		if cartwheel healthcheck >/dev/null 2>&1; then exit 0; fi
		sleep 0.1
	done
	cat "$HOME/log"; exit 1 ;;
stop)
	pid=$(cat "$HOME/pid"); rm "$HOME/pid"; kill "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done ;;
esac
`

func newOperator(t *testing.T) *operator {
	t.Helper()
	dir := t.TempDir()
	o := &operator{t: t, dir: dir}
	programs := filepath.Join(dir, "bin")
	if err := os.Mkdir(programs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(programs, "cartwheel")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(programs, "systemctl"), []byte(systemctl), 0o700); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	o.env = append(cleanEnvironment(), "HOME="+dir, "PATH="+programs+":"+os.Getenv("PATH"),
		"DATA_DIR="+filepath.Join(dir, "data"), "LISTEN_ADDR="+address, "ADMIN_ADDR=", "LC_ALL=C.UTF-8")
	t.Cleanup(func() {
		// What a failed procedure left running.
		_, _ = o.sh(context.Background(), `if [ -f pid ]; then kill -9 $(cat pid); fi`)
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("the servers' log:\n%s", log)
		}
	})
	return o
}

// sh runs a script.
func (o *operator) sh(ctx context.Context, script string) (string, error) {
	// Into a file: a server that the script leaves running would keep a pipe open.
	out, err := os.CreateTemp(o.dir, "output")
	if err != nil {
		return "", err
	}
	defer func() { _ = out.Close() }()
	command := exec.CommandContext(ctx, "sh")
	command.Dir, command.Env = o.dir, o.env
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(script), out, out
	err = command.Run()
	said, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		return "", readErr
	}
	return string(said), err
}

func (o *operator) must(script string) {
	o.t.Helper()
	if said, err := o.sh(o.t.Context(), "set -e\n"+script); err != nil {
		o.t.Fatalf("%s: %v\n%s", script, err, said)
	}
}

// prepare makes what a procedure starts from: a shop in which ann has bought, and bob is about to.
func (o *operator) prepare(setting string) {
	o.t.Helper()
	if setting == "mysql" || setting == "move" || setting == "old system" {
		server := databasetest.StartServer(o.t)
		host, port, _ := net.SplitHostPort(server.Address())
		client := fmt.Sprintf("[client]\nhost=%s\nport=%s\nuser=root\nprotocol=tcp\n", host, port)
		if err := os.WriteFile(filepath.Join(o.dir, ".my.cnf"), []byte(client), 0o600); err != nil {
			o.t.Fatal(err)
		}
		o.dsn = server.TCPDSN("shop")
		if setting != "move" {
			o.env = append(o.env, "MYSQL_DSN="+o.dsn)
		}
	}
	if setting == "old system" {
		o.must(`mariadb <<'SQL'
CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE shop;
CREATE TABLE client_cart (client_id varchar(100) NOT NULL, product_id varchar(100) NOT NULL, quantity int, PRIMARY KEY (client_id, product_id));
CREATE TABLE product_details (product_id varchar(100) NOT NULL PRIMARY KEY, product_name varchar(100), quantity int);
CREATE TABLE reserve_purchase (reserve_id varchar(100) NOT NULL PRIMARY KEY, product_id varchar(100), quantity int);
INSERT INTO product_details VALUES ('mug', 'Mug', 12), ('lamp', 'Lamp', -3);
INSERT INTO client_cart VALUES ('ann', 'mug', 2);
INSERT INTO reserve_purchase VALUES ('token', 'mug', 5);
SQL`)
		return
	}
	o.must(`systemctl start
post() { curl --silent --fail "$LISTEN_ADDR/$1" -H 'Content-Type: application/json' -H "Idempotency-Key: $2" -d "$3"; }
curl --silent --fail $LISTEN_ADDR/addToCart -H 'Content-Type: application/json' -d '{"clientID": "ann", "productID": "mug", "quantity": 2}'
curl --silent --fail $LISTEN_ADDR/addToCart -H 'Content-Type: application/json' -d '{"clientID": "ann", "productID": "kettle", "quantity": 1}'
curl --silent --fail $LISTEN_ADDR/addToCart -H 'Content-Type: application/json' -d '{"clientID": "bob", "productID": "mug", "quantity": 1}'
post checkOutCart order-1 '{"clientID": "ann"}'`)
	switch setting {
	case "import":
		o.must(`printf 'product_id,product_name,quantity\nmug,Mug,500\njug,Jug,a dozen\nlamp,Lamp,60\n' >products.csv`)
	case "embedded, with a hold that nobody owns":
		db := databasetest.Open(o.t, database.Config{DataDir: filepath.Join(o.dir, "data")})
		if _, err := db.Setup().ExecContext(o.t.Context(), "INSERT INTO reserve_purchase VALUES ('by-hand', 'mug', 5)"); err != nil {
			o.t.Fatal(err)
		}
	case "embedded", "mysql", "move":
	default:
		o.t.Fatalf("the page names a setting that is unknown here: %s", setting)
	}
}

// follow runs a procedure's commands in one shell, and compares what each says with the page.
func (o *operator) follow(commands []documentedCommand) {
	o.t.Helper()
	const marker = "=== status of command"
	var script strings.Builder
	for i, c := range commands {
		fmt.Fprintf(&script, "%s\necho \"%s %d: $?\"\n", strings.ReplaceAll(c.text, documentedDSN, o.dsn), marker, i)
	}
	script.WriteString("if [ -f \"$HOME/pid\" ]; then systemctl stop; fi\n")
	ctx, cancel := context.WithTimeout(o.t.Context(), 2*time.Minute)
	defer cancel()
	said, err := o.sh(ctx, script.String())
	if err != nil {
		o.t.Errorf("the shell: %v", err)
	}
	for i, c := range commands {
		got, rest, found := strings.Cut(said, fmt.Sprintf("%s %d: ", marker, i))
		if !found {
			o.t.Fatalf("$ %s\ndid not end:\n%s", c.text, said)
		}
		status, rest, _ := strings.Cut(rest, "\n")
		said = rest
		got = strings.TrimRight(got, "\n")
		wantStatus := "0"
		if strings.HasSuffix(c.text, "  # exit status 1") {
			wantStatus = "1"
		}
		if status != wantStatus || !matches(c.want, got) {
			o.t.Errorf("$ %s\nstatus %s, got:\n%s\nwant:\n%s", c.text, status, got, c.want)
		}
	}
}

// matches compares what a command said with the page, in which … stands for anything.
func matches(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", "(?s:.*)")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}
