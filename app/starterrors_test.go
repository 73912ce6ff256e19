package app

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cartwheel/app/commands"
	"cartwheel/database"
	"cartwheel/database/databasetest"
)

func TestServe_startErrorNamesCauseAndRemedy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // a port on which nobody listens, once it is closed
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	dir := t.TempDir()
	databasetest.Open(t, database.Config{DataDir: filepath.Join(dir, "busy"), LockDataDir: true})
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "cartwheel.db"), []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}

	for name, test := range map[string]struct {
		args []string
		want []string // in the one line that it says
	}{
		"port taken":            {[]string{"--listen", taken.Addr().String()}, []string{"--listen (LISTEN_ADDR)", "address already in use", "choose another port"}},
		"no port":               {[]string{"--listen", "localhost"}, []string{"--listen (LISTEN_ADDR)", "expected host:port"}},
		"not an address here":   {[]string{"--listen", "192.0.2.1:5003"}, []string{"--listen (LISTEN_ADDR)", "does not have that address"}},
		"data dir busy":         {[]string{"--data-dir", filepath.Join(dir, "busy")}, []string{"--data-dir (DATA_DIR)", "in use by another server", "stop that server"}},
		"data dir below a file": {[]string{"--data-dir", filepath.Join(file, "data")}, []string{"--data-dir (DATA_DIR)", "create the data directory", "may write to"}},
		"no database file":      {[]string{"--data-dir", broken}, []string{"--data-dir (DATA_DIR)", "cannot be written", "not a database"}},
		"DSN without a slash":   {[]string{"--mysql-dsn", "root:secret@tcp(localhost)"}, []string{"--mysql-dsn (MYSQL_DSN)", "user:password@tcp(host:3306)/shop"}},
		"DSN without a name":    {[]string{"--mysql-dsn", "root:secret@tcp(localhost)/"}, []string{"--mysql-dsn (MYSQL_DSN)", "names no database", "user:password@tcp(host:3306)/shop"}},
		"DSN without an @":      {[]string{"--mysql-dsn", "secret/shop"}, []string{"--mysql-dsn (MYSQL_DSN)", "user:password@tcp(host:3306)/shop"}},
		"replica of nothing":    {[]string{"--mysql-read-dsn", "root:secret@tcp(localhost)/shop"}, []string{"--mysql-read-dsn (MYSQL_READ_DSN) has no --mysql-dsn"}},
		"admin without token":   {[]string{"--admin-listen", ":0"}, []string{"--admin-token (ADMIN_TOKEN) is empty", "expected a token", "[::]:"}},
		"no certificate":        {[]string{"--tls-cert", file, "--tls-key", file}, []string{"--tls-cert, --tls-key (TLS_CERT, TLS_KEY)", "failed to find any PEM data"}},
		"gateway of no kind":    {[]string{"--payment-url", "ftp://shop"}, []string{"--payment-url (PAYMENT_URL)", "expected sandbox:"}},
		"gateway without host":  {[]string{"--payment-url", "http://"}, []string{"--payment-url (PAYMENT_URL)", "expected http://host/base"}},
		"gateway's password":    {[]string{"--payment-url", "http://a:secret@b c"}, []string{"--payment-url (PAYMENT_URL)", "expected sandbox:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := test.args
			for flag, value := range map[string]string{"--listen": "127.0.0.1:0", "--admin-listen": "127.0.0.1:0", "--data-dir": t.TempDir()} {
				if args[0] != flag {
					args = append(args, flag, value)
				}
			}
			wantStartError(t, args, test.want)
		})
	}

	for address, advice := range map[string]string{
		"tcp(" + nobody.Addr().String() + ")":      "does the database server run there, and on this port?",
		"unix(" + filepath.Join(dir, "none") + ")": "is this its socket?",
		"tcp(no-such-host.invalid:3306)":           "is the host's name right?",
	} {
		t.Run(advice, func(t *testing.T) {
			t.Parallel()
			// A server waits for its database a whole minute, other commands for some seconds.
			var out, said bytes.Buffer
			status := Main([]string{"stock", "list", "--mysql-dsn", "root:secret@" + address + "/shop"}, commands.Console{Out: &out, Err: &said})
			if status != 1 || !strings.Contains(said.String(), "--mysql-dsn (MYSQL_DSN)") || !strings.Contains(said.String(), advice) ||
				strings.Contains(said.String(), "secret") {
				t.Errorf("status %d: %s", status, &said)
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		t.Parallel()
		server := databasetest.StartServer(t)
		wantStartError(t, []string{"--mysql-dsn", "root:secret@tcp(" + server.Address() + ")/shop", "--listen", "127.0.0.1:0"},
			[]string{"--mysql-dsn (MYSQL_DSN)", "Access denied for user 'root'", "are the user and the password right?"})
	})
}

// wantStartError runs serve, which must end with a status of 1 and one line that holds all the
// words, and no secret.
func wantStartError(t *testing.T, args, words []string) {
	t.Helper()
	var out, said bytes.Buffer
	status := Main(append([]string{"serve", "--log-format", "json"}, args...), commands.Console{In: strings.NewReader(""), Out: &out, Err: &said})
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	last := lines[len(lines)-1]
	if status != 1 || !strings.Contains(last, `"level":"ERROR"`) {
		t.Errorf("status %d, and as the last line: %s", status, last)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("got %s\nwant %q in it", last, word)
		}
	}
	if strings.Contains(said.String(), "secret") {
		t.Errorf("it shows the password: %s", &said)
	}
}

