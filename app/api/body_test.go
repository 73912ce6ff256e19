package api

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestContentType_onlyPlainJSONIsAccepted(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	post := func(headers string) string {
		return "POST /addToCart HTTP/1.1\r\nHost: x\r\n" + headers + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(validAdd), validAdd)
	}
	for _, taken := range []string{
		"Content-Type: application/json\r\n",
		"Content-Type: application/json; charset=utf-8\r\n",
		"Content-Type: Application/JSON;charset=\"UTF-8\"\r\n",
		"Content-Type: application/json\r\nContent-Encoding: identity\r\n",
	} {
		checkAnswer(t, s.raw(post(taken)), 200, "")
	}
	for headers, words := range map[string]string{
		"":                                    "Content-Type",
		"Content-Type:\r\n":                   "Content-Type",
		"Content-Type: text/plain\r\n":        "Content-Type",
		"Content-Type: application/jsonp\r\n": "Content-Type",
		"Content-Type: application/json; charset=latin1\r\n":                                       "Content-Type",
		"Content-Type: application/json; version=1\r\n":                                            "Content-Type",
		"Content-Type: application/json; charset\r\n":                                              "Content-Type",
		"Content-Type: application/json, application/json\r\n":                                     "Content-Type",
		"Content-Type: application/json\r\nContent-Type: application/json\r\n":                     "Content-Type",
		"Content-Type: application/x-www-form-urlencoded\r\n":                                      "Content-Type",
		"Content-Type: application/json\r\nContent-Encoding: gzip\r\n":                             "Content-Encoding",
		"Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\n": "Content-Encoding",
	} {
		checkAnswer(t, s.raw(post(headers)), 415, words)
	}
	if got := s.shop.calls(); got != 4 {
		t.Errorf("the shop was asked %d times, want 4", got)
	}
}

func TestBodies_upTo64KiBAreRead(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	fits := validAdd + strings.Repeat(" ", maxBodyBytes-len(validAdd))

	checkAnswer(t, s.do("POST", "/addToCart", fits), 200, "")
	checkAnswer(t, s.raw(chunkedPost(fits, 1000)), 200, "")
	checkAnswer(t, s.do("POST", "/addToCart", fits+" "), 413, "body: want at most 65536 bytes")
	checkAnswer(t, s.raw(chunkedPost(fits+" ", 1000)), 413, "body: want at most 65536 bytes")
}

func chunkedPost(body string, size int) string {
	var text strings.Builder
	text.WriteString("POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		chunk := body[:min(size, len(body))]
		body = body[len(chunk):]
		fmt.Fprintf(&text, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	text.WriteString("0\r\n\r\n")
	return text.String()
}

// The caller here never stops sending: the answer comes all the same, because nobody reads on.
func TestBodies_tooLargeIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	for name, head := range map[string]string{
		"announced": "Content-Length: 10000000000\r\n",
		"chunked":   "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := s.dial()
			if _, err := io.WriteString(conn, "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+head+"\r\n"); err != nil {
				t.Fatal(err)
			}
			chunk := "1000\r\n" + strings.Repeat(" ", 0x1000) + "\r\n"
			sent := make(chan int, 1)
			go func() {
				count := 0
				for {
					n, err := io.WriteString(conn, chunk)
					count += n
					if err != nil {
						sent <- count
						return
					}
				}
			}()
			begun := time.Now()
			got := s.readReply(conn, "POST")
			checkAnswer(t, got, 413, "body")
			if took := time.Since(begun); took > bodyTime/2 {
				t.Errorf("the refusal took %s", took)
			}
			if !got.closes {
				t.Error("the connection stays open behind an unread body")
			}
			_ = conn.Close()
			<-sent
		})
	}
}

func TestBodies_slowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	const patience = 200 * time.Millisecond
	s := setup(t, Config{}, func(s *testServer) { s.http.ReadTimeout = patience })
	begun := time.Now() // the server counts from when it began to read, which may be before the first byte is sent
	conn := s.dial()
	if _, err := io.WriteString(conn, "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 51\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	checkAnswer(t, s.readReply(conn, "POST"), 400, "body: want all of it within 10s")
	if took := time.Since(begun); took < patience || took > 10*time.Second {
		t.Errorf("the refusal took %s, want about %s", took, patience)
	}
	if s.shop.calls() != 0 {
		t.Error("the shop was asked")
	}
}

