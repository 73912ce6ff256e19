package app

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"cartwheel/checkout"
	"cartwheel/checkout/webhook"
)

// settings are the flags of serve beside those of commands.Storage.
type settings struct {
	Listen            string        `env:"LISTEN_ADDR" default:":5003" help:"Where the API listens."`
	AdminListen       string        `env:"ADMIN_ADDR" default:"127.0.0.1:5004" help:"Where the dashboard, metrics and profiles listen. Empty: off."`
	AdminToken        string        `env:"ADMIN_TOKEN" placeholder:"SECRET" help:"Required of each request to the admin listener, as a bearer token or a password. May be empty on loopback alone."`
	PaymentURL        string        `name:"payment-url" env:"PAYMENT_URL" default:"sandbox:" help:"The shop's payment service: http(s)://host/base. Or sandbox:, which approves at once; sandbox:?latency=2s&decline=0.1 delays, and declines that share."`
	PaymentTimeout    time.Duration `env:"PAYMENT_TIMEOUT" default:"10s" help:"Maximum time of a charge; then it is voided."`
	PaymentSecret     string        `env:"PAYMENT_SECRET" placeholder:"SECRET" help:"Signs requests to the payment service (HMAC-SHA256). Empty: unsigned."`
	WebhookURL        string        `name:"webhook-url" env:"WEBHOOK_URL" placeholder:"URL" help:"Where sales and cancellations are announced by POST. Empty: nowhere."`
	WebhookSecret     string        `env:"WEBHOOK_SECRET" placeholder:"SECRET" help:"Signs events as Standard Webhooks says: whsec_ and 24 to 64 bytes in base64. Empty: unsigned."`
	CheckoutLease     time.Duration `env:"CHECKOUT_LEASE" default:"15s" help:"How long a checkout is its instance's alone; then any instance finishes it. At least the payment timeout + 2s."`
	CheckoutsInFlight int           `env:"CHECKOUTS_IN_FLIGHT" default:"4096" help:"Maximum checkouts at once, from admission to end."`
	QueueCapacity     int           `env:"QUEUE_CAPACITY" default:"4096" help:"Maximum jobs waiting in each queue; beyond it the answer is 503. The queue that settles also holds all checkouts in flight."`
	BatchSize         int           `env:"BATCH_SIZE" default:"256" help:"Maximum weight of one transaction: an add or a checkout weighs 1, an update 8, an emptying or a merge 32, a settled checkout its lines."`
	RequestTimeout    time.Duration `env:"REQUEST_TIMEOUT" default:"15s" help:"Maximum time of a request."`
	IdleTimeout       time.Duration `env:"IDLE_TIMEOUT" default:"150s" help:"How long a connection stays open between requests. Must exceed the keep-alive of a load balancer in front."`
	DrainTimeout      time.Duration `env:"DRAIN_TIMEOUT" default:"20s" help:"How long a shutdown waits for requests and checkouts."`
	RateLimit         float64       `env:"RATE_LIMIT" default:"0" help:"Requests a second per client address; 0: no limit."`
	TrustedProxies    networks      `env:"TRUSTED_PROXIES" placeholder:"RANGE" help:"Comma-separated addresses and networks of proxies, such as 10.0.0.0/8, whose X-Forwarded-For names the client. Empty: none."`
	TLSCert           string        `name:"tls-cert" env:"TLS_CERT" placeholder:"FILE" help:"The API's certificate and its chain in PEM; read again when it changes. Empty: plain HTTP."`
	TLSKey            string        `name:"tls-key" env:"TLS_KEY" placeholder:"FILE" help:"The certificate's private key in PEM."`
	APIKeys           []string      `name:"api-keys" env:"API_KEYS" placeholder:"KEY" help:"Comma-separated keys; each request sends one as Authorization: Bearer KEY. Empty: open to all."`
	CORSOrigins       []string      `name:"cors-origins" env:"CORS_ORIGINS" placeholder:"ORIGIN" help:"Comma-separated origins whose pages may call the API from a browser. Empty: none."`
	LogFormat         string        `env:"LOG_FORMAT" default:"auto" enum:"auto,text,json" help:"auto (text on a terminal, JSON elsewhere), text or json."`
}

// Maximum values. A typing error must not become an outage.
const (
	maxBatchSize = 10_000
	maxQueue     = 1_000_000
)

