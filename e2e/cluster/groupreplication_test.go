package cluster

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

const (
	// groupName is that of deploy/mysql-group.cnf.
	groupName = "c0ffee00-0000-4000-8000-000000000001"
	// joinTimeout is the maximum time until a node has joined the group, with a clone.
	joinTimeout = 2 * time.Minute
	// groupSuspect is the time of silence after which the others expel a node.
	groupSuspect = 5 * time.Second
	// askTimeout is the maximum time of a question to a node, which may be paused.
	askTimeout = 500 * time.Millisecond
)

// groupSettings are those of every node, beside its addresses: those of deploy/mysql-group.cnf and
// what the test needs.
func groupSettings(t *testing.T) (options []string) {
	t.Helper()
	shipped, err := os.ReadFile("../../deploy/mysql-group.cnf")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(shipped)) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), " = "); found && !strings.HasPrefix(name, "#") {
			options = append(options, "--"+name+"="+value)
		}
	}
	return append(options, "--report-host=127.0.0.1",
		// The test starts each node's replication itself, to bootstrap the first.
		"--loose-group-replication-start-on-boot=OFF",
		// It reads who connects to whom.
		"--loose-group-replication-ssl-mode=DISABLED",
		"--loose-group-replication-recovery-get-public-key=ON")
}

// A group is three nodes of MySQL Group Replication and a proxy that follows the primary.
type group struct {
	t     *testing.T
	nodes []*dbserver.Server
	links *groupLinks
	data  [size]string // directories
	admin []*sql.DB
	front front
}

