package commands

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// healthcheckTimeout is the maximum time of the probe. Container runtimes allow five seconds
	// and more.
	healthcheckTimeout = 4 * time.Second
	// maxReadiness is the maximum size in bytes of an answer that is read.
	maxReadiness = 4096
)

// Healthcheck is the command healthcheck.
type Healthcheck struct {
	Output
	Listen  string `env:"LISTEN_ADDR" default:":5003" help:"The address that the server was given."`
	TLSCert string `name:"tls-cert" env:"TLS_CERT" placeholder:"FILE" help:"The certificate that the server was given: it is asked by HTTPS. Empty: plain HTTP."`
	Live    bool   `help:"Ask /healthz, whether the process is alive, instead of /readyz."`
}

// Run asks the server's /readyz, or /healthz, and fails with its answer.
func (c Healthcheck) Run(ctx context.Context, console Console) (err error) {
	url, result := "http://"+c.Listen+"/readyz", "ready"
	if c.Live {
		url, result = "http://"+c.Listen+"/healthz", "alive"
	}
	transport := &http.Transport{}
	if c.TLSCert != "" {
		url = strings.Replace(url, "http", "https", 1)
		// The certificate names the shop, not this machine. Nothing secret is asked or answered.
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	// Without HTTP_PROXY: a proxy cannot reach this machine's loopback address, to which an address
	// without a host leads.
	direct := http.Client{Transport: transport, Timeout: healthcheckTimeout}
	response, err := direct.Do(request)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxReadiness))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not %s: %d %s", result, response.StatusCode, strings.TrimSpace(string(answer)))
	}
	return c.Print(console, map[string]bool{result: true}, result)
}
