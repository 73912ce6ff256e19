package reference

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"cartwheel/payment"
)

// serveFile, when set, makes this test binary a payment service that a test may kill.
const serveFile = "REFERENCE_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(serveFile); path != "" {
		service, err := Open(path, Options{})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(httptest.NewServer(service).URL)
		select {}
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, path string, options Options) *Service {
	t.Helper()
	service, err := Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Close() })
	return service
}

func setup(t *testing.T) (*Service, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "payments.log")
	return open(t, path, Options{}), path
}

// ask sends one request to a handler and returns "code body".
func ask(handler http.Handler, method, target, body string, header ...string) string {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return fmt.Sprint(recorder.Code, " ", strings.TrimSpace(recorder.Body.String()))
}

const (
	annsOrder       = `{"clientID":"ann","items":[{"productID":"tea","quantity":2}]}`
	referencedOrder = `{"clientID":"ann","reference":"order 7","items":[{"productID":"tea","quantity":2}]}`
	declinedsOrder  = `{"clientID":"decline-cy","items":[{"productID":"tea","quantity":2}]}`
	norefundsOrder  = `{"clientID":"norefund-di","items":[{"productID":"tea","quantity":2}]}`
)

func TestService_answersEveryRowOfTheProtocol(t *testing.T) {
	t.Parallel()
	service, path := setup(t)
	const (
		approved = `200 {"status":"approved"}`
		reason   = "this service declines every client whose ID begins with decline-"
		declined = `200 {"status":"declined","reason":"` + reason + `"}`
		voided   = `200 {"status":"voided"}`
		refunded = `200 {"status":"refunded"}`
		refused  = `409 {"status":"refused","reason":"this payment was not charged"}`
		tooLate  = `409 {"status":"voided"}`
		charged  = `409 {"status":"approved"}`
		kept     = `409 {"status":"refused","reason":"this service refunds no client whose ID begins with norefund-"}`

		listed     = `200 {"status":"approved","reference":"order 7","items":[{"productID":"tea","quantity":2}]}`
		otherOrder = `422 {"error":"this checkout's ID was used for another order"}`
	)
	steps := []struct{ method, target, body, want string }{
		{"PUT", "/payments/charged", referencedOrder, approved},
		{"PUT", "/payments/charged", referencedOrder, approved},
		{"PUT", "/payments/charged", annsOrder, otherOrder},
		{"PUT", "/payments/charged", declinedsOrder, otherOrder},
		{"DELETE", "/payments/charged", "", charged},
		{"DELETE", "/payments/charged", "", charged},
		{"PUT", "/payments/charged", referencedOrder, approved},
		{"GET", "/payments/charged", "", listed},

		{"PUT", "/payments/declined", declinedsOrder, declined},
		{"PUT", "/payments/declined", declinedsOrder, declined},
		{"POST", "/payments/declined/refund", "", refused},

		{"PUT", "/payments/declined-voided", declinedsOrder, declined},
		{"DELETE", "/payments/declined-voided", "", voided},
		{"PUT", "/payments/declined-voided", declinedsOrder, tooLate},

		{"DELETE", "/payments/a%2Fb", "", voided},
		{"DELETE", "/payments/a%2Fb", "", voided},
		{"PUT", "/payments/a%2Fb", annsOrder, tooLate},
		{"POST", "/payments/a%2Fb/refund", "", refused},

		{"GET", "/payments/refunded", "", `404 {"status":"unknown"}`},
		{"PUT", "/payments/refunded", annsOrder, approved},
		{"GET", "/payments/refunded", "", `200 {"status":"approved","items":[{"productID":"tea","quantity":2}]}`},
		{"POST", "/payments/refunded/refund", "", refunded},
		{"POST", "/payments/refunded/refund", "", refunded},
		{"DELETE", "/payments/refunded", "", voided},
		{"PUT", "/payments/refunded", annsOrder, tooLate},
		{"POST", "/payments/refunded/refund", "", refunded},

		{"PUT", "/payments/kept", norefundsOrder, approved},
		{"POST", "/payments/kept/refund", "", kept},
		{"POST", "/payments/kept/refund", "", kept},
		{"DELETE", "/payments/kept", "", charged},
		{"PUT", "/payments/kept", norefundsOrder, approved},

		{"POST", "/payments/never/refund", "", refused},
	}
	for _, step := range steps {
		if got := ask(service, step.method, step.target, step.body); got != step.want {
			t.Errorf("%s %s = %s, want %s", step.method, step.target, got, step.want)
		}
	}
	items := []payment.Item{{ProductID: "tea", Quantity: 2}}
	want := map[string]Payment{
		"charged":         {ClientID: "ann", Reference: "order 7", Items: items, Status: payment.Approved},
		"declined":        {ClientID: "decline-cy", Items: items, Status: payment.Declined, Reason: reason},
		"declined-voided": {ClientID: "decline-cy", Items: items, Status: payment.Voided},
		"a/b":             {Status: payment.Voided},
		"refunded":        {ClientID: "ann", Items: items, Status: payment.Refunded},
		"kept":            {ClientID: "norefund-di", Items: items, Status: payment.Approved},
	}
	unchecked := cmpopts.IgnoreFields(Payment{}, "CheckoutID", "At")
	check := func(when string, service *Service) {
		t.Helper()
		if diff := cmp.Diff(want, service.Payments(), unchecked); diff != "" {
			t.Errorf("payments %s (-want +got):\n%s", when, diff)
		}
	}
	check("in memory", service)
	if err := service.Close(); err != nil {
		t.Fatal(err)
	}
	reopened := open(t, path, Options{})
	check("reopened", reopened)
	if got := ask(reopened, "PUT", "/payments/a%2Fb", annsOrder); got != tooLate {
		t.Errorf("a charge after a void and a restart = %s, want %s", got, tooLate)
	}
}

