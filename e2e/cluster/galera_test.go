package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

//nolint:paralleltest // it has the machine to itself
func TestGalera_guaranteesHoldThroughFaults(t *testing.T) {
	g := newGalera(t)
	defer g.close()
	if *soak {
		t.Run("documented commands", followPage)
	}
	runFaults(t, g, append(faults, g.faults()...))
}

// A galera is three nodes of MariaDB Galera on loopback behind HAProxy, with one writer.
type galera struct {
	t        *testing.T
	dir      string
	servers  [size]*galeraNode
	balancer *balancer
}

type galeraNode struct {
	*process
	address string
}

// provider is where Debian's galera-4 has the library.
const provider = "/usr/lib/galera/libgalera_smm.so"

// galeraSuspect is evs.suspect_timeout.
const galeraSuspect = 2 * time.Second

func newGalera(t *testing.T) *galera {
	t.Helper()
	for _, needed := range []string{"mariadbd", "mariadb-install-db", "mariadb-backup", "socat"} {
		program(t, needed)
	}
	if _, err := os.Stat(provider); err != nil {
		program(t, provider) // says that it is missing
	}
	g := &galera{t: t, dir: t.TempDir()}
	var members, addresses [size]string
	for i := range size {
		members[i], addresses[i] = freeAddress(t), freeAddress(t)
	}
	for i := range g.servers {
		config := g.data(i) + ".cnf"
		if err := os.Mkdir(g.data(i)+".tmp", 0o700); err != nil {
			t.Fatal(err)
		}
		g.configure(config, i, members, addresses[i])
		g.servers[i] = &galeraNode{address: addresses[i],
			process: newProcess(t, fmt.Sprint("node ", i+1), nil, program(t, "mariadbd"), "--defaults-file="+config)}
	}
	g.initialize()
	g.balancer = newBalancer(t, "../../deploy/haproxy-db.cfg", addresses)
	eventually(t, 20*time.Second, "the load balancer has a writer", func() bool {
		return execute(g.proxyDSN(), "DO 1") == nil && g.balancer.writer() >= 0
	})
	return g
}

