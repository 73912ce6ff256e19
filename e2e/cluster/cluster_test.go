package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"cartwheel/database/databasetest/proxy"
	"cartwheel/payment/reference"
)

// size is the number of a cluster's nodes, and of the instances.
const size = 3

// nodes is a database cluster of three nodes under test, with its load balancer. DSNs end in a
// slash: a database's name follows.
type nodes interface {
	proxyDSN() string     // what instances connect to
	nodeDSN(i int) string // of one node, past the load balancer
	writer() int          // index of the node that has the writes
	kill(i int)           // kill -9
	pause(i int)          // SIGSTOP
	resume(i int)         // ends a pause, and returns when the node serves again
	isolate(i int)        // cuts the node off from the others, not from its clients
	rejoin(i int)         // ends an isolation, and returns when the node serves again
	start(i int)          // after a kill or stop; returns when the node serves again
	wipe(i int)           // of a node that does not run: its data are gone, and start copies another node's
	stop(i int)           // planned, as docs/scaling.md says
	limits() limits
	close()
}

// limits are what a cluster's settings promise.
type limits struct {
	suspect time.Duration // after how long of silence the others expel a node
	heal    time.Duration // the longest time until the shop sells again after its writer failed
}

// A shop is three instances on one database of a cluster, with clients and a payment service.
type shop struct {
	t        *testing.T
	nodes    nodes
	database string
	commits  *proxy.Proxy // between the instances and the nodes' load balancer
	payments *reference.Service
	payURL   string

	instances [size]*instance
	front     string // URL of the load balancer before the instances
	load      *load

	severalWriters bool // instances may read nodes that lag
}

// An instance is a cartwheel at an address of its own.
type instance struct {
	*process
	base string // URL
}

// newShop starts the parts of a shop other than instances, which start or launch add.
func newShop(t *testing.T, n nodes, database string) *shop {
	t.Helper()
	s := &shop{t: t, nodes: n, database: database}
	var err error
	if s.commits, err = proxy.Listen(addressOf(t, n.proxyDSN())); err != nil {
		t.Fatal(err)
	}
	if s.payments, err = reference.Open(filepath.Join(t.TempDir(), "payments.log"), reference.Options{}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.payments)
	s.payURL = server.URL
	t.Cleanup(func() {
		_ = s.commits.Close()
		server.Close()
		if err := s.payments.Close(); err != nil {
			t.Errorf("close the payment service: %v", err)
		}
	})
	s.exec(n.writer(), "CREATE DATABASE "+database+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	return s
}

func addressOf(t *testing.T, dsn string) string {
	t.Helper()
	settings, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Addr
}

// shopDSN is that of the shop's database through the load balancer.
func (s *shop) shopDSN() string { return s.nodes.proxyDSN() + s.database }

// instanceDSN is shopDSN through what loses COMMITs.
func (s *shop) instanceDSN() string {
	return strings.Replace(s.shopDSN(), addressOf(s.t, s.nodes.proxyDSN()), s.commits.Address(), 1)
}

// exec runs a statement on a node, past the load balancer.
func (s *shop) exec(node int, statement string) {
	s.t.Helper()
	if err := execute(s.nodes.nodeDSN(node), statement); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// execute runs statements on a server, each on the same connection.
func execute(dsn string, statements ...string) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // its server may be gone
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.ExecContext(context.Background(), statement); err != nil {
			return err
		}
	}
	return nil
}

// launch runs the instance with an index on a database, and returns at once.
func (s *shop) launch(i int, dsn string) {
	s.t.Helper()
	if s.instances[i] == nil {
		address := freeAddress(s.t)
		s.instances[i] = &instance{base: "http://" + address, process: newProcess(s.t, fmt.Sprint("instance ", i), nil,
			binary, "serve", "--listen", address, "--admin-listen", "", "--log-format", "json", "--payment-url", s.payURL,
			"--payment-timeout", "2s", "--checkout-lease", "4s", "--mysql-dsn", dsn)}
	}
	s.instances[i].start()
}

// await waits until an instance says that it can sell.
func (i *instance) await() {
	i.t.Helper()
	eventually(i.t, time.Minute, i.name+" is ready", func() bool {
		if i.gone() {
			i.t.Fatalf("%s ended with status %d before it was ready", i.name, i.exit(time.Second))
		}
		return isReady(i.base)
	})
}

func isReady(base string) bool {
	response, err := http.Get(base + "/readyz")
	return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// open starts three instances through the load balancer of the nodes: one that migrates, and then
// the others.
func (s *shop) open() {
	s.t.Helper()
	s.launch(0, s.instanceDSN())
	s.instances[0].await()
	s.openTogether()
}

// serve puts the load balancer before the instances and stocks the shop.
func (s *shop) serve() {
	s.t.Helper()
	address := freeAddress(s.t)
	env := []string{"LISTEN=" + address}
	for n, i := range s.instances {
		env = append(env, fmt.Sprintf("INSTANCE%d=%s", n+1, strings.TrimPrefix(i.base, "http://")))
	}
	newProcess(s.t, "haproxy before the instances", env, program(s.t, "haproxy"), "-f", "../../deploy/haproxy.cfg").start()
	s.front = "http://" + address
	eventually(s.t, 20*time.Second, "the load balancer answers", func() bool { return isReady(s.front) })
	s.stock()
	s.load = newLoad(s)
}
