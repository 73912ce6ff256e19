package payment

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func TestGateway_makesTheCallsOfTheProtocol(t *testing.T) {
	t.Parallel()
	type request struct{ Method, URI, Proto, ContentType, Body string }
	var got []request
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Method, r.RequestURI, r.Proto, r.Header.Get("Content-Type"), string(body)})
		switch r.Method {
		case http.MethodPut:
			_, _ = io.WriteString(w, `{"status":"approved"}`)
		case http.MethodDelete:
			_, _ = io.WriteString(w, `{"status":"voided"}`)
		default:
			_, _ = io.WriteString(w, `{"status":"refunded"}`)
		}
	})
	gateway := connect(t, s.URL+"/ba%2Fse/", Options{})
	const id = "a/b ?%ü"
	for _, call := range []string{"charge", "void", "refund"} {
		if _, err := ask(t.Context(), gateway, call, id); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	const path = "/ba%2Fse/payments/a%2Fb%20%3F%25%C3%BC"
	want := []request{
		{"PUT", path, "HTTP/1.1", "application/json", `{"clientID":"ann","items":[{"productID":"tea","quantity":2}]}`},
		{"DELETE", path, "HTTP/1.1", "", ""},
		{"POST", path + "/refund", "HTTP/1.1", "", ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := s.connections.Load(); got != 1 {
		t.Errorf("three calls one after the other took %d connections, want 1", got)
	}
}

func TestLookup_anythingOutsideOfTheProtocolIsNoLookup(t *testing.T) {
	t.Parallel()
	tea := []Item{{ProductID: "tea", Quantity: 2}}
	tests := []struct {
		code int
		body string
		want Payment
		err  error
	}{
		{
			200, `{"status":"approved","items":[{"productID":"tea","quantity":2}],"reference":"order 7"}`,
			Payment{Approved, tea, "order 7"}, nil,
		},
		{200, `{"status":"refunded","extra":1}`, Payment{Status: Refunded}, nil},
		{404, `{"status":"unknown"}`, Payment{Status: Unknown}, nil},
		{200, `{"status":"unknown"}`, Payment{}, ErrNoLookup},
		{404, `not found`, Payment{}, ErrNoLookup},
		{405, ``, Payment{}, ErrNoLookup},
		{200, `{"status":"charged"}`, Payment{}, ErrNoLookup},
		{200, `{"STATUS":"approved"}`, Payment{}, ErrNoLookup},
		{200, `{"status":"approved","status":"voided"}`, Payment{}, ErrNoLookup},
		{200, `{"status":"approved","items":"tea"}`, Payment{}, ErrNoLookup},
		{500, `{"status":"approved"}`, Payment{}, ErrNoLookup},
	}
	for _, test := range tests {
		gateway := connect(t, serve(t, answerWith(test.code, test.body)).URL, Options{})
		got, err := gateway.Lookup(t.Context(), "1")
		if !errors.Is(err, test.err) || (test.err == nil && err != nil) || !cmp.Equal(got, test.want) {
			t.Errorf("%d %s: %v, %v; want %v, %v", test.code, test.body, got, err, test.want, test.err)
		}
	}
	gateway := connect(t, "http://"+refusing(t), Options{})
	if _, err := gateway.Lookup(t.Context(), "1"); !errors.Is(err, ErrNotSent) || errors.Is(err, ErrNoLookup) {
		t.Errorf("a service that is down: %v, want ErrNotSent", err)
	}
}

func TestLookup_listsTheLargestCart(t *testing.T) {
	t.Parallel()
	want := Payment{Status: Approved, Items: make([]Item, 1000)}
	for i := range want.Items {
		want.Items[i] = Item{ProductID: strings.Repeat("😀", 100), Quantity: 1}
	}
	body, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := connect(t, serve(t, answerWith(200, string(body))).URL, Options{}).Lookup(t.Context(), "1")
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("an answer of %d bytes: %d items, %v", len(body), len(got.Items), err)
	}
}

func TestCharge_carriesTheReference(t *testing.T) {
	t.Parallel()
	var got string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		_, _ = io.WriteString(w, `{"status":"approved"}`)
	})
	o := order("1")
	o.Reference = "auth 7"
	if _, err := connect(t, s.URL, Options{}).Charge(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := `{"clientID":"ann","reference":"auth 7","items":[{"productID":"tea","quantity":2}]}`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
}

func TestGateway_parsesAnswersOfTheProtocol(t *testing.T) {
	t.Parallel()
	tests := []struct {
		call string
		code int
		body string
		want Result
	}{
		{"charge", 200, `{"status":"approved"}`, Result{Status: Approved}},
		{"charge", 200, ` {"id":7,"more":{"status":["x"]},"status":"approved"} ` + "\n", Result{Status: Approved}},
		{"charge", 200, `{"status":"declined","reason":"no funds"}`, Result{Declined, "no funds"}},
		{"charge", 200, `{"status":"declined","reason":null}`, Result{Status: Declined}},
		{"charge", 200, `{"reason":" a\u0000b\nc ","status":"declined"}`, Result{Declined, "a b c"}},
		{
			"charge", 200, `{"status":"declined","reason":"` + strings.Repeat("ü", 400) + `"}`,
			Result{Declined, strings.Repeat("ü", 299) + "…"},
		},
		{"charge", 409, `{"status":"voided"}`, Result{Status: Voided}},
		{"void", 200, `{"status":"voided"}`, Result{Status: Voided}},
		{"void", 409, `{"status":"approved"}`, Result{Status: Approved}},
		{"refund", 200, `{"status":"refunded"}`, Result{Status: Refunded}},
		{"refund", 409, `{"status":"refused","reason":"settled last year\n"}`, Result{Refused, "settled last year"}},
		{"refund", 409, `{"status":"refused"}`, Result{Status: Refused}},
	}
	for _, test := range tests {
		s := serve(t, answerWith(test.code, test.body))
		if got, err := ask(t.Context(), connect(t, s.URL, Options{}), test.call, "1"); err != nil || got != test.want {
			t.Errorf("%s answered %d %s = %v, %v; want %v", test.call, test.code, test.body, got, err, test.want)
		}
		if got := s.requests.Load(); got != 1 {
			t.Errorf("%s answered %d %s took %d attempts, want 1", test.call, test.code, test.body, got)
		}
	}
}

