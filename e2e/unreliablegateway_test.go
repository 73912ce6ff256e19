package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A mood is how a unreliable gateway treats what it is asked.
type mood int

const (
	well              mood = iota // it does and says what the payment service does and says
	unreliableGateway             // it misbehaves four times in ten, each time in another way
	dead                          // it takes connections and breaks them
)

// A moodyGateway stands between the shop and its payment service and misbehaves, without ever lying
// in the words of the protocol: what it says wrong is nothing that a careful client could take for
// an answer. The payment service's ledger stays the truth.
type moodyGateway struct {
	payments *paymentService
	url      string
	late     time.Duration // how long what comes late takes: longer than the shop waits
	after    sync.WaitGroup
	closed   chan struct{}

	mu     sync.Mutex
	mood   mood            // under mu
	random *rand.Rand      // under mu
	deck   []misbehaviour  // under mu; dealt one by one, so that each way comes as often as the others
	did    map[string]int  // under mu; how often, by way
	asked  map[string]bool // under mu; requests, by method and path, that were refused an answer once
}

// A misbehaviour is one way to treat a request badly. It may hand the request to the payment
// service, or not.
type misbehaviour struct {
	name  string
	treat func(g *moodyGateway, w http.ResponseWriter, a ask)
}

// An ask is a request that can be handed to the payment service more than once.
type ask struct {
	*http.Request
	body []byte
}

// misbehaviours are all the ways.
func misbehaviours() []misbehaviour {
	return []misbehaviour{
		{"hangs, nothing done", func(g *moodyGateway, _ http.ResponseWriter, a ask) { g.hang(a) }},
		{"does it, then hangs", func(g *moodyGateway, _ http.ResponseWriter, a ask) { g.ask(a); g.hang(a) }},
		{"resets, nothing done", func(_ *moodyGateway, w http.ResponseWriter, _ ask) { reset(w, "") }},
		{"does it, then resets", func(g *moodyGateway, w http.ResponseWriter, a ask) { g.ask(a); reset(w, "") }},
		{"does it, truncates the answer", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			answer := g.ask(a).Body.String()
			reset(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(answer), answer[:len(answer)/2]))
		}},
		{"does it, answers HTML", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			g.ask(a)
			say(w, http.StatusOK, "<html><body>Payment approved. Thank you!</body></html>")
		}},
		{"answers HTML, nothing done", func(_ *moodyGateway, w http.ResponseWriter, _ ask) {
			say(w, http.StatusBadGateway, "<html><body>502 Bad Gateway</body></html>")
		}},
		{"does it, answers another JSON", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			g.ask(a)
			say(w, http.StatusOK, `{"Status":"approved","result":{"status":"declined"}}`)
		}},
		{"answers two words at once, nothing done", func(_ *moodyGateway, w http.ResponseWriter, _ ask) {
			say(w, http.StatusOK, `{"status":"approved","status":"voided"}`)
		}},
		{"says approved under a wrong code, nothing done", func(_ *moodyGateway, w http.ResponseWriter, _ ask) {
			say(w, http.StatusCreated, `{"status":"approved"}`)
		}},
		{"does it, says declined under a wrong code", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			g.ask(a)
			say(w, http.StatusPaymentRequired, `{"status":"declined","reason":"no funds"}`)
		}},
		{"does it, answers megabytes", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			_, _ = io.WriteString(w, `{"status":"`+g.ask(a).Body.String())
			for range 256 { // until the other side has had enough
				if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
					return
				}
			}
		}},
		{"does it when no client waits any more", func(g *moodyGateway, _ http.ResponseWriter, a ask) {
			g.after.Go(func() {
				select {
				case <-time.After(g.late):
				case <-g.closed:
				}
				g.ask(a)
			})
			g.hang(a)
		}},
		{"does it twice at once", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			g.after.Go(func() { g.ask(a) })
			pass(w, g.ask(a))
		}},
		{"answers the second ask only", func(g *moodyGateway, w http.ResponseWriter, a ask) {
			answer := g.ask(a)
			g.mu.Lock()
			before := g.asked[a.Method+a.URL.Path]
			g.asked[a.Method+a.URL.Path] = true
			g.mu.Unlock()
			if before {
				pass(w, answer)
				return
			}
			say(w, http.StatusServiceUnavailable, `{"status":"voided"}`)
		}},
	}
}

// startUnreliableGateway opens a gateway in front of the chaos test's payment service. late is how
// long its late effects take.
func (c *chaos) startUnreliableGateway(seed uint64, late time.Duration) *moodyGateway {
	g := &moodyGateway{payments: c.payments, late: late, closed: make(chan struct{}), random: rand.New(rand.NewPCG(seed, 3)),
		did: map[string]int{}, asked: map[string]bool{}}
	server := httptest.NewServer(g)
	g.url = server.URL
	c.t.Cleanup(func() {
		close(g.closed)
		server.CloseClientConnections()
		server.Close()
		g.after.Wait()
	})
	return g
}

// behave changes the gateway's mood.
func (g *moodyGateway) behave(m mood) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mood = m
}

// ServeHTTP implements http.Handler.
func (g *moodyGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a := ask{r, body}
	g.mu.Lock()
	mood := g.mood
	var way misbehaviour
	if mood == unreliableGateway && g.random.IntN(10) < 4 {
		if len(g.deck) == 0 {
			g.deck = misbehaviours()
			g.random.Shuffle(len(g.deck), func(i, j int) { g.deck[i], g.deck[j] = g.deck[j], g.deck[i] })
		}
		way, g.deck = g.deck[0], g.deck[1:]
		g.did[way.name]++
	}
	g.mu.Unlock()
	switch {
	case mood == dead:
		reset(w, "")
	case way.treat != nil:
		way.treat(g, w, a)
	default:
		pass(w, g.ask(a))
	}
}

// ask hands a request to the payment service, the one who has left since.
func (g *moodyGateway) ask(a ask) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	r := a.Clone(context.WithoutCancel(a.Context()))
	r.Body = io.NopCloser(bytes.NewReader(a.body))
	g.payments.ServeHTTP(answer, r)
	return answer
}

// hang answers nothing until the other side leaves.
func (g *moodyGateway) hang(a ask) {
	select {
	case <-a.Context().Done():
	case <-g.closed:
	}
}

// tried says which ways the gateway has misbehaved in, and fails the test for those that it has
// not.
func (g *moodyGateway) tried(t *testing.T) string {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	total := 0
	for _, way := range misbehaviours() {
		if total += g.did[way.name]; g.did[way.name] == 0 {
			t.Errorf("the gateway never did this: %s", way.name)
		}
	}
	var told []string
	for _, name := range slices.Sorted(maps.Keys(g.did)) {
		told = append(told, fmt.Sprintf("%s: %d", name, g.did[name]))
	}
	t.Logf("the gateway misbehaved: %s", strings.Join(told, "; "))
	return fmt.Sprintf("%d misbehaviours in %d ways", total, len(g.did))
}

// reset sends some bytes and breaks the connection.
func reset(w http.ResponseWriter, first string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(conn, first)
	if tcp, ok := conn.(*net.TCPConn); ok && first == "" {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func say(w http.ResponseWriter, code int, body string) {
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

func pass(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	say(w, answer.Code, answer.Body.String())
}
