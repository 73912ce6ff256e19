package webhook

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secret is that of the specification's example.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestSign_isThatOfTheSpecification(t *testing.T) {
	t.Parallel()
	s, err := New("http://shop.example", secret)
	if err != nil {
		t.Fatal(err)
	}
	got := s.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNew_namesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ url, secret, want string }{
		{"shop.example", "", "--webhook-url (WEBHOOK_URL)"},
		{"ftp://shop.example", "", "--webhook-url (WEBHOOK_URL)"},
		{"https://", "", "--webhook-url (WEBHOOK_URL)"},
		{"https://:443", "", "--webhook-url (WEBHOOK_URL)"},
		{"https://ann:p4ss@ shop", "", "--webhook-url (WEBHOOK_URL)"},
		{"https://shop.example", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "--webhook-secret (WEBHOOK_SECRET)"},
		{"https://shop.example", "whsec_p4ss", "--webhook-secret (WEBHOOK_SECRET)"},
		{"https://shop.example", "whsec_c2hvcnQ=", "--webhook-secret (WEBHOOK_SECRET)"},
	} {
		_, err := New(test.url, test.secret)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "p4ss") {
			t.Errorf("%s %s: got %v, want %s", test.url, test.secret, err, test.want)
		}
	}
}

func TestSend_onlyA2xxIsDelivered(t *testing.T) {
	t.Parallel()
	code := http.StatusOK
	var got *http.Request
	var body string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got, body = r, string(text)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
	}))
	defer server.Close()
	s, err := New(server.URL+"/events", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for code = range map[int]bool{200: true, 202: true, 204: true, 301: false, 307: false, 400: false, 404: false, 410: false, 500: false} {
		err := s.Send(t.Context(), "c.committed", []byte("{}"))
		if delivered := code/100 == 2; (err == nil) != delivered {
			t.Errorf("%d: got %v", code, err)
		}
		h := got.Header
		if got.URL.Path != "/events" || body != "{}" || h.Get("webhook-id") != "c.committed" ||
			h.Get("webhook-signature") != s.sign("c.committed", h.Get("webhook-timestamp"), []byte("{}")) {
			t.Errorf("%d: got %s %q with %v", code, got.URL, body, h)
		}
	}
	server.Close()
	if err := s.Send(t.Context(), "c.committed", nil); err == nil || strings.Contains(err.Error(), "/events") {
		t.Errorf("a closed endpoint: got %v, want an error without the URL", err)
	}
}

// newSender returns a sender to the server, with a short timeout.
func newSender(t *testing.T, server *httptest.Server) *Sender {
	t.Helper()
	s, err := New(server.URL, secret)
	if err != nil {
		t.Fatal(err)
	}
	s.client.Timeout = 100 * time.Millisecond
	t.Cleanup(s.Close)
	return s
}

func TestSend_endpointThatMisbehavesDeliversNothing(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"is silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then the server sees that the caller left
			<-r.Context().Done()
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"sends a header that does not end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeaderBytes))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			defer server.Close()
			if err := newSender(t, server).Send(t.Context(), "c.committed", []byte("{}")); err == nil {
				t.Error("the event is delivered, want an error")
			}
		})
	}
}

// The status decides. What follows it costs neither time nor memory.
func TestSend_bodyThatDoesNotEndIsDelivered(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for piece := make([]byte, 32<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	s := newSender(t, server)
	s.client.Timeout = timeout
	began := time.Now()
	if err := s.Send(t.Context(), "c.committed", []byte("{}")); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= timeout {
		t.Errorf("it took %v", took)
	}
}

func TestSend_reusesItsConnection(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "no")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	s := newSender(t, server)
	s.client.Timeout = timeout
	for range 5 {
		_ = s.Send(t.Context(), "c.committed", []byte("{}"))
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("5 deliveries made %d connections, want 1", n)
	}
}