func TestGateway_anyOtherAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		call     string
		code     int
		body     string
		attempts int64
	}{
		{"approved as a conflict", "charge", 409, `{"status":"approved"}`, 1},
		{"voided as a success", "charge", 200, `{"status":"voided"}`, 1},
		{"declined as 402", "charge", 402, `{"status":"declined"}`, 1},
		{"approved as created", "charge", 201, `{"status":"approved"}`, 1},
		{"approved as a void's success", "void", 200, `{"status":"approved"}`, 1},
		{"voided as a void's conflict", "void", 409, `{"status":"voided"}`, 1},
		{"declined to a void", "void", 200, `{"status":"declined"}`, 1},
		{"not found to a void", "void", 404, `{"status":"voided"}`, 1},
		{"refunded as a conflict", "refund", 409, `{"status":"refunded"}`, 1},
		{"refused as a success", "refund", 200, `{"status":"refused"}`, 1},
		{"conflict without a status", "refund", 409, `{"error":"not charged"}`, 1},
		{"conflict without JSON", "refund", 409, `no`, 1},
		{"voided to a refund", "refund", 200, `{"status":"voided"}`, 1},
		{"voided as a refund's conflict", "refund", 409, `{"status":"voided"}`, 1},
		{"no content", "charge", 204, ``, 1},
		{"empty", "charge", 200, ``, 1},
		{"no JSON", "charge", 200, `approved`, 1},
		{"a page", "charge", 200, `<html>approved</html>`, 1},
		{"an array", "charge", 200, `[{"status":"approved"}]`, 1},
		{"a string", "charge", 200, `"approved"`, 1},
		{"null", "charge", 200, `null`, 1},
		{"no status", "charge", 200, `{"state":"approved"}`, 1},
		{"status null", "charge", 200, `{"status":null}`, 1},
		{"status a number", "charge", 200, `{"status":1}`, 1},
		{"status an object", "charge", 200, `{"status":{"status":"approved"}}`, 1},
		{"status in capitals", "charge", 200, `{"status":"APPROVED"}`, 1},
		{"name in capitals", "charge", 200, `{"STATUS":"approved"}`, 1},
		{"status with a space", "charge", 200, `{"status":"approved "}`, 1},
		{"two states", "charge", 200, `{"status":"declined","status":"approved"}`, 1},
		{"two reasons", "charge", 200, `{"status":"declined","reason":"a","reason":"b"}`, 1},
		{"two objects", "charge", 200, `{"status":"approved"}{"status":"declined"}`, 1},
		{"something after", "charge", 200, `{"status":"approved"}!`, 1},
		{"cut short", "charge", 200, `{"status":"approved"`, 1},
		{"broken after the status", "charge", 200, `{"status":"approved","x":}`, 1},
		{"reason a number", "charge", 200, `{"status":"declined","reason":1}`, 1},
		{"invalid UTF-8", "charge", 200, "{\"status\":\"declined\",\"reason\":\"\xff\"}", 1},
		{"too long", "charge", 200, `{"status":"approved","x":"` + strings.Repeat("x", maxAnswerBytes) + `"}`, 1},
		{"too long after the object", "charge", 200, `{"status":"approved"}` + strings.Repeat(" ", maxAnswerBytes), 1},
		{"bad request", "charge", 400, `{"status":"approved"}`, 1},
		{"unauthorized", "void", 401, `{"status":"voided"}`, 1},
		{"too many", "charge", 429, `{"status":"approved"}`, 3},
		{"internal error", "charge", 500, `{"status":"approved"}`, 3},
		{"internal error to a void", "void", 500, `{"status":"voided"}`, 3},
		{"internal error to a refund", "refund", 500, `{"status":"refunded"}`, 3},
		{"bad gateway", "charge", 502, `<html>`, 3},
		{"unavailable", "charge", 503, ``, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answerWith(test.code, test.body))
			result, err := ask(t.Context(), connect(t, s.URL, Options{}), test.call, "1")
			mustBeUnknown(t, test.call, result, err)
			if got := s.requests.Load(); got != test.attempts {
				t.Errorf("%d attempts, want %d", got, test.attempts)
			}
		})
	}
}

func TestGateway_doesNotFollowRedirects(t *testing.T) {
	t.Parallel()
	for _, code := range []int{301, 302, 303, 307, 308} {
		target := serve(t, answerWith(200, `{"status":"approved"}`))
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, `{"status":"approved"}`)
		})
		result, err := connect(t, s.URL, Options{}).Charge(t.Context(), order("1"))
		mustBeUnknown(t, strconv.Itoa(code), result, err)
		if got := target.requests.Load(); got != 0 {
			t.Errorf("%d was followed", code)
		}
	}
}
