package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cartwheel/app/certificatetest"
)

// writeCertificate writes a certificate with the number, and its key, into the folder.
func writeCertificate(t *testing.T, dir string, number int64) {
	t.Helper()
	certificatetest.Write(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), number)
}

func TestTLS_certificateIsReplacedWhileTheShopSells(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeCertificate(t, dir, 1)
	cert := filepath.Join(dir, "cert.pem")
	shop := start(t, embeddedStore(t), "--demo", "--tls-cert", cert, "--tls-key", filepath.Join(dir, "key.pem"),
		"--trusted-proxies", "127.0.0.1", "--rate-limit", "0.01")

	// add adds as a client of a proxy, over a connection of its own.
	add := func(client string) (status int, number int64) {
		t.Helper()
		trusted := x509.NewCertPool()
		text, err := os.ReadFile(cert)
		if err != nil || !trusted.AppendCertsFromPEM(text) {
			t.Fatal("no certificate:", err)
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "shop.example"}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, shop.base+"/addToCart",
			strings.NewReader(`{"clientID": "ann", "productID": "mug", "quantity": 1}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Forwarded-For", client)
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			return 0, 0 // the certificate that is used is not the one in the file
		}
		_ = response.Body.Close()
		if response.ProtoMajor != 1 {
			t.Errorf("answered by %s: the limit of connections is no limit of requests", response.Proto)
		}
		return response.StatusCode, response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	for _, test := range []struct {
		client string
		want   int
	}{{"192.0.2.1", 200}, {"192.0.2.1", 429}, {"192.0.2.2", 200}} {
		if status, number := add(test.client); status != test.want || number != 1 {
			t.Errorf("a client of %s: status %d by certificate %d, want %d by 1", test.client, status, number, test.want)
		}
	}
	address := strings.TrimPrefix(shop.base, "https://")
	if out, errs, status := run(t, store{}, nil, "healthcheck", "--listen", address, "--tls-cert", cert); status != 0 || out != "ready\n" {
		t.Errorf("healthcheck: status %d: %s%s", status, out, errs)
	}
	writeCertificate(t, dir, 2)
	eventually(t, soon, "the new certificate is used", func() bool {
		_, number := add("192.0.2.3")
		return number == 2
	})
}