func TestService_otherCallsChangeNothing(t *testing.T) {
	t.Parallel()
	service, _ := setup(t)
	tests := []struct {
		method, target, body string
		want                 int
	}{
		{"PUT", "/payments/1", "", 400},
		{"PUT", "/payments/1", `{}`, 400},
		{"PUT", "/payments/1", `null`, 400},
		{"PUT", "/payments/1", `{"clientID":"","items":[{"productID":"tea","quantity":2}]}`, 400},
		{"PUT", "/payments/1", `{"clientID":"ann","items":[]}`, 400},
		{"PUT", "/payments/1", `{"clientID":"ann","items":[{"productID":"","quantity":2}]}`, 400},
		{"PUT", "/payments/1", `{"clientID":"ann","items":[{"productID":"tea","quantity":0}]}`, 400},
		{"PUT", "/payments/1", `{"clientID":"ann","items":[{"productID":"tea","quantity":1.5}]}`, 400},
		{"PUT", "/payments/1", annsOrder + "!", 400},
		{"PUT", "/payments/1", strings.Replace(annsOrder, "{", `{"amount":1,`, 1), 400},
		{"PUT", "/payments/1?x=1", annsOrder, 400},
		{"PUT", "/payments/" + strings.Repeat("x", maxIDBytes+1), annsOrder, 400},
		{"PUT", "/payments/%FF", annsOrder, 400},
		{"PUT", "/payments/1", strings.Repeat(" ", maxBodyBytes+1), 413},
		{"PATCH", "/payments/1", "", 405},
		{"POST", "/payments/1", annsOrder, 405},
		{"PUT", "/payments/1/refund", annsOrder, 405},
		{"PUT", "/payments/", annsOrder, 404},
		{"DELETE", "/payment/1", "", 404},
	}
	for _, test := range tests {
		got := ask(service, test.method, test.target, test.body)
		if !strings.HasPrefix(got, fmt.Sprint(test.want, " ")) {
			t.Errorf("%s %.40s %.60s = %s, want %d", test.method, test.target, test.body, got, test.want)
		}
	}
	if got := service.Payments(); len(got) != 0 {
		t.Errorf("payments: %v", got)
	}
}

func signed(secret, t, method, path, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, strings.Join([]string{t, method, path, body}, "."))
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

