package api

import (
	"slices"
	"testing"
)

const shopPage = "https://shop.example"

func TestCORS_configuredOriginMayCall(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{CORSOrigins: []string{"https://other.example", shopPage}, APIKeys: []string{"key"}})

	asked := s.do("OPTIONS", "/addToCart", "", "Origin", shopPage,
		"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,idempotency-key")
	checkAnswer(t, asked, 200, "")
	for header, want := range map[string]string{
		"Access-Control-Allow-Origin":  shopPage,
		"Access-Control-Allow-Methods": "POST, OPTIONS",
		"Access-Control-Allow-Headers": "Authorization, Cartwheel-Reference, Content-Type, Idempotency-Key, If-Match, Traceparent, X-Request-ID",
		"Access-Control-Max-Age":       "600",
	} {
		if got := asked.header.Get(header); got != want {
			t.Errorf("preflight: got %s %q, want %q", header, got, want)
		}
	}
	if vary := asked.header.Values("Vary"); !slices.Equal(vary, []string{"Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"}) {
		t.Errorf("preflight: got Vary %q", vary)
	}

	// Refusals too, or the page could not read them.
	for _, got := range []reply{
		s.do("POST", "/addToCart", validAdd, "Origin", shopPage, "Authorization", "Bearer key"),
		s.do("POST", "/addToCart", validAdd, "Origin", shopPage),
		s.do("POST", "/nothing", "", "Origin", shopPage),
	} {
		if got.header.Get("Access-Control-Allow-Origin") != shopPage || got.header.Get("Vary") != "Origin" ||
			got.header.Get("Access-Control-Expose-Headers") != "Cartwheel-Checkout, Cartwheel-Error, ETag, Retry-After, X-Request-ID" || got.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%d: got headers %v", got.code, got.header)
		}
	}
}

func TestCORS_otherOriginsMayNotCall(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{CORSOrigins: []string{shopPage}})
	for _, origin := range []string{"https://evil.example", "http://shop.example", shopPage + ".evil.example", "null", shopPage + "/"} {
		asked := s.do("OPTIONS", "/addToCart", "", "Origin", origin, "Access-Control-Request-Method", "POST")
		checkAnswer(t, asked, 405, "method not allowed")
		sent := s.do("POST", "/addToCart", validAdd, "Origin", origin)
		for _, got := range []reply{asked, sent} {
			if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Vary") != "Origin" {
				t.Errorf("%s: got headers %v", origin, got.header)
			}
		}
	}
	got := s.do("OPTIONS", "/addToCart", "", "Origin", shopPage) // asks for no method: not a preflight
	checkAnswer(t, got, 405, "method not allowed")
	if got.header.Get("Allow") != "POST, OPTIONS" {
		t.Errorf("got Allow %q", got.header.Get("Allow"))
	}
	checkAnswer(t, s.do("OPTIONS", "/nothing", "", "Origin", shopPage, "Access-Control-Request-Method", "POST"), 404, "no such route")
}

func TestCORS_offWithoutOrigins(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for _, got := range []reply{
		s.do("POST", "/addToCart", validAdd, "Origin", shopPage),
		s.do("OPTIONS", "/addToCart", "", "Origin", shopPage, "Access-Control-Request-Method", "POST"),
	} {
		if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Vary") != "" {
			t.Errorf("%d: got headers %v", got.code, got.header)
		}
	}
}

func TestCORS_starIsEveryOrigin(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{CORSOrigins: []string{"*"}})
	got := s.do("POST", "/addToCart", validAdd, "Origin", "https://any.example")
	if got.header.Get("Access-Control-Allow-Origin") != "https://any.example" {
		t.Errorf("got headers %v", got.header)
	}
}
