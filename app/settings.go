package app

import (
	"errors"
	"fmt"
	"time"

	"cartwheel/checkout"
)

// settings are what serve can be told beside where the data is.
type settings struct {
	Listen            string        `env:"LISTEN_ADDR" default:":5003" help:"Where the API listens."`
	AdminListen       string        `env:"ADMIN_ADDR" default:"127.0.0.1:5004" help:"Where the dashboard, the metrics and the profiles are, without any key. Empty: nowhere."`
	PaymentURL        string        `name:"payment-url" env:"PAYMENT_URL" default:"sandbox:" help:"The payment gateway: http(s)://host/base, or sandbox: which approves at once; sandbox:?latency=2s&decline=0.1 delays, and declines that share."`
	PaymentTimeout    time.Duration `env:"PAYMENT_TIMEOUT" default:"10s" help:"How long a charge may take before it is voided."`
	PaymentSecret     string        `env:"PAYMENT_SECRET" placeholder:"SECRET" help:"Signs the requests to the gateway (HMAC-SHA256). Empty: unsigned."`
	CheckoutLease     time.Duration `env:"CHECKOUT_LEASE" default:"15s" help:"How long a checkout is its instance's alone; after that any instance finishes it. Must exceed the payment timeout by 2s or more."`
	CheckoutsInFlight int           `env:"CHECKOUTS_IN_FLIGHT" default:"4096" help:"Most checkouts at once, from their admission to their end."`
	QueueCapacity     int           `env:"QUEUE_CAPACITY" default:"4096" help:"Most jobs that wait in each queue; beyond it comes a 503."`
	BatchSize         int           `env:"BATCH_SIZE" default:"256" help:"Most jobs in one transaction; 1 means one transaction a request."`
	RequestTimeout    time.Duration `env:"REQUEST_TIMEOUT" default:"15s" help:"How long a request may wait for its answer."`
	DrainTimeout      time.Duration `env:"DRAIN_TIMEOUT" default:"20s" help:"How long a shutdown waits for what is under way."`
	RateLimit         float64       `env:"RATE_LIMIT" default:"0" help:"Requests a second and client address; 0: no limit."`
	APIKeys           []string      `name:"api-keys" env:"API_KEYS" placeholder:"KEY" help:"Keys, one of which each request must send as Authorization: Bearer KEY. Empty: open to all."`
	CORSOrigins       []string      `name:"cors-origins" env:"CORS_ORIGINS" placeholder:"ORIGIN" help:"Origins whose pages may call the API from a browser. Empty: none."`
	LogFormat         string        `env:"LOG_FORMAT" default:"auto" enum:"auto,text,json" help:"auto (text on a terminal, JSON elsewhere), text or json."`
}

// Limits that keep a typing error from becoming an outage. Each is far above what is of any use.
const (
	maxBatchSize = 10_000
	maxQueue     = 1_000_000
)

// Validate says which settings make no sense, and what was expected. kong calls it.
func (s *settings) Validate() error {
	return errors.Join(
		positive("--payment-timeout (PAYMENT_TIMEOUT)", s.PaymentTimeout),
		positive("--request-timeout (REQUEST_TIMEOUT)", s.RequestTimeout),
		positive("--drain-timeout (DRAIN_TIMEOUT)", s.DrainTimeout),
		s.validateLease(),
		within("--checkouts-in-flight (CHECKOUTS_IN_FLIGHT)", s.CheckoutsInFlight, 1, maxQueue),
		within("--queue-capacity (QUEUE_CAPACITY)", s.QueueCapacity, 1, maxQueue),
		within("--batch-size (BATCH_SIZE)", s.BatchSize, 1, maxBatchSize),
		s.validateRate(),
	)
}

func (s *settings) validateLease() error {
	if s.CheckoutLease < s.PaymentTimeout+checkout.MinLeaseMargin {
		return fmt.Errorf("--checkout-lease (CHECKOUT_LEASE) is %v: expected at least %v, which is --payment-timeout (PAYMENT_TIMEOUT) and %v to settle",
			s.CheckoutLease, s.PaymentTimeout+checkout.MinLeaseMargin, checkout.MinLeaseMargin)
	}
	return nil
}

func (s *settings) validateRate() error {
	if s.RateLimit < 0 {
		return fmt.Errorf("--rate-limit (RATE_LIMIT) is %v: expected 0 (no limit) or more", s.RateLimit)
	}
	return nil
}

func positive(flag string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s is %v: expected more than 0, such as 10s", flag, d)
	}
	return nil
}

func within(flag string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s is %d: expected %d to %d", flag, n, least, most)
	}
	return nil
}
