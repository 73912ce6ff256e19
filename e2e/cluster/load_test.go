package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// clients is how many shop at once, each with one request at a time.
	clients = 24
	// pace is a client's pause between two requests: together that is some 200 requests a second.
	pace = 100 * time.Millisecond
)

// browser is an HTTP client with as many connections as there are clients.
var browser = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * clients}}

// A line is a product of a client's cart.
type line struct{ client, product string }

// A load is many clients who shop at random, and what they were told.
type load struct {
	s        *shop
	stopped  chan struct{} // closed by stop: clients finish what they do
	running  sync.WaitGroup
	requests atomic.Int64

	mu        sync.Mutex
	sure      map[line]int64       // under mu; units whose add was answered Success
	perhaps   map[line]int64       // under mu; units whose add had no answer, or one that does not know
	bought    map[string]int       // under mu; checkouts that were answered Success, by client
	unknown   map[string]int       // under mu; checkouts without an answer, or Pending, by client
	cancelled map[string]bool      // under mu; checkouts whose cancellation was answered Success
	codes     map[string]int       // under mu; answers, by code; 0 is none
	fault     time.Time            // under mu; when the latest fault began
	healed    map[string]time.Time // under mu; the first Success of a request sent after it, by path
	slowest   time.Duration        // under mu
}

func newLoad(s *shop) *load {
	return &load{s: s, stopped: make(chan struct{}), sure: map[line]int64{}, perhaps: map[line]int64{}, bought: map[string]int{},
		unknown: map[string]int{}, cancelled: map[string]bool{}, codes: map[string]int{}, fault: time.Now(), healed: map[string]time.Time{}}
}

// start sends the clients. Each adds one to three lines and checks out, half of them with keys.
func (l *load) start() {
	for n := range clients {
		l.running.Go(func() {
			c := &client{load: l, random: rand.New(rand.NewPCG(uint64(n), 7)), keyed: n%2 == 0}
			for round := 0; !l.over(); round++ {
				c.id = fmt.Sprintf("client-%d-%d", n, round%5) // comes back to its carts
				if n%8 == 7 {
					c.id = "decline-" + c.id
				}
				c.visit = fmt.Sprintf("%d-%d", n, round)
				c.shop()
			}
		})
	}
}

// stop waits until all clients have their last answer.
func (l *load) stop() {
	close(l.stopped)
	l.running.Wait()
}

func (l *load) over() bool {
	select {
	case <-l.stopped:
		return true
	default:
		return false
	}
}

// A client is one goroutine's. It has one cart at a time.
type client struct {
	load      *load
	random    *rand.Rand
	keyed     bool // it sends keys, and repeats a request until its answer is known
	id, visit string
}

// products are what clients put into their carts.
var products = []string{"plenty", "plenty", "scarce", "rare", "missing"}

// regretted is a product that clients add and remove again.
const regretted = "regretted"

// stocked are the units of each product.
var stocked = map[string]int64{"plenty": 1_000_000, "scarce": 300, "rare": 10, regretted: 1_000_000}

func (c *client) shop() {
	product := products[c.random.IntN(len(products))]
	if c.keyed {
		switch c.random.IntN(6) {
		case 0:
			c.changeTheirMind()
		case 1:
			c.logIn(product)
		}
	}
	for n := range 1 + c.random.IntN(3) {
		c.add(c.id, product, 1+int64(c.random.IntN(3)), fmt.Sprint("add-", n))
		product = products[c.random.IntN(len(products))]
	}
	bought := c.buy()
	if c.keyed && bought.code == http.StatusOK && c.random.IntN(4) == 0 {
		c.cancel(bought.checkout)
	}
}

// An answer has code 0 where there was none.
type answer struct {
	code     int
	text     string
	failure  string // Cartwheel-Error
	checkout string // ID
}

// known says whether an answer is an end: everything but no answer, a refusal for now, and "not
// known".
func (a answer) known() bool {
	return a.code != 0 && a.code != 202 && a.code < 500 || a.failure == "payment_unavailable"
}

// post sends a request once.
func (c *client) post(path string, body map[string]any, key string) answer {
	wait(context.Background(), time.Duration(c.random.Int64N(int64(2*pace))))
	l := c.load
	l.requests.Add(1)
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // never: strings and numbers
	}
	request, err := http.NewRequest(http.MethodPost, l.s.front+path, bytes.NewReader(encoded))
	if err != nil {
		panic(err) // never: a constant
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	sent := time.Now()
	got, err := receive(browser.Do(request))
	if err == nil && got.code >= 500 && (got.failure == "" || !strings.HasPrefix(got.text, `{"status":`)) || got.code == http.StatusInternalServerError {
		l.s.t.Errorf("inconsistency: %s %v was answered %d %q %s", path, body, got.code, got.failure, got.text)
	}
	l.note(path, got.code, sent)
	return got
}