func newGroup(t *testing.T, newFront func(g *group) front) *group {
	t.Helper()
	g := &group{t: t, links: newGroupLinks(t)}
	t.Cleanup(g.close)
	for i := range size {
		server, err := dbserver.New(dbserver.Config{Flavour: dbserver.MySQL, TCP: true,
			Options: append(groupSettings(t), fmt.Sprint("--server-id=", i+1))})
		if err != nil {
			databasetest.SkipUnlessCI(t, err.Error())
		}
		g.nodes = append(g.nodes, server)
		if err := g.links.listen(i, server.Address()); err != nil {
			t.Fatal(err)
		}
		g.admin = append(g.admin, openAdmin(t, server.TCPDSN("")))
	}
	var starting sync.WaitGroup
	for i := range g.nodes {
		starting.Go(func() {
			if err := g.prepare(i); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	g.exec(0, "SET GLOBAL group_replication_bootstrap_group = ON")
	g.join(0)
	g.exec(0, "SET GLOBAL group_replication_bootstrap_group = OFF")
	for i := 1; i < size; i++ {
		g.join(i)
	}
	g.front = newFront(g)
	return g
}

// prepare starts a server. One without data becomes a node that is not in the group yet, with the
// accounts of nodes and of HAProxy.
func (g *group) prepare(i int) error {
	_, err := os.Stat(g.data[i])
	exists := err == nil
	if err := g.nodes[i].Start(); err != nil || exists {
		return err
	}
	// Each node makes its own accounts, which are no transactions of the group.
	statements := []string{
		"SET SESSION sql_log_bin = 0", "CREATE USER haproxy@'127.0.0.1'",
		"GRANT SELECT ON performance_schema.replication_group_members TO haproxy@'127.0.0.1'",
	}
	for node := range size {
		statements = append(statements, fmt.Sprintf("CREATE USER %s@'127.0.0.1' IDENTIFIED BY 'secret'", groupUser(node)),
			fmt.Sprintf("GRANT REPLICATION SLAVE, CONNECTION_ADMIN, BACKUP_ADMIN, GROUP_REPLICATION_STREAM ON *.* TO %s@'127.0.0.1'", groupUser(node)))
	}
	if err := execute(g.nodeDSN(i), statements...); err != nil {
		return err
	}
	return g.admin[i].QueryRowContext(g.t.Context(), "SELECT @@datadir").Scan(&g.data[i])
}

// groupAddress is where other nodes find a node.
func (g *group) groupAddress(i int) string {
	_, port, _ := net.SplitHostPort(g.nodes[i].Address()) // an address of ours
	return net.JoinHostPort(groupHost, port)
}

func (g *group) exec(i int, statement string, args ...any) {
	g.t.Helper()
	if _, err := g.admin[i].ExecContext(g.t.Context(), statement, args...); err != nil {
		g.t.Fatalf("node %d: %s: %v", i, statement, err)
	}
}

// join adds a running node to the group and waits until it is ONLINE. A node that was cloned ends
// its server, as one without a supervisor does, and is started again.
func (g *group) join(i int) {
	g.t.Helper()
	g.startReplication(i)
	eventually(g.t, joinTimeout, fmt.Sprintf("node %d has joined", i), func() bool {
		if g.nodes[i].Gone() {
			if err := g.nodes[i].Start(); err != nil {
				g.t.Fatal(err)
			}
			g.startReplication(i)
		}
		return g.isOnline(i, i)
	})
}

// await waits until a node is ONLINE, as itself and another node say: one that was expelled learns
// it late.
func (g *group) await(i int) {
	g.t.Helper()
	eventually(g.t, joinTimeout, fmt.Sprintf("node %d is back", i), func() bool {
		return g.isOnline(i, i) && (g.isOnline((i+1)%size, i) || g.isOnline((i+2)%size, i))
	})
}

func (g *group) startReplication(i int) {
	g.t.Helper()
	var seeds []string
	for node := range g.nodes {
		seeds = append(seeds, g.groupAddress(node))
	}
	g.exec(i, "SET GLOBAL group_replication_local_address = ?", seeds[i])
	g.exec(i, "SET GLOBAL group_replication_group_seeds = ?", strings.Join(seeds, ","))
	// The group refuses a node that was killed until it has expelled the node's old process.
	eventually(g.t, joinTimeout, fmt.Sprintf("node %d may join", i), func() bool {
		const notConfigured = 3092
		err := execute(g.nodeDSN(i), fmt.Sprintf("START GROUP_REPLICATION USER = '%s', PASSWORD = 'secret'", groupUser(i)))
		var refusal *mysql.MySQLError
		if err != nil && (!errors.As(err, &refusal) || refusal.Number != notConfigured) {
			g.t.Fatalf("start replication on node %d: %v", i, err)
		}
		return err == nil
	})
}

// isOnline reports whether a node says that another one, or itself, is ONLINE.
func (g *group) isOnline(asked, node int) (online bool) {
	_, port, _ := net.SplitHostPort(g.nodes[node].Address()) // an address of ours
	return g.ask(asked, "SELECT COUNT(*) FROM performance_schema.replication_group_members"+
		" WHERE member_port = ? AND member_state = 'ONLINE'", port)
}

// isWriter reports whether a node takes writes: it is a primary among a majority.
func (g *group) isWriter(i int) bool {
	return g.ask(i, `SELECT NOT @@super_read_only AND SUM(member_id = @@server_uuid AND member_role = 'PRIMARY' AND member_state = 'ONLINE') = 1
		AND 2 * SUM(member_state <> 'UNREACHABLE') > COUNT(*) FROM performance_schema.replication_group_members`)
}

// ask returns a node's answer to a question, or false when it has none in time.
func (g *group) ask(i int, query string, args ...any) (answer bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.t.Context()), askTimeout)
	defer cancel()
	return g.admin[i].QueryRowContext(ctx, query, args...).Scan(&answer) == nil && answer
}

// writer waits until a node takes writes, and returns its number.
func (g *group) writer() (node int) {
	g.t.Helper()
	eventually(g.t, joinTimeout, "a node takes writes", func() bool {
		for node = range size {
			if g.isWriter(node) {
				return true
			}
		}
		return false
	})
	return node
}

func (g *group) proxyDSN() string { return "root@tcp(" + g.front.address + ")/" }

func (g *group) nodeDSN(i int) string { return g.nodes[i].TCPDSN("") }

func (g *group) limits() limits { return limits{suspect: groupSuspect, heal: 9 * time.Second} }

func (g *group) kill(i int) { g.nodes[i].Kill() }

func (g *group) pause(i int) { g.signal(i, syscall.SIGSTOP) }

func (g *group) resume(i int) {
	g.signal(i, syscall.SIGCONT)
	g.await(i)
}

func (g *group) signal(i int, signal syscall.Signal) {
	g.t.Helper()
	if err := syscall.Kill(g.nodes[i].PID(), signal); err != nil {
		g.t.Fatalf("node %d: %v: %v", i, signal, err)
	}
}

func (g *group) isolate(i int) { g.links.isolate(i, true) }

func (g *group) rejoin(i int) {
	g.links.isolate(i, false)
	g.await(i)
}

func (g *group) start(i int) {
	g.t.Helper()
	_, err := os.Stat(g.data[i])
	wiped := errors.Is(err, os.ErrNotExist)
	if err := g.prepare(i); err != nil {
		g.t.Fatal(err)
	}
	if wiped {
		// A clone, although the other nodes still have the binary logs of all transactions.
		g.exec(i, "SET GLOBAL group_replication_clone_threshold = 1")
	}
	g.join(i)
}

func (g *group) wipe(i int) {
	g.t.Helper()
	if err := os.RemoveAll(g.data[i]); err != nil {
		g.t.Fatal(err)
	}
}

// stop moves the writes to another node first.
func (g *group) stop(i int) {
	g.t.Helper()
	if g.writer() == i {
		g.setPrimary((i + 1) % size)
	}
	g.nodes[i].Stop()
}

// setPrimary moves the writes to another node, as before planned work.
func (g *group) setPrimary(i int) {
	g.t.Helper()
	var uuid string
	if err := g.admin[i].QueryRowContext(g.t.Context(), "SELECT @@server_uuid").Scan(&uuid); err != nil {
		g.t.Fatal(err)
	}
	g.exec(i, "SELECT group_replication_set_as_primary(?)", uuid)
}

func (g *group) close() {
	if g.front.process != nil && g.front.running != nil {
		g.front.kill()
	}
	for _, node := range g.nodes {
		if g.t.Failed() {
			g.t.Logf("the log of the node at %s:\n%s", node.Address(), node.Log())
		}
		node.Remove()
	}
	g.links.close()
}

// openAdmin opens a way of an administrator to a server.
func openAdmin(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	settings.Logger = &mysql.NopLogger{} // what it says of servers that were killed
	settings.InterpolateParams = true
	connector, err := mysql.NewConnector(settings)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() }) // its server may be gone
	return db
}
