// Package certificatetest makes certificates for tests of TLS.
package certificatetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"
)

// Write writes a self-signed certificate of shop.example with the number, and its key, in PEM.
func Write(t testing.TB, certFile, keyFile string, number int64) {
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
	for _, file := range []struct {
		name  string
		block pem.Block
	}{
		{keyFile, pem.Block{Type: "PRIVATE KEY", Bytes: private}},
		{certFile, pem.Block{Type: "CERTIFICATE", Bytes: certificate}},
	} {
		if err := os.WriteFile(file.name, pem.EncodeToMemory(&file.block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