func TestBodies_brokenEncodingIsMalformed(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	head := "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
	checkAnswer(t, s.raw(head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n"+validAdd+"\r\n0\r\n\r\n"), 400, "body: it ended early")

	conn := s.dial()
	if _, err := io.WriteString(conn, head+"Content-Length: 51\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	checkAnswer(t, s.readReply(conn, "POST"), 400, "body: it ended early")
}

// A caller that asks before it sends is told at once, and does not send.
func TestServer_expectContinueIsRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	head := "POST /addToCart HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: "
	checkAnswer(t, s.raw(head+"text/plain\r\nContent-Length: 51\r\n\r\n"), 415, "Content-Type")
	checkAnswer(t, s.raw(head+"application/json\r\nContent-Length: 70000\r\n\r\n"), 413, "body")
}

func TestServer_connectionServesAfterARefusal(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	conn := s.dial()
	bad := "POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 51\r\n\r\n" + validAdd
	for _, want := range []int{415, 200, 415, 200} {
		request := bad
		if want == 200 {
			request = strings.Replace(bad, "text/plain", "application/json", 1)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		checkAnswer(t, s.readReply(conn, "POST"), want, "")
	}
}

func TestIdempotencyKey_isOneVisibleHeader(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	post := func(headers string) reply {
		return s.raw("POST /checkOutCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(validCheckOut), validCheckOut))
	}
	for _, key := range []string{"!", "~", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, strings.Repeat("k", 255)} {
		checkAnswer(t, post("Idempotency-Key: "+key+"\r\n"), 200, "")
		if got := s.shop.purchases[len(s.shop.purchases)-1].Key; got != key {
			t.Errorf("got key %q, want %q", got, key)
		}
	}
	before := s.shop.calls()
	for _, headers := range []string{
		"Idempotency-Key:\r\n",
		"Idempotency-Key: \r\n",
		"Idempotency-Key: a b\r\n",
		"Idempotency-Key: kä\r\n",
		"Idempotency-Key: " + strings.Repeat("k", 256) + "\r\n",
		"Idempotency-Key: a\r\nIdempotency-Key: a\r\n",
		"Idempotency-Key: a\r\nidempotency-key: b\r\n",
	} {
		checkAnswer(t, post(headers), http.StatusBadRequest, "Idempotency-Key: want")
	}
	if got := s.shop.calls(); got != before {
		t.Errorf("the shop was asked %d times with an invalid key", got-before)
	}
}

func TestCheckOut_headersReachTheShop(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	s.shop.checkoutID = "0198-7"
	for sent, want := range map[string]string{
		`"abc"`:            "abc",
		`W/"abc"`:          "abc",
		`"abc" , W/"d-_e"`: "abc,d-_e",
		`*`:                "*",
	} {
		got := s.do("POST", "/checkOutCart", validCheckOut, "If-Match", sent, "Cartwheel-Reference", "order#7")
		checkAnswer(t, got, 200, "")
		if id := got.header.Get("Cartwheel-Checkout"); id != "0198-7" {
			t.Errorf("got Cartwheel-Checkout %q", id)
		}
		if p := s.shop.purchases[len(s.shop.purchases)-1]; p.IfMatch != want || p.Reference != "order#7" {
			t.Errorf("If-Match %s: the shop was asked for %+v, want %q", sent, p, want)
		}
	}
	for _, invalid := range []string{"abc", `"abc`, `""`, `"a","`, `"a b"`, `"a" "b"`, ",", "W/abc"} {
		checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut, "If-Match", invalid), 400, "If-Match: want the ETag")
	}
	for _, invalid := range []string{" ", "a b", strings.Repeat("r", 256)} {
		checkAnswer(t, s.do("POST", "/checkOutCart", validCheckOut, "Cartwheel-Reference", invalid), 400, "Cartwheel-Reference: want")
	}
}
