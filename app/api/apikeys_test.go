package api

import (
	"strings"
	"testing"
)

func TestAPIKeys_validKeyPasses(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{APIKeys: []string{"first", "second, longer"}})
	for _, header := range []string{"Bearer first", "bearer first", "BEARER second, longer"} {
		checkAnswer(t, s.do("POST", "/addToCart", validAdd, "Authorization", header), 200, "")
		checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut, "Authorization", header), 200, "")
	}
	before := s.shop.calls()
	for header, challenge := range map[string]string{
		"":               `Bearer realm="cartwheel"`,
		"Bearer":         `Bearer realm="cartwheel"`,
		"Bearer ":        `Bearer realm="cartwheel"`,
		"first":          `Bearer realm="cartwheel"`,
		"Basic first":    `Bearer realm="cartwheel"`,
		"Bearer third":   `Bearer realm="cartwheel", error="invalid_token"`,
		"Bearer First":   `Bearer realm="cartwheel", error="invalid_token"`,
		"Bearer first x": `Bearer realm="cartwheel", error="invalid_token"`,
		"Bearer  first":  `Bearer realm="cartwheel", error="invalid_token"`,
	} {
		for _, request := range [][2]string{{"/addToCart", validAdd}, {"/checkOutCart", validCheckOut}} {
			got := s.do("POST", request[0], request[1], "Authorization", header)
			checkAnswer(t, got, 401, "Authorization: ")
			if got.header.Get("WWW-Authenticate") != challenge {
				t.Errorf("%q: got WWW-Authenticate %q, want %q", header, got.header.Get("WWW-Authenticate"), challenge)
			}
		}
	}
	twice := "POST /addToCart HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nAuthorization: Bearer first\r\nContent-Length: 0\r\n\r\n"
	checkAnswer(t, s.raw(twice), 401, "want the header once")
	if got := s.shop.calls(); got != before {
		t.Errorf("the shop was asked %d times without a key", got-before)
	}
	if strings.Contains(s.log.String(), "first") {
		t.Error("a key is in the log")
	}
	for _, open := range []string{"/healthz", "/readyz", "/documentation/", "/documentation/doc.json"} {
		if got := s.do("GET", open, ""); got.code != 200 {
			t.Errorf("GET %s without a key: got %d", open, got.code)
		}
	}
}
