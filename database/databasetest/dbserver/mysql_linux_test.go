package dbserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cartwheel/database/databasetest"
)

// TestScript_completesCacheWithoutRouter runs mysql.sh with a cache that has a server, and packages
// that are made up.
func TestScript_completesCacheWithoutRouter(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("apt-get"); err != nil {
		databasetest.SkipUnlessCI(t, "the script unpacks packages of Debian only")
	}
	cache, programs := t.TempDir(), t.TempDir()
	server := filepath.Join(cache, "cartwheel", "mysql-9.7", "mysqld")
	const version = "#!/bin/sh\necho \"$0 Ver 9.7.4\"\n"
	script(t, server, version)
	calls := filepath.Join(programs, "calls")
	script(t, filepath.Join(programs, "apt-get"), `#!/bin/sh
echo "$@" >>`+calls+`
for word; do case $word in Dir::Cache=*) : >"${word#*=}/archives/mysql-router.deb" ;; esac; done
`)
	script(t, filepath.Join(programs, "dpkg-deb"), `#!/bin/sh
loader=$3/usr/lib/$(uname -m)-linux-gnu/ld-linux-test.so.2
mkdir -p "$(dirname "$loader")"
printf '#!/bin/sh\necho Ver 9.7.4\n' >"$loader"
chmod +x "$loader"
`)
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "bash", append([]string{"mysql.sh"}, arguments...)...)
		command.Env = []string{"PATH=" + programs + ":/usr/bin:/bin", "XDG_CACHE_HOME=" + cache, "HOME=" + cache}
		output, err := command.Output()
		if err != nil {
			t.Fatalf("mysql.sh %v: %v", arguments, err)
		}
		return strings.TrimSpace(string(output))
	}

	if got := run(); got != server {
		t.Errorf("the server is %s, want the cache's, %s", got, server)
	}
	if _, err := os.Stat(calls); err == nil {
		t.Error("packages were asked for although the cache has the server")
	}
	router := filepath.Join(cache, "cartwheel", "mysqlrouter-9.7", "mysqlrouter")
	if got := run("mysqlrouter"); got != router {
		t.Errorf("Router is %s, want %s", got, router)
	}
	once := read(t, calls)
	if !strings.Contains(once, "install mysql-router=9.7*") {
		t.Errorf("apt-get was called with %q, want mysql-router to be downloaded", once)
	}
	if got := read(t, server); got != version {
		t.Errorf("the cached server became %q", got)
	}
	if got := run("mysqlrouter"); got != router || read(t, calls) != once {
		t.Errorf("a repeat is not the same (%s) or called apt-get", got)
	}
}

func script(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
