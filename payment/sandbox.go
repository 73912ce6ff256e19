package payment

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// declinedPrefix begins the IDs of clients that the sandbox always declines, so that anyone can
	// see a decline without settings.
	declinedPrefix = "decline-"

	reasonClient = "the sandbox declines every client whose ID begins with " + declinedPrefix
	reasonShare  = "the sandbox declines a share of all checkouts"
	reasonRefund = "the payment was not approved"

	// sandboxMemory is how many payments the sandbox remembers, the oldest forgotten first: about
	// 12 MB, and some ten seconds of the busiest server. A forgotten payment is one never seen.
	sandboxMemory = 1 << 18
)

// Sandbox is a gateway without money. It approves at once, or after a latency, and declines clients
// whose ID begins with decline- and the share of checkouts that it was told to, chosen by the
// checkout's ID. It keeps the protocol as a real service does, for the last 262,144 payments, in
// memory only: after a restart, recovery voids payments that were approved before.
//
// A charge decides when its latency is over. One whose ctx ends before that answers an unknown
// outcome, as a real gateway would, and has charged nothing: a void then makes that final, and a
// further charge decides anew. Void and Refund have no latency.
type Sandbox struct {
	latency time.Duration
	decline float64
	name    string
	observe Observer
	memory  int

	mu       sync.Mutex
	payments map[paymentKey]sandboxState // at most memory entries; guarded by mu
	order    []paymentKey                // the keys of payments, a ring once it is full; guarded by mu
	oldest   int                         // index into order once it is full; guarded by mu
}

// paymentKey is half of a checkout ID's SHA-256: it holds no pointer, which keeps a quarter of a
// million of them out of the garbage collector's way.
type paymentKey [16]byte

type sandboxState uint8

const (
	sandboxUnseen sandboxState = iota
	sandboxCharged
	sandboxDeclinedClient
	sandboxDeclinedShare
	sandboxVoided
	sandboxRefunded
)

// sandboxCharges are the answers to a charge, by the payment's state.
var sandboxCharges = [...]Result{
	sandboxCharged:        {Status: Approved},
	sandboxDeclinedClient: {Declined, reasonClient},
	sandboxDeclinedShare:  {Declined, reasonShare},
	sandboxVoided:         {Status: Voided},
	sandboxRefunded:       {Status: Voided},
}

func openSandbox(parsed *url.URL, options Options) (*Sandbox, error) {
	query, err := url.ParseQuery(parsed.RawQuery)
	if err != nil || parsed.User != nil || parsed.Opaque+parsed.Host+parsed.Path+parsed.Fragment != "" {
		return nil, fmt.Errorf("payment URL %q: %s", parsed.Redacted(), expectedURL)
	}
	sandbox := &Sandbox{
		name:     strings.TrimSuffix(parsed.String(), "?"),
		observe:  options.Observe,
		memory:   sandboxMemory,
		payments: make(map[paymentKey]sandboxState),
	}
	for parameter, values := range query {
		value, problem := values[0], ""
		switch {
		case len(values) > 1:
			problem = fmt.Sprintf("parameter %q is given %d times, expected once", parameter, len(values))
		case parameter == "latency":
			sandbox.latency, err = time.ParseDuration(value)
			if err != nil || sandbox.latency < 0 {
				problem = fmt.Sprintf("latency is %q, expected a duration of 0 or more such as 250ms or 2s", value)
			}
		case parameter == "decline":
			sandbox.decline, err = strconv.ParseFloat(value, 64)
			if err != nil || !(sandbox.decline >= 0 && sandbox.decline <= 1) { // written so that NaN fails
				problem = fmt.Sprintf("decline is %q, expected a share from 0 to 1 such as 0.1", value)
			}
		default:
			problem = fmt.Sprintf("unknown parameter %q, expected latency or decline", parameter)
		}
		if problem != "" {
			return nil, fmt.Errorf("payment URL %q: %s", parsed, problem)
		}
	}
	return sandbox, nil
}