func TestService_onlySignedRequestsPass(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		service := open(t, filepath.Join(t.TempDir(), "payments.log"), Options{Secret: "sesame"})
		handler := http.StripPrefix("/base", service)
		const path = "/base/payments/a%2Fb"
		good := signed("sesame", "946684800", "PUT", path, annsOrder)
		tests := map[string]string{
			"none":                     "",
			"garbage":                  "garbage",
			"no version":               "t=946684800",
			"no time":                  strings.TrimPrefix(good, "t=946684800,"),
			"time no number":           signed("sesame", "now", "PUT", path, annsOrder),
			"not hex":                  "t=946684800,v1=zz",
			"empty signature":          "t=946684800,v1=",
			"half a signature":         good[:len(good)-32],
			"another secret":           signed("simsala", "946684800", "PUT", path, annsOrder),
			"another method":           signed("sesame", "946684800", "DELETE", path, annsOrder),
			"path without base":        signed("sesame", "946684800", "PUT", "/payments/a%2Fb", annsOrder),
			"path unescaped":           signed("sesame", "946684800", "PUT", "/base/payments/a/b", annsOrder),
			"another body":             signed("sesame", "946684800", "PUT", path, declinedsOrder),
			"too old":                  signed("sesame", "946684499", "PUT", path, annsOrder),
			"too new":                  signed("sesame", "946685101", "PUT", path, annsOrder),
			"another time than signed": strings.Replace(good, "t=946684800", "t=946684801", 1),
		}
		for name, header := range tests {
			if got := ask(handler, "PUT", path, annsOrder, "Cartwheel-Signature", header); !strings.HasPrefix(got, "401 ") {
				t.Errorf("%s: %s, want 401", name, got)
			}
		}
		if got := service.Payments(); len(got) != 0 {
			t.Errorf("payments: %v", got)
		}
		for _, second := range []string{"946684500", "946684800", "946685100"} {
			header := signed("sesame", second, "PUT", path, annsOrder)
			got := ask(handler, "PUT", path, annsOrder, "Cartwheel-Signature", header)
			if got != `200 {"status":"approved"}` {
				t.Errorf("signed at %s: %s", second, got)
			}
		}
	})
}

func TestLedger_tornLastLineIsDropped(t *testing.T) {
	t.Parallel()
	service, path := setup(t)
	ask(service, "PUT", "/payments/1", annsOrder)
	ask(service, "PUT", "/payments/2", annsOrder)
	if err := service.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.Index(string(whole), "\n") + 1
	for cut := first; cut < len(whole); cut += 7 {
		torn := filepath.Join(t.TempDir(), "torn.log")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		service := open(t, torn, Options{})
		wantStates(t, service, map[string]payment.Status{"1": payment.Approved})
		if got := ask(service, "DELETE", "/payments/2", ""); got != `200 {"status":"voided"}` {
			t.Errorf("cut at %d: %s", cut, got)
		}
		if err := service.Close(); err != nil {
			t.Fatal(err)
		}
		wantStates(t, open(t, torn, Options{}), map[string]payment.Status{"1": payment.Approved, "2": payment.Voided})
	}
}

func wantStates(t *testing.T, service *Service, want map[string]payment.Status) {
	t.Helper()
	got := map[string]payment.Status{}
	for id, known := range service.Payments() {
		got[id] = known.Status
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func TestLedger_damagedFileIsRefused(t *testing.T) {
	t.Parallel()
	const (
		approved = `{"checkoutID":"1","event":"approved","clientID":"ann","at":"2026-01-01T00:00:00Z"}` + "\n"
		voided   = `{"checkoutID":"1","event":"voided","at":"2026-01-01T00:00:00Z"}` + "\n"
		refunded = `{"checkoutID":"1","event":"refunded","at":"2026-01-01T00:00:00Z"}` + "\n"
	)
	for name, content := range map[string]string{
		"no JSON":               approved + "garbage\n" + refunded,
		"empty line":            "\n" + approved,
		"unknown field":         `{"id":"1"}` + "\n",
		"unknown event":         strings.Replace(approved, `"approved"`, `"paid"`, 1),
		"charged twice":         approved + approved,
		"charged after a void":  voided + approved,
		"voided though charged": approved + voided,
		"refund of a void":      voided + refunded,
		"refunded twice":        approved + refunded + refunded,
	} {
		path := filepath.Join(t.TempDir(), "payments.log")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if service, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: Open = %v, want an error that names the line", name, err)
			if service != nil {
				_ = service.Close()
			}
		}
		// The failed attempt lets go of the file.
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, path, Options{})
	}
}

