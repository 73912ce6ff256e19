package e2e

import (
	"database/sql"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"cartwheel/database/databasetest"
)

// service stands in for systemctl: it starts what the installed unit says, in the environment that
// systemd would read from it, which has nothing of the shell's.
const service = `#!/bin/sh
set -e
unit=$ROOT/etc/systemd/system/cartwheel.service
case $1 in
enable)
	set -- $(sed -n 's/^Environment=//p' "$unit")
	while IFS= read -r line; do
		case $line in
		[A-Z]*=\'*\') value=${line#*=\'}; set -- "$@" "${line%%=*}=${value%\'}" ;;
		[A-Z]*) echo "not quoted: $line"; exit 1 ;;
		esac
	done <"$(sed -n 's/^EnvironmentFile=//p' "$unit")"
	env -i "$@" $(sed -n 's/^ExecStart=//p' "$unit") >>"$HOME/log" 2>&1 &
	echo $! >"$HOME/pid"
	for try in $(seq 300); do
		if cartwheel healthcheck >/dev/null 2>&1; then exit 0; fi
		sleep 0.1
	done
	cat "$HOME/log"; exit 1 ;;
stop) kill "$(cat "$HOME/pid")"; rm "$HOME/pid" ;;
esac
`

// inRoot gives the installed files' paths a root of their own.
func inRoot(text, root string) string {
	return regexp.MustCompile(`(^|[\s='])(/(?:usr/local/bin|etc|var/lib)/)`).ReplaceAllString(text, "${1}"+root+"$2")
}

// write writes a file, and its folder.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestInstall_pageUnitAndSettingsFit(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	at := slices.IndexFunc(procedures(t), func(p procedure) bool { return p.setting == "install" })
	if at < 0 {
		t.Fatal("the page does not say how to install")
	}
	p := procedures(t)[at]
	root := o.dir
	var address string
	o.env = slices.DeleteFunc(o.env, func(variable string) bool {
		if strings.HasPrefix(variable, "LISTEN_ADDR=") {
			address = strings.TrimPrefix(variable, "LISTEN_ADDR=")
		}
		return strings.HasPrefix(variable, "DATA_DIR=") || strings.HasPrefix(variable, "LISTEN_ADDR=")
	})
	o.env = append(o.env, "ROOT="+root, "PATH="+root+"/usr/local/bin:"+root+"/bin:"+os.Getenv("PATH"))
	write(t, root+"/bin/systemctl", service, 0o700)
	if err := os.Remove(root + "/bin/cartwheel"); err != nil {
		t.Fatal(err)
	}
	write(t, root+"/cartwheel", readFile(t, binary), 0o700)
	settings := inRoot(readFile(t, "../deploy/cartwheel.env"), root) + "LISTEN_ADDR='" + address + "'\nADMIN_ADDR=''\n"
	write(t, root+"/deploy/cartwheel.env", settings, 0o600)
	write(t, root+"/deploy/cartwheel.service", inRoot(readFile(t, "../deploy/cartwheel.service"), root), 0o600)
	write(t, root+"/etc/empty", "", 0o600)
	for i := range p.commands {
		p.commands[i].text = inRoot(p.commands[i].text, root)
	}
	o.follow(p.commands)
	if info, err := os.Stat(root + "/etc/cartwheel.env"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secrets' file: %v, error %v", info, err)
	}
	if _, err := os.Stat(root + "/var/lib/cartwheel/cartwheel.db"); err != nil {
		t.Errorf("the server's data are elsewhere: %v", err)
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		said, err := exec.CommandContext(t.Context(), analyze, "verify", root+"/etc/systemd/system/cartwheel.service").CombinedOutput()
		if err != nil || len(said) > 0 {
			t.Errorf("systemd-analyze verify: %v\n%s", err, said)
		}
	}
}