func receive(response *http.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, string(text), response.Header.Get("Cartwheel-Error"), response.Header.Get("Cartwheel-Checkout")}, nil
}

// insist sends a request, with a key until its answer is known.
func (c *client) insist(path string, body map[string]any, key string) answer {
	if key == "" {
		return c.post(path, body, "")
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		if got := c.post(path, body, c.visit+"-"+key); got.known() || time.Now().After(deadline) {
			return got
		}
	}
}

func (c *client) add(id, product string, units int64, key string) answer {
	if !c.keyed {
		key = ""
	}
	got := c.insist("/addToCart", map[string]any{"clientID": id, "productID": product, "quantity": units}, key)
	l := c.load
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case got.code == 200:
		l.sure[line{id, product}] += units
	case !got.known() && (got.code != 503 || c.keyed):
		l.perhaps[line{id, product}] += units
	}
	return got
}

func (c *client) buy() answer {
	key := ""
	if c.keyed {
		key = "buy"
	}
	got := c.insist("/checkOutCart", map[string]any{"clientID": c.id}, key)
	l := c.load
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case got.code == 200:
		l.bought[c.id]++
	case !got.known() && (got.code != 503 || c.keyed):
		l.unknown[c.id]++
	}
	return got
}

// change sends a request with a key that nothing may refuse, and reports whether it was done.
func (c *client) change(path string, body map[string]any, key string) bool {
	got := c.insist(path, body, key)
	if got.known() && got.code != 200 {
		c.load.s.t.Errorf("inconsistency: %s %v was answered %d %s", path, body, got.code, got.text)
	}
	return got.code == 200
}

func (c *client) cancel(checkout string) {
	if c.load.s.severalWriters {
		// The node of another instance may not have the sale yet.
		for range 50 {
			if got := c.post("/cancelCheckout", map[string]any{"checkoutID": checkout}, ""); !strings.Contains(got.text, "it is reserved") {
				break
			}
		}
	}
	if c.change("/cancelCheckout", map[string]any{"checkoutID": checkout}, "cancel") {
		c.load.mu.Lock()
		defer c.load.mu.Unlock()
		c.load.cancelled[checkout] = true
	}
}

// changeTheirMind adds units of a product that nothing else adds, and removes them.
func (c *client) changeTheirMind() {
	const units = 2
	if c.add(c.id, regretted, units, "regret").code != 200 {
		return
	}
	removed := c.change("/updateCart", map[string]any{"clientID": c.id, "productID": regretted, "quantity": 0}, "remove")
	c.move(line{c.id, regretted}, line{}, units, removed)
}

// logIn adds a unit as a guest, whose cart is then merged into the client's.
func (c *client) logIn(product string) {
	guest := "guest-" + c.visit
	if c.add(guest, product, 1, "guest").code != 200 {
		return
	}
	merged := c.change("/mergeCarts", map[string]any{"fromClientID": guest, "toClientID": c.id}, "merge")
	c.move(line{guest, product}, line{c.id, product}, 1, merged)
}

// move notes that units went from a line to another one, or perhaps did.
func (c *client) move(from, to line, units int64, sure bool) {
	l := c.load
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sure[from] -= units; !sure {
		l.perhaps[from] += units
		l.perhaps[to] += units
	} else if to.client != "" {
		l.sure[to] += units
	}
}

// note counts an answer.
func (l *load) note(path string, code int, sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[fmt.Sprint(code)]++
	l.slowest = max(l.slowest, time.Since(sent))
	if _, found := l.healed[path]; code == http.StatusOK && !found && sent.After(l.fault) {
		l.healed[path] = time.Now()
	}
}

// begins says that a fault begins now.
func (l *load) begins() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = time.Now()
	clear(l.healed)
}

// heals waits until an add and a checkout that were sent after the fault have succeeded, and
// returns how long that took.
func (l *load) heals(within time.Duration) time.Duration {
	l.s.t.Helper()
	var took time.Duration
	eventually(l.s.t, time.Minute, "the shop sells again", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		add, added := l.healed["/addToCart"]
		buy, bought := l.healed["/checkOutCart"]
		took = max(add.Sub(l.fault), buy.Sub(l.fault))
		return added && bought
	})
	if took > bound(within) {
		l.s.t.Errorf("the shop sold again after %v, want %v at most", took, bound(within))
	}
	return took
}
