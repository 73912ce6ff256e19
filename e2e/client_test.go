package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// shopping is an HTTP client that keeps as many connections as a test has clients.
var shopping = &http.Client{
	Timeout:   30 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 4096, MaxConnsPerHost: 0},
}

// A reply is an answer of the API. Code 0 means that there was none.
type reply struct {
	Code       int
	Body       string
	Status     string
	Error      string
	RetryAfter string
	Checkout   string // its ID
}

func (r reply) String() string { return fmt.Sprintf("%d %s %s", r.Code, r.Status, r.Error) }

type request struct {
	path string
	body any
	key  string
}

func addition(client, product string, quantity int) request {
	return request{path: "/addToCart", body: map[string]any{"clientID": client, "productID": product, "quantity": quantity}}
}

func purchase(client string) request {
	return request{path: "/checkOutCart", body: map[string]any{"clientID": client}}
}

func update(client, product string, quantity int) request {
	return request{path: "/updateCart", body: map[string]any{"clientID": client, "productID": product, "quantity": quantity}}
}

func merge(from, to string) request {
	return request{path: "/mergeCarts", body: map[string]any{"fromClientID": from, "toClientID": to}}
}

func cancellation(checkoutID string) request {
	return request{path: "/cancelCheckout", body: map[string]any{"checkoutID": checkoutID}}
}

func (r request) withKey(key string) request {
	r.key = key
	return r
}

// send sends a request and returns the answer, or the reply with code 0 where the connection broke
// first.
func (i *instance) send(ctx context.Context, r request) reply {
	body, err := json.Marshal(r.body)
	if err != nil {
		panic(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.base+r.path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if r.key != "" {
		request.Header.Set("Idempotency-Key", r.key)
	}
	response, err := shopping.Do(request)
	if err != nil {
		return reply{}
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return reply{}
	}
	answer := reply{Code: response.StatusCode, Body: string(text), RetryAfter: response.Header.Get("Retry-After"),
		Checkout: response.Header.Get("Cartwheel-Checkout")}
	var fields struct{ Status, Error string }
	if json.Unmarshal(text, &fields) == nil {
		answer.Status, answer.Error = fields.Status, fields.Error
	}
	return answer
}

// want sends a request that must be answered with the code.
func (i *instance) want(t *testing.T, code int, r request) reply {
	t.Helper()
	got := i.send(t.Context(), r)
	if got.Code != code {
		t.Fatalf("%s %v: got %v, want %d", r.path, r.body, got, code)
	}
	return got
}

// eventually waits until check is true, and returns how long that took. It fails the test when that
// exceeds the bound.
func eventually(t *testing.T, within time.Duration, what string, check func() bool) time.Duration {
	t.Helper()
	return databasetest.Eventually(t, bound(within), what, check)
}

func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}
