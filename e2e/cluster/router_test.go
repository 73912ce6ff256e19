package cluster

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

const routerPassword = "change me" // as deploy/mysqlrouter-metadata.sql says

// A front is a proxy before a group that follows its primary: MySQL Router or HAProxy.
type front struct {
	*process
	address string
}

// newRouter makes Router's metadata in a group and starts Router.
// MySQL Router runs with deploy/mysqlrouter.conf.
func newRouter(g *group) front {
	g.t.Helper()
	mysqlrouter := findRouter(g.t)
	metadata, err := os.ReadFile("../../deploy/mysqlrouter-metadata.sql")
	if err != nil {
		g.t.Fatal(err)
	}
	statements := strings.Split(strings.TrimSuffix(strings.TrimSpace(string(metadata)), ";"), ";\n")
	if err := execute(g.nodeDSN(g.writer()), statements...); err != nil {
		g.t.Fatal(err)
	}

	dir := g.t.TempDir()
	g.writeState(filepath.Join(dir, "state.json"))
	keyring, key := filepath.Join(dir, "keyring"), filepath.Join(dir, "master-key")
	makeKeyring(g.t, filepath.Join(filepath.Dir(mysqlrouter), "mysqlrouter_keyring"), keyring, key)
	address := freeAddress(g.t)
	_, port, _ := net.SplitHostPort(address) // an address of ours
	args := []string{mysqlrouter, "--config=../../deploy/mysqlrouter.conf", "--routing:primary.bind_port=" + port}
	for name, path := range map[string]string{"data_folder": dir, "runtime_folder": dir, "keyring_path": keyring, "master_key_path": key,
		"dynamic_state": filepath.Join(dir, "state.json")} {
		args = append(args, "--DEFAULT."+name+"="+path)
	}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	return g.startFront(newProcess(g.t, "mysqlrouter", nil, args...), address)
}

// newGroupBalancer starts HAProxy with deploy/haproxy-db-group.cfg.
func newGroupBalancer(g *group) front {
	g.t.Helper()
	address := freeAddress(g.t)
	env := []string{"LISTEN=" + address}
	for i, node := range g.nodes {
		env = append(env, fmt.Sprintf("NODE%d=%s", i+1, node.Address()))
	}
	haproxy := newProcess(g.t, "haproxy before the group", env, program(g.t, "haproxy"), "-f", "../../deploy/haproxy-db-group.cfg")
	return g.startFront(haproxy, address)
}

// startFront starts a proxy and waits until it has tried all nodes: HAProxy takes each for UP until
// then.
func (g *group) startFront(p *process, address string) front {
	g.t.Helper()
	p.start()
	probe := openAdmin(g.t, "root@tcp("+address+")/")
	probe.SetMaxIdleConns(-1) // a connection for each question
	writable := 0
	eventually(g.t, 20*time.Second, p.name+" has found the primary", func() bool {
		var readOnly bool
		if err := probe.QueryRowContext(g.t.Context(), "SELECT @@super_read_only").Scan(&readOnly); err != nil || readOnly {
			writable = 0
		} else {
			writable++
		}
		return writable > 2*size
	})
	return front{p, address}
}

// findRouter returns the mysqlrouter that MYSQLROUTER names, the system's, or the one that mysql.sh
// unpacked.
func findRouter(t *testing.T) string {
	t.Helper()
	if named := os.Getenv("MYSQLROUTER"); named != "" {
		return named
	}
	if path, err := exec.LookPath("mysqlrouter"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	unpacked, _ := filepath.Glob(filepath.Join(cache, "cartwheel", "mysqlrouter-*", "mysqlrouter")) // the pattern is valid
	if len(unpacked) == 0 {
		databasetest.SkipUnlessCI(t, "there is no mysqlrouter: make mysqlrouter unpacks it")
	}
	return unpacked[0]
}

// writeState names the nodes to Router.
func (g *group) writeState(path string) {
	g.t.Helper()
	var servers []string
	for _, node := range g.nodes {
		servers = append(servers, "mysql://"+node.Address())
	}
	state, err := json.Marshal(map[string]any{"version": "1.0.0",
		"metadata-cache": map[string]any{"group-replication-id": groupName, "cluster-metadata-servers": servers}})
	if err == nil {
		err = os.WriteFile(path, state, 0o600)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func makeKeyring(t *testing.T, program, keyring, key string) {
	t.Helper()
	for _, args := range [][]string{{"init", keyring}, {"set", keyring, "router", "password"}} {
		command := exec.CommandContext(t.Context(), program, append(args, "--master-key-file="+key)...)
		command.Stdin = strings.NewReader(routerPassword + "\n")
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", program, args, err, out)
		}
	}
}
