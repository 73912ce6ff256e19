package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthcheckTimeout is the maximum time of the probe. Container runtimes allow five seconds and
// more.
const healthcheckTimeout = 4 * time.Second

// Healthcheck is the command healthcheck.
type Healthcheck struct {
	Listen string `env:"LISTEN_ADDR" default:":5003" help:"The address that the server was given."`
}

// Run asks the server's /readyz and fails with its answer.
func (c *Healthcheck) Run(ctx context.Context, console Console) (err error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	host = loopbackOf(host)
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+readyPath, nil)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	response, err := direct.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	words, err := io.ReadAll(io.LimitReader(response.Body, maxWords))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %d %s", response.StatusCode, strings.TrimSpace(string(words)))
	}
	_, err = fmt.Fprintln(console.Out, "ready")
	return err
}

// loopbackOf returns the address under which this machine reaches a listener on host. It needs no
// name resolution for a listener on all addresses.
func loopbackOf(host string) string {
	ip := net.ParseIP(host)
	switch {
	case host == "":
		return "127.0.0.1"
	case ip != nil && ip.IsUnspecified() && ip.To4() == nil:
		return "::1"
	case ip != nil && ip.IsUnspecified():
		return "127.0.0.1"
	}
	return host
}

// direct is an HTTP client that ignores HTTP_PROXY: a proxy cannot reach this machine's loopback
// address.
var direct = &http.Client{Transport: &http.Transport{}}

const (
	// readyPath is the server's readiness probe.
	readyPath = "/readyz"
	// maxWords is the maximum size of an answer that is read, in bytes.
	maxWords = 4096
)
