package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