// Validate names the settings that are wrong and what was expected. kong calls it.
func (s *settings) Validate() error {
	s.AdminToken = strings.TrimSpace(s.AdminToken)
	shortestLease := s.PaymentTimeout + checkout.MinLeaseMargin
	return errors.Join(
		positive("--payment-timeout (PAYMENT_TIMEOUT)", s.PaymentTimeout),
		positive("--request-timeout (REQUEST_TIMEOUT)", s.RequestTimeout),
		positive("--idle-timeout (IDLE_TIMEOUT)", s.IdleTimeout),
		positive("--drain-timeout (DRAIN_TIMEOUT)", s.DrainTimeout),
		require(s.CheckoutLease >= shortestLease,
			"--checkout-lease (CHECKOUT_LEASE) is %v: expected at least %v, which is --payment-timeout (PAYMENT_TIMEOUT) and %v to settle",
			s.CheckoutLease, shortestLease, checkout.MinLeaseMargin),
		within("--checkouts-in-flight (CHECKOUTS_IN_FLIGHT)", s.CheckoutsInFlight, maxQueue),
		within("--queue-capacity (QUEUE_CAPACITY)", s.QueueCapacity, maxQueue),
		within("--batch-size (BATCH_SIZE)", s.BatchSize, maxBatchSize),
		require(s.RateLimit >= 0 && !math.IsInf(s.RateLimit, 1), // NaN is not >= 0
			"--rate-limit (RATE_LIMIT) is %v: expected 0 (no limit) or more", s.RateLimit),
		require((s.TLSCert == "") == (s.TLSKey == ""),
			"--tls-cert (TLS_CERT) or --tls-key (TLS_KEY) is empty: expected both or none"),
		s.validateKeys(),
		require(!strings.ContainsFunc(s.AdminToken, invisible), // the error does not repeat it
			"--admin-token (ADMIN_TOKEN) has a space or a character that is not visible ASCII"),
		s.validateOrigins(),
		s.validateWebhook(),
	)
}

// require returns an error with the text unless the condition holds.
func require(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func positive(flag string, d time.Duration) error {
	return require(d > 0, "%s is %v: expected more than 0, such as 10s", flag, d)
}

func within(flag string, n, most int) error {
	return require(n >= 1 && n <= most, "%s is %d: expected 1 to %d", flag, n, most)
}

// networks are ranges of addresses.
type networks []*net.IPNet

// UnmarshalText reads comma-separated addresses and networks. kong calls it.
func (n *networks) UnmarshalText(text []byte) error {
	*n = nil
	for one := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == ',' || r == ' ' }) {
		if addr, err := netip.ParseAddr(one); err == nil {
			one = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
		_, network, err := net.ParseCIDR(one)
		if err != nil {
			return fmt.Errorf("expected addresses and networks such as 10.0.0.0/8, got %q", one)
		}
		*n = append(*n, network)
	}
	return nil
}

// validateKeys trims the API keys. Its errors do not repeat them.
func (s *settings) validateKeys() error {
	for i, key := range s.APIKeys {
		key = strings.TrimSpace(key)
		if key == "" {
			return fmt.Errorf("--api-keys (API_KEYS): key %d of %d is empty: expected comma-separated keys", i+1, len(s.APIKeys))
		}
		if strings.ContainsFunc(key, invisible) {
			return fmt.Errorf("--api-keys (API_KEYS): key %d of %d has a space or a character that is not visible ASCII", i+1, len(s.APIKeys))
		}
		s.APIKeys[i] = key
	}
	return nil
}

func invisible(r rune) bool { return r <= ' ' || r > '~' }

// validateOrigins brings the origins into the form in which browsers send them.
func (s *settings) validateOrigins() error {
	for i, origin := range s.CORSOrigins {
		origin = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(origin), "/"))
		parsed, err := url.Parse(origin)
		if origin != "*" && (err != nil || parsed.Host == "" || origin != parsed.Scheme+"://"+parsed.Host) {
			return fmt.Errorf("--cors-origins (CORS_ORIGINS): %q: expected an origin such as https://shop.example, or *", origin)
		}
		s.CORSOrigins[i] = origin
	}
	return nil
}

func (s *settings) validateWebhook() error {
	if s.WebhookURL == "" {
		return nil
	}
	_, err := webhook.New(s.WebhookURL, s.WebhookSecret)
	return err
}