// Charge implements [Gateway]. A charge whose ctx has ended before it begins is [ErrNotSent].
func (s *Sandbox) Charge(ctx context.Context, order Order) (Result, error) {
	return s.observe.measure(charge.name, func() (Result, error) {
		if err := ctx.Err(); err != nil {
			return Result{}, fmt.Errorf("sandbox: charge %s: %w: %w", order.CheckoutID, ErrNotSent, err)
		}
		if s.latency > 0 {
			select {
			case <-time.After(s.latency):
			case <-ctx.Done():
				return Result{}, fmt.Errorf("sandbox: charge %s: outcome unknown: %w", order.CheckoutID, ctx.Err())
			}
		}
		return s.decide(order), nil
	})
}

// decide makes the first charge of an order. It returns the payment's state.
func (s *Sandbox) decide(order Order) Result {
	key, share := fingerprint(order.CheckoutID)
	s.mu.Lock()
	defer s.mu.Unlock()
	state := s.payments[key]
	if state == sandboxUnseen {
		switch {
		case strings.HasPrefix(order.ClientID, declinedPrefix):
			state = sandboxDeclinedClient
		case share < s.decline:
			state = sandboxDeclinedShare
		default:
			state = sandboxCharged
		}
		s.remember(key, state)
	}
	return sandboxCharges[state]
}

// Void implements [Gateway]. It does not block, and ignores ctx.
func (s *Sandbox) Void(_ context.Context, checkoutID string) (Result, error) {
	return s.observe.measure(void.name, func() (Result, error) {
		key, _ := fingerprint(checkoutID)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch s.payments[key] {
		case sandboxCharged:
			return Result{Status: Approved}, nil
		case sandboxRefunded:
		default:
			s.remember(key, sandboxVoided)
		}
		return Result{Status: Voided}, nil
	})
}

// Refund implements [Gateway]. It does not block, and ignores ctx. An unknown payment counts as a
// forgotten one and is refunded: a refund must be able to end after a restart.
func (s *Sandbox) Refund(_ context.Context, checkoutID string) (Result, error) {
	return s.observe.measure(refund.name, func() (Result, error) {
		key, _ := fingerprint(checkoutID)
		s.mu.Lock()
		defer s.mu.Unlock()
		switch s.payments[key] {
		case sandboxUnseen, sandboxCharged, sandboxRefunded:
			s.remember(key, sandboxRefunded)
			return Result{Status: Refunded}, nil
		default:
			return Result{Refused, reasonRefund}, nil
		}
	})
}

// Lookup implements [Gateway]. The sandbox has none: it forgets payments at a restart.
func (s *Sandbox) Lookup(context.Context, string) (Payment, error) { return Payment{}, ErrNoLookup }

// Available implements [Gateway]. The sandbox always is.
func (s *Sandbox) Available() error { return nil }

// String implements [Gateway].
func (s *Sandbox) String() string { return s.name }

// Close implements [Gateway]. There is nothing to close.
func (s *Sandbox) Close() {}

// remember stores the state of a payment, and forgets the oldest payment when there is no room.
// s.mu is held.
func (s *Sandbox) remember(key paymentKey, state sandboxState) {
	if _, known := s.payments[key]; !known {
		if len(s.order) < s.memory {
			s.order = append(s.order, key)
		} else {
			delete(s.payments, s.order[s.oldest])
			s.order[s.oldest] = key
			s.oldest = (s.oldest + 1) % s.memory
		}
	}
	s.payments[key] = state
}

// fingerprint returns the key of a checkout, and a number from 0 up to but not including 1 that is
// the same for it every time and evenly spread over all checkouts.
func fingerprint(checkoutID string) (paymentKey, float64) {
	const uuidLength = 36
	var text [uuidLength]byte // on the stack: a conversion from string would be an allocation
	sum := sha256.Sum256(append(text[:0], checkoutID...))
	share := float64(binary.BigEndian.Uint64(sum[16:])>>11) / (1 << 53)
	return paymentKey(sum[:16]), share
}
