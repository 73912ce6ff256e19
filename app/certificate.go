package app

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// certificateAge is the time after which a certificate's files are read again.
const certificateAge = 10 * time.Second

// A certificate is the API's, from two files that may be replaced at any time.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	read    time.Time        // when the files were read; guarded by mu
	current *tls.Certificate // guarded by mu
}

// get returns the certificate for a connection. Files that cannot be used leave the last one in
// use: they may be half written.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil && time.Since(c.read) < certificateAge {
		return c.current, nil
	}
	c.read = time.Now()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	switch {
	case err == nil && (c.current == nil || !pair.Leaf.Equal(c.current.Leaf)):
		c.current = &pair
		c.log.Info("read the TLS certificate", "expires", pair.Leaf.NotAfter)
	case err != nil && c.current == nil:
		return nil, fmt.Errorf("--tls-cert, --tls-key (TLS_CERT, TLS_KEY): %w", err)
	case err != nil:
		c.log.Warn("the TLS certificate could not be read again", "error", err)
	}
	return c.current, nil
}
