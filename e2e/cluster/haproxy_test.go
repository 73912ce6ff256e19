package cluster

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// A balancer is HAProxy before the nodes, with a configuration of deploy/.
type balancer struct {
	*process
	address string
	admin   string // socket
}

// newBalancer starts HAProxy before nodes.
func newBalancer(t *testing.T, config string, nodes [size]string) *balancer {
	t.Helper()
	b := &balancer{address: freeAddress(t), admin: filepath.Join(t.TempDir(), "admin")}
	env := []string{"LISTEN=" + b.address, "ADMIN=" + b.admin, "PEER=" + freeAddress(t)}
	for i, node := range nodes {
		env = append(env, fmt.Sprintf("NODE%d=%s", i+1, node))
	}
	b.process = newProcess(t, "haproxy before the nodes", env, program(t, "haproxy"), "-W", "-f", config)
	b.start()
	return b
}

// command runs an operator's command and returns its answer.
func (b *balancer) command(command string) (string, error) {
	conn, err := net.DialTimeout("unix", b.admin, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close() //nolint:errcheck // all is read
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

var writerPattern = regexp.MustCompile(`server_id=(\d+)`)

// writer returns the index of the node that has all connections, or -1 while there is none.
func (b *balancer) writer() int {
	table, err := b.command("show table nodes")
	match := writerPattern.FindStringSubmatch(table)
	if err != nil || match == nil {
		return -1
	}
	id, _ := strconv.Atoi(match[1]) // a number
	return id - 1
}
