package app

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

// healthcheckTimeout is below the patience of those who ask containers for their health.
const healthcheckTimeout = 4 * time.Second

type healthcheckCommand struct {
	Listen string `env:"LISTEN_ADDR" default:":5003" help:"The address that the server was given."`
}

// Run asks the server's /readyz and fails with its words.
func (c *healthcheckCommand) Run(ctx context.Context, console Console) (err error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+pathReadyz, nil)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	words, err := io.ReadAll(io.LimitReader(response.Body, maxWords))
	if err != nil {
		return fmt.Errorf("the server broke off: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %d %s", response.StatusCode, strings.TrimSpace(string(words)))
	}
	_, err = fmt.Fprintln(console.Out, "ready")
	return err
}

// maxWords is the most bytes of an answer that are read.
const maxWords = 4096