func TestLedger_fileHasOneProcess(t *testing.T) {
	t.Parallel()
	service, path := setup(t)
	if _, err := Open(path, Options{}); err == nil {
		t.Error("it was opened twice")
	}
	if err := service.Close(); err != nil {
		t.Fatal(err)
	}
	if err := service.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if got := ask(service, "PUT", "/payments/1", annsOrder); !strings.HasPrefix(got, "500 ") {
		t.Errorf("after Close: %s, want 500", got)
	}
	if got := open(t, path, Options{}).Payments(); len(got) != 0 {
		t.Errorf("what was answered 500 is there: %v", got)
	}
}

func TestLedger_failedWriteIsNotAnswered(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*ledger){
		"write": func(l *ledger) { _ = l.file.Close() }, // as a disk that goes away
		"flush": func(l *ledger) { l.flush = func() error { return io.ErrShortWrite } },
	} {
		service, _ := setup(t)
		ask(service, "PUT", "/payments/1", annsOrder)
		fail(service.ledger)
		for range 2 { // a repeat must not be told what may not be in the file
			if got := ask(service, "PUT", "/payments/2", annsOrder); !strings.HasPrefix(got, "500 ") {
				t.Errorf("PUT after a failed %s = %s, want 500", name, got)
			}
		}
		service.ledger.flush = func() error { return nil }
		if got := ask(service, "PUT", "/payments/3", annsOrder); !strings.HasPrefix(got, "500 ") {
			t.Errorf("PUT of another payment after a failed %s = %s, want 500", name, got)
		}
		if got := ask(service, "DELETE", "/payments/1", ""); got != `409 {"status":"approved"}` {
			t.Errorf("a payment of before the failed %s is answered %s", name, got)
		}
	}
}

func TestService_racingChargesAndVoidsHaveOneEnd(t *testing.T) {
	t.Parallel()
	service, _ := setup(t)
	for round := range 50 {
		target := fmt.Sprintf("/payments/%d", round)
		var captured, voided atomic.Int64
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				method, body := "PUT", annsOrder
				if i%2 == 0 {
					method, body = "DELETE", ""
				}
				switch got := ask(service, method, target, body); got {
				case `200 {"status":"approved"}`, `409 {"status":"approved"}`:
					captured.Add(1)
				case `200 {"status":"voided"}`, `409 {"status":"voided"}`:
					voided.Add(1)
				default:
					t.Errorf("%s = %s", method, got)
				}
			})
		}
		group.Wait()
		if captured.Load() != 20 && voided.Load() != 20 {
			t.Fatalf("%d were told approved and %d voided", captured.Load(), voided.Load())
		}
	}
}

func TestService_killedRemembersItsAnswers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "payments.log")
	answered := make(map[string]string)
	next := 0
	for life := range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		command := exec.CommandContext(ctx, os.Args[0])
		command.Env = append(os.Environ(), serveFile+"="+path)
		command.Stderr = os.Stderr
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(output).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		url := strings.TrimSpace(line)

		client := &http.Client{Transport: &http.Transport{}}
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				for {
					mu.Lock()
					next++
					id := fmt.Sprint(next)
					method, body := "PUT", annsOrder
					if next%3 == 0 {
						method, body = "DELETE", ""
					}
					if len(answered) >= 200*(life+1) {
						cancel() // kills it while the others are being answered
					}
					mu.Unlock()
					target := url + "/payments/" + id
					request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
					if err != nil {
						t.Error(err)
						return
					}
					response, err := client.Do(request)
					if err != nil {
						return // killed
					}
					content, err := io.ReadAll(response.Body)
					_ = response.Body.Close()
					if err != nil {
						return
					}
					mu.Lock()
					answered[id] = strings.TrimSpace(string(content))
					mu.Unlock()
				}
			})
		}
		group.Wait()
		cancel()
		_ = command.Wait()
		client.CloseIdleConnections()
	}
	payments := open(t, path, Options{}).Payments()
	for id, answer := range answered {
		want := payment.Approved
		if answer == `{"status":"voided"}` {
			want = payment.Voided
		}
		if got := payments[id].Status; got != want {
			t.Errorf("%s was answered %s and is %q", id, answer, got)
		}
	}
	if len(answered) < 600 {
		t.Errorf("only %d payments were answered", len(answered))
	}
}