func TestSettings_errorNamesFlagAndVariable(t *testing.T) {
	t.Parallel()
	sound := settings{
		PaymentTimeout: 10e9, CheckoutLease: 15e9, RequestTimeout: 15e9, IdleTimeout: 150e9, DrainTimeout: 20e9,
		CheckoutsInFlight: 1, QueueCapacity: 1, BatchSize: 1,
	}
	if err := sound.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*settings){
		"--checkout-lease (CHECKOUT_LEASE) is 11s: expected at least 12s":     func(s *settings) { s.CheckoutLease = 11e9 },
		"--payment-timeout (PAYMENT_TIMEOUT) is 0s: expected more than 0":     func(s *settings) { s.PaymentTimeout = 0 },
		"--request-timeout (REQUEST_TIMEOUT) is -1s: expected more than 0":    func(s *settings) { s.RequestTimeout = -1e9 },
		"--drain-timeout (DRAIN_TIMEOUT) is 0s: expected more than 0":         func(s *settings) { s.DrainTimeout = 0 },
		"--checkouts-in-flight (CHECKOUTS_IN_FLIGHT) is 0: expected 1 to":     func(s *settings) { s.CheckoutsInFlight = 0 },
		"--queue-capacity (QUEUE_CAPACITY) is 9999999: expected 1 to 1000000": func(s *settings) { s.QueueCapacity = 9999999 },
		"--batch-size (BATCH_SIZE) is 0: expected 1 to":                       func(s *settings) { s.BatchSize = 0 },
		"--rate-limit (RATE_LIMIT) is -1: expected 0 (no limit) or more":      func(s *settings) { s.RateLimit = -1 },
		"--rate-limit (RATE_LIMIT) is NaN: expected 0 (no limit) or more":     func(s *settings) { s.RateLimit = math.NaN() },
		"--rate-limit (RATE_LIMIT) is +Inf: expected 0 (no limit) or more":    func(s *settings) { s.RateLimit = math.Inf(1) },
		"--api-keys (API_KEYS): key 2 of 2 is empty":                          func(s *settings) { s.APIKeys = []string{"a", " "} },
		"--api-keys (API_KEYS): key 1 of 1 has":                               func(s *settings) { s.APIKeys = []string{"a b"} },
		"--admin-token (ADMIN_TOKEN) has a space":                             func(s *settings) { s.AdminToken = "a secret" },
		"--tls-cert (TLS_CERT) or --tls-key (TLS_KEY) is empty":               func(s *settings) { s.TLSKey = "key.pem" },
		"--cors-origins (CORS_ORIGINS): \"shop.example\"":                     func(s *settings) { s.CORSOrigins = []string{"shop.example"} },
		"--webhook-url (WEBHOOK_URL): expected an URL":                        func(s *settings) { s.WebhookURL = "shop.example" },
		"--webhook-secret (WEBHOOK_SECRET): expected whsec_":                  func(s *settings) { s.WebhookURL, s.WebhookSecret = "http://shop", "c2VjcmV0" },
		"--cors-origins (CORS_ORIGINS): \"https://shop.example/x\"":           func(s *settings) { s.CORSOrigins = []string{"https://shop.example/x"} },
	} {
		spoilt := sound
		spoil(&spoilt)
		if err := spoilt.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSettings_networksMayBeAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "[]", "10.0.0.0/8, 192.0.2.1": "[10.0.0.0/8 192.0.2.1/32]", "::1": "[::1/128]",
	} {
		got := networks{nil}
		if err := got.UnmarshalText([]byte(text)); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: got %v, error %v, want %s", text, got, err, want)
		}
	}
}

func TestSettings_keysAndOriginsAreTrimmed(t *testing.T) {
	t.Parallel()
	s := settings{
		PaymentTimeout: 10e9, CheckoutLease: 15e9, RequestTimeout: 15e9, IdleTimeout: 150e9, DrainTimeout: 20e9,
		CheckoutsInFlight: 1, QueueCapacity: 1, BatchSize: 1,
		APIKeys: []string{"a", " b "}, CORSOrigins: []string{" https://Shop.example/", "*"},
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b"}; !slices.Equal(s.APIKeys, want) {
		t.Errorf("keys %q, want %q", s.APIKeys, want)
	}
	if want := []string{"https://shop.example", "*"}; !slices.Equal(s.CORSOrigins, want) {
		t.Errorf("origins %q, want %q", s.CORSOrigins, want)
	}
}

func TestServe_takenPortLeavesNoDatabase(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	for _, flags := range [][]string{
		{"--listen", taken.Addr().String()},
		{"--listen", "127.0.0.1:0", "--admin-listen", taken.Addr().String()},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		wantStartError(t, append(flags, "--demo", "--data-dir", dir), []string{"address already in use"})
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%v: the data directory is there, error %v", flags, err)
		}
	}
}