func TestInstall_shellAndSystemdReadTheSameSettings(t *testing.T) {
	t.Parallel()
	setting := regexp.MustCompile(`^#?([A-Z_]+)='([^'\\]*)'$`)
	var script, want strings.Builder
	for line := range strings.Lines(readFile(t, "../deploy/cartwheel.env")) {
		line = strings.TrimSuffix(line, "\n")
		found := setting.FindStringSubmatch(line)
		switch {
		case found != nil:
			script.WriteString(strings.TrimPrefix(line, "#") + "\n")
			want.WriteString(found[1] + "=" + found[2] + "\n")
		case !strings.HasPrefix(line, "#") || strings.HasPrefix(line, "#  ") && !strings.HasPrefix(line, "#   "):
			t.Errorf("neither a comment nor NAME='value': %s", line)
		}
	}
	names := regexp.MustCompile(`(?m)=.*$`).ReplaceAllString(want.String(), "")
	command := exec.CommandContext(t.Context(), "sh", "-c", "set -a\n"+script.String()+"set +a\nfor name in "+
		strings.ReplaceAll(names, "\n", " ")+"; do echo \"$name=$(printenv $name)\"; done")
	if got, err := command.CombinedOutput(); err != nil || string(got) != want.String() {
		t.Errorf("a shell reads, error %v:\n%swant:\n%s", err, got, &want)
	}
}

func TestGrants_leastSuffices(t *testing.T) {
	t.Parallel()
	grants := regexp.MustCompile(`(?m)^GRANT .*;$`).FindAllString(readFile(t, "../docs/operations.md"), -1)
	if len(grants) != 2 {
		t.Fatalf("the page has the grants %q, want those to serve and those to migrate", grants)
	}
	databasetest.EachPrivateServer(t, func(t *testing.T, server *databasetest.Server) {
		root, err := sql.Open("mysql", server.TCPDSN(""))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		as := func(user string, grants ...string) store {
			t.Helper()
			statements := []string{"CREATE DATABASE IF NOT EXISTS shop", "CREATE USER " + user + " IDENTIFIED BY 'password'"}
			for _, grant := range grants {
				statements = append(statements, strings.ReplaceAll(grant, "TO cartwheel", "TO "+user))
			}
			for _, statement := range statements {
				if _, err := root.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			_, port, _ := net.SplitHostPort(server.Address())
			return store{flags: []string{"--mysql-dsn", user + ":password@tcp(127.0.0.1:" + port + ")/shop"}}
		}
		serving := as("serving", grants[0])
		if _, errs, status := run(t, serving, nil, "migrate", "up"); status == 0 {
			t.Errorf("who may not create tables has created them: %s", errs)
		}
		if _, errs, status := run(t, as("migrating", grants...), nil, "migrate", "up"); status != 0 {
			t.Fatalf("migrate: %s", errs)
		}
		for privilege := range strings.SplitSeq(strings.TrimPrefix(strings.Split(grants[1], " ON ")[0], "GRANT "), ", ") {
			if _, err := root.ExecContext(t.Context(), "DROP DATABASE shop"); err != nil {
				t.Fatal(err)
			}
			fewer := strings.NewReplacer(privilege+", ", "", ", "+privilege, "").Replace(grants[1])
			if _, _, status := run(t, as("without"+privilege, grants[0], fewer), nil, "migrate", "up"); status == 0 {
				t.Errorf("%s is not needed to migrate", privilege)
			}
		}
		if _, err := root.ExecContext(t.Context(), "DROP DATABASE shop"); err != nil {
			t.Fatal(err)
		}
		if _, errs, status := run(t, as("again", grants...), nil, "migrate", "up"); status != 0 {
			t.Fatalf("migrate: %s", errs)
		}
		shop := start(t, serving)
		serving.stock(t, map[string]int{"mug": 5})
		for _, r := range []request{addition("ann", "mug", 2), purchase("ann").withKey("1"), addition("bob", "mug", 1), merge("bob", "ann")} {
			if got := shop.send(t.Context(), r); got.Code != 200 {
				t.Errorf("%s is answered %v", r.path, got)
			}
		}
		for _, command := range []string{"audit", "audit --repair", "stock list", "checkouts list", "checkouts prune", "events replay --since 1d", "config check"} {
			if out, errs, status := run(t, serving, nil, strings.Fields(command)...); status != 0 || strings.Contains(errs, "WARN") {
				t.Errorf("%s: status %d: %s%s", command, status, out, errs)
			}
		}
		if log := shop.log.String(); strings.Contains(log, "denied") {
			t.Errorf("the server is denied something:\n%s", log)
		}
	})
}