// configure writes a node's configuration: deploy/galera.cnf, filled in.
func (g *galera) configure(path string, i int, members [size]string, address string) {
	g.t.Helper()
	current, err := user.Current()
	if err != nil {
		g.t.Fatal(err)
	}
	template, err := os.ReadFile("../../deploy/galera.cnf")
	if err != nil {
		g.t.Fatal(err)
	}
	filled := strings.NewReplacer("@USER@", current.Username, "@DIR@", g.dir, "@NODE@", strconv.Itoa(i+1), "@HOST@", "127.0.0.1",
		"@PORT@", portOf(address), "@MEMBERS@", strings.Join(members[:], ","), "@GROUP_PORT@", portOf(members[i]),
		"@SST_PORT@", portOf(freeAddress(g.t)), "@IST_PORT@", portOf(freeAddress(g.t))).Replace(string(template))
	if err := os.WriteFile(path, []byte(filled), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func portOf(address string) string { return address[strings.LastIndex(address, ":")+1:] }

// data is a node's data directory.
func (g *galera) data(i int) string { return filepath.Join(g.dir, fmt.Sprint("n", i+1)) }

// initialize creates the first node's data, and copies them: a state transfer takes 13 s.
func (g *galera) initialize() {
	g.t.Helper()
	first := g.servers[0]
	g.run(program(g.t, "mariadb-install-db"), first.command[1],
		"--auth-root-authentication-method=normal", "--skip-test-db", "--wsrep-on=OFF")
	first.start("--wsrep-new-cluster")
	g.await(0)
	if err := execute(g.socketDSN(0), "CREATE USER haproxy@'%'"); err != nil {
		g.t.Fatal(err)
	}
	first.stop()
	for i := 1; i < size; i++ {
		g.run("cp", "-a", g.data(0), g.data(i))
	}
	first.start("--wsrep-new-cluster")
	g.await(0)
	for i := 1; i < size; i++ {
		g.start(i)
	}
}

func (g *galera) run(name string, args ...string) {
	g.t.Helper()
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		g.t.Fatalf("%s: %v\n%s", name, err, output)
	}
}

func (g *galera) socketDSN(i int) string { return "root@unix(" + g.data(i) + ".sock)/" }

func (g *galera) proxyDSN() string     { return "root@tcp(" + g.balancer.address + ")/" }
func (g *galera) nodeDSN(i int) string { return "root@tcp(" + g.servers[i].address + ")/" }
func (g *galera) limits() limits       { return limits{suspect: galeraSuspect, heal: 4 * time.Second} }

func (g *galera) writer() int {
	var writer int
	eventually(g.t, 20*time.Second, "there is a writer", func() bool {
		writer = g.balancer.writer()
		return writer >= 0
	})
	return writer
}

// status is one of a node's status variables, or nothing.
func (g *galera) status(i int, name string) string {
	db, err := sql.Open("mysql", g.socketDSN(i)+"?timeout=1s&readTimeout=1s")
	if err != nil {
		g.t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // its server may be gone
	var value string
	_ = db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &value) // the server may be gone
	return value
}

// await waits until a node has joined the cluster and has all of its data.
func (g *galera) await(i int) {
	g.t.Helper()
	const synced = "4"
	eventually(g.t, 90*time.Second, g.servers[i].name+" is synced", func() bool {
		if g.servers[i].gone() {
			g.t.Fatalf("%s ended:\n%s", g.servers[i].name, lastLines(g.servers[i].output(), 30))
		}
		// A node that was paused may not know yet that it was expelled: a causal read fails then.
		return g.status(i, "wsrep_local_state") == synced && g.status(i, "wsrep_cluster_status") == "Primary" &&
			execute(g.socketDSN(i)+"?readTimeout=1s", "SET SESSION wsrep_sync_wait = 1", "SELECT 1") == nil
	})
}

func (g *galera) kill(i int)  { g.servers[i].kill() }
func (g *galera) pause(i int) { g.servers[i].signal(syscall.SIGSTOP) }

func (g *galera) resume(i int) {
	g.servers[i].signal(syscall.SIGCONT)
	g.await(i)
}

func (g *galera) isolate(i int) { g.setIsolation(i, 1) }

func (g *galera) rejoin(i int) {
	g.setIsolation(i, 0)
	g.await(i)
}

// setIsolation makes the node's group communication drop its connections, and accept none.
func (g *galera) setIsolation(i, isolated int) {
	g.t.Helper()
	if err := execute(g.socketDSN(i), fmt.Sprintf("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=%d'", isolated)); err != nil {
		g.t.Fatal(err)
	}
}

var recovered = regexp.MustCompile(`Recovered position: (\S+)`)

// start gives a node that was killed its last position, as galera_recovery does for systemd: so it
// asks for what it missed, and not for everything.
func (g *galera) start(i int) {
	g.t.Helper()
	server := g.servers[i]
	output, _ := exec.Command(server.command[0], append(server.command[1:], "--wsrep-recover")...).CombinedOutput() // an empty directory has none
	if position := recovered.FindSubmatch(output); position != nil {
		server.start("--wsrep-start-position=" + string(position[1]))
	} else {
		server.start()
	}
	g.await(i)
}

func (g *galera) wipe(i int) {
	g.t.Helper()
	if err := os.RemoveAll(g.data(i)); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Mkdir(g.data(i), 0o700); err != nil {
		g.t.Fatal(err)
	}
}

// stop takes a node from the load balancer, and shuts it down.
func (g *galera) stop(i int) {
	g.t.Helper()
	g.setServer(i, "maint")
	g.servers[i].stop()
	g.setServer(i, "ready")
}

// setServer is an operator's command to the load balancer.
func (g *galera) setServer(i int, state string) {
	g.t.Helper()
	answer, err := g.balancer.command("set server nodes/" + []string{"one", "two", "three"}[i] + " state " + state)
	if err != nil || strings.TrimSpace(answer) != "" {
		g.t.Fatalf("set node %d to %s: %s %v", i+1, state, answer, err)
	}
}

func (g *galera) close() {
	for _, server := range g.servers {
		if server.running != nil {
			server.kill()
		}
	}
	g.balancer.kill()
}

// faults are those of this cluster alone.
func (g *galera) faults() []fault {
	return []fault{
		{name: "writer paused, and the load balancer moved on at once", repeat: 2, do: func(s *shop) time.Duration {
			writer := g.writer()
			g.pause(writer)
			g.setServer(writer, "maint")
			wait(context.Background(), galeraSuspect-500*time.Millisecond)
			g.resume(writer)
			took := s.load.heals(galeraSuspect + time.Second)
			g.setServer(writer, "ready")
			return took
		}},
		{name: "load balancer reloaded", do: func(s *shop) time.Duration {
			writer := g.writer()
			g.balancer.signal(syscall.SIGUSR2)
			wait(context.Background(), 2*time.Second)
			took := s.load.heals(time.Second)
			if now := g.writer(); now != writer {
				s.t.Errorf("node %d is the writer after the reload, want %d", now+1, writer+1)
			}
			return took
		}},
	}
}
