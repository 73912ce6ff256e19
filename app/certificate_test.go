package app

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a self-signed certificate with the number, and its key.
func writeCertificate(t *testing.T, certFile, keyFile string, number int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(number), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"shop.example"}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificate_isReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	c := &certificate{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), log: slog.New(slog.NewTextHandler(&log, nil))}
	if _, err := c.get(nil); err == nil || !strings.Contains(err.Error(), "--tls-cert, --tls-key (TLS_CERT, TLS_KEY): open") {
		t.Errorf("without files: %v", err)
	}
	number := func() int64 {
		t.Helper()
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.SerialNumber.Int64()
	}
	writeCertificate(t, c.certFile, c.keyFile, 1)
	if got := number(); got != 1 {
		t.Errorf("got certificate %d, want 1", got)
	}
	writeCertificate(t, c.certFile, c.keyFile, 2)
	if got := number(); got != 2 {
		t.Errorf("got certificate %d, want 2", got)
	}
	// A certificate whose key is not there yet.
	writeCertificate(t, c.certFile, filepath.Join(dir, "other.pem"), 3)
	if got := number(); got != 2 || !strings.Contains(log.String(), "could not be read again") {
		t.Errorf("got certificate %d, want 2 and a warning in %s", got, &log)
	}
	c.age = time.Hour
	writeCertificate(t, c.certFile, c.keyFile, 4)
	if got := number(); got != 2 {
		t.Errorf("got certificate %d: the files are read for each connection", got)
	}
}
