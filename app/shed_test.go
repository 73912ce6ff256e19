package app

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"cartwheel/app/metrics"
	"cartwheel/queue"
)

func always503(s *testServer) {
	s.shop.answer = func(context.Context) error { return queue.ErrFull }
}

func noRoom() map[string]func() bool {
	full := func() bool { return true }
	return map[string]func() bool{pathAddToCart: full, pathCheckOutCart: full}
}

func TestWhatIsShedReadsLikeAnyOtherRefusal(t *testing.T) {
	t.Parallel()
	for path, body := range map[string]string{pathAddToCart: validAdd, pathCheckOutCart: `{"clientID":"ann"}`} {
		m := metrics.New(metrics.Build{})
		s := setup(t, serverConfig{Full: noRoom(), Metrics: m}, always503)
		conn := s.dial()
		ask := func() reply {
			if _, err := io.WriteString(conn, post(path, "", body)); err != nil {
				t.Fatal(err)
			}
			return s.readReply(conn, http.MethodPost)
		}
		first, second := ask(), ask()
		// A caller that is quicker than net/http is with its connection is refused in the ordinary way again.
		asked := 2
		for ; asked == len(s.shop.additions)+len(s.shop.purchases) && asked < 100; asked++ {
			second = ask()
		}
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(reply{}), cmpopts.IgnoreMapEntries(func(name string, _ []string) bool {
			return name == "Date" || name == headerRequestID
		})); diff != "" {
			t.Errorf("POST %s is refused one way and another (-ordinary +shed):\n%s", path, diff)
		}
		if one, other := first.header.Get(headerRequestID), second.header.Get(headerRequestID); one == other || other == "" {
			t.Errorf("POST %s: request IDs %q and %q, want two", path, one, other)
		}
		if reached := len(s.shop.additions) + len(s.shop.purchases); reached >= asked {
			t.Errorf("POST %s reached the shop %d times of %d: nothing was shed", path, reached, asked)
		}
		if got := m.Answers(metrics.Route(path)).Codes[http.StatusServiceUnavailable]; int(got) != asked {
			t.Errorf("POST %s: %d refusals were counted, want %d", path, got, asked)
		}
	}
}

func TestWhereThereIsRoomNothingIsShed(t *testing.T) {
	t.Parallel()
	room := map[string]func() bool{pathAddToCart: func() bool { return false }}
	s := setup(t, serverConfig{Full: room})
	conn := s.dial()
	for range 3 {
		if _, err := io.WriteString(conn, post(pathAddToCart, "", validAdd)); err != nil {
			t.Fatal(err)
		}
		if got := s.readReply(conn, http.MethodPost); got.code != http.StatusOK {
			t.Errorf("answered %+v, want Success", got)
		}
	}
}

func TestARateLimitIsAppliedBeforeAnythingIsShed(t *testing.T) {
	t.Parallel()
	s := setup(t, serverConfig{Full: noRoom(), RateLimit: 1}, always503)
	codes := map[int]int{}
	conn := s.dial()
	for range 3 {
		if _, err := io.WriteString(conn, post(pathAddToCart, "", validAdd)); err != nil {
			t.Fatal(err)
		}
		codes[s.readReply(conn, http.MethodPost).code]++
	}
	if codes[http.StatusTooManyRequests] < 1 {
		t.Errorf("answers by code are %v, want 429 among them", codes)
	}
}

// A message is a request as it is sent, and how it may be answered by a server that has no room.
type message struct {
	text  string
	codes []int
	keyed bool
}

func post(path, headers, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body)
}

// messages are the requests that a connection is used for. One that is shed is not looked at closely, and is answered 503
// instead of, say, 400: nothing is done either way.
func messages() []message {
	within := post(pathAddToCart, "", validAdd)
	return []message{
		{text: post(pathAddToCart, "", validAdd), codes: []int{503}},
		{text: post(pathCheckOutCart, "", `{"clientID":"ann"}`), codes: []int{503}},
		{text: post(pathAddToCart, "Idempotency-Key: 1\r\n", validAdd), codes: []int{503}, keyed: true},
		{text: post(pathAddToCart, "idempotency-KEY: 1\r\n", validAdd), codes: []int{503}, keyed: true},
		{text: post(pathAddToCart, "X-Unheard-Of: 1\r\n", validAdd), codes: []int{503}},
		{text: post(pathAddToCart, "", within), codes: []int{400, 503}},
		{text: post(pathAddToCart, "", ""), codes: []int{400, 503}},
		{text: post("/elsewhere", "", within), codes: []int{404}},
		{text: "GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n", codes: []int{200}},
		{text: "GET /healthz HTTP/1.1\r\nVia: " + post(pathAddToCart, "", validAdd), codes: []int{200}},
		{text: "POST /addToCart HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(validAdd), validAdd), codes: []int{503}},
		{text: "POST /addToCart HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(within), within), codes: []int{400}},
	}
}

// However requests are cut into pieces and put behind one another, each is answered once, in its place, as it may be.
func TestSheddingNeverTakesOneThingForAnother(t *testing.T) {
	t.Parallel()
	s := setup(t, serverConfig{Full: noRoom()}, always503)
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		sent := rapid.SliceOfN(rapid.SampledFrom(messages()), 1, 8).Draw(t, "messages")
		before := s.shop.keyed()
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		answers := bufio.NewReader(conn)
		next := 0 // the first message that was not answered yet
		read := func(upTo int) {
			for ; next < upTo; next++ {
				response, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Fatalf("answer %d of %d: %v", next+1, len(sent), err)
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || !slices.Contains(sent[next].codes, response.StatusCode) {
					t.Fatalf("answer %d is %d %s (%v), want one of %v to\n%s", next+1, response.StatusCode, body, err, sent[next].codes, sent[next].text)
				}
			}
		}
		waiting := ""
		for i, m := range sent {
			waiting += m.text
			if i+1 < len(sent) && rapid.Bool().Draw(t, "pipelined") {
				continue
			}
			for waiting != "" {
				n := rapid.IntRange(1, len(waiting)).Draw(t, "piece")
				switch next := strings.Index(waiting[1:], "POST"); rapid.IntRange(0, 2).Draw(t, "cut") {
				case 0:
					n = len(waiting)
				case 1:
					if next >= 0 { // where something begins that looks like a request, and may be inside of one
						n = 1 + next
					}
				}
				if _, err := io.WriteString(conn, waiting[:n]); err != nil {
					t.Fatal(err)
				}
				waiting = waiting[n:]
				if waiting != "" && rapid.Bool().Draw(t, "apart") {
					time.Sleep(200 * time.Microsecond) //nolint:forbidigo // so that the server reads the pieces one by one, which shows nowhere
				}
			}
			read(i + 1)
		}
		keyed := 0
		for _, m := range sent {
			if strings.HasPrefix(m.text, "POST /addToCart HTTP/1.1\r\n") && m.codes[0] == 503 {
				plain++
			}
			if m.keyed {
				keyed++
			}
		}
		if got := s.shop.keyed() - before; got != keyed {
			t.Errorf("%d requests with a key reached the shop, want %d", got, keyed)
		}
	})
	if asked := len(s.shop.additions); asked == 0 || asked >= plain {
		t.Errorf("of %d adds %d reached the shop: want some, and some shed", plain, asked)
	}
}

// The more callers are back at once, the longer each waits, so that all of them together get no more than their share.
func TestCallersWhoAreBackAtOnceAreRefusedNoMoreOftenThanTheirShare(t *testing.T) {
	t.Parallel()
	s := setup(t, serverConfig{Full: noRoom()}, always503)
	s.http.shedder.each = time.Millisecond
	const callers, length = 20, 500 * time.Millisecond
	var refused atomic.Int64
	var all sync.WaitGroup
	for range callers {
		conn := s.dial()
		all.Go(func() {
			answers := bufio.NewReader(conn)
			for began := time.Now(); time.Since(began) < length; {
				_, _ = io.WriteString(conn, post(pathAddToCart, "", validAdd))
				response, err := http.ReadResponse(answers, nil)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if got, most := refused.Load(), int64(2*length/time.Millisecond); got < callers || got > most {
		t.Errorf("%d callers were refused %d times in %v, want at most %d", callers, got, length, most)
	}
}

func TestOnlyAWholePlainPostIsShed(t *testing.T) {
	t.Parallel()
	plain := post(pathAddToCart, "", validAdd)
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"plain":                      {plain, true},
		"what load balancers add":    {post(pathAddToCart, "X-Forwarded-For: 10.0.0.1\r\nX-FORWARDED-PROTO: https\r\nConnection: keep-alive\r\n", validAdd), true},
		"a key":                      {post(pathAddToCart, "Idempotency-Key: 1\r\n", validAdd), false},
		"an origin":                  {post(pathAddToCart, "Origin: https://shop.example\r\n", validAdd), false},
		"an ID of its own":           {post(pathAddToCart, "X-Request-ID: 1\r\n", validAdd), false},
		"it hangs up":                {post(pathAddToCart, "Connection: close\r\n", validAdd), false},
		"it waits to be asked":       {post(pathAddToCart, "Expect: 100-continue\r\n", validAdd), false},
		"chunks":                     {post(pathAddToCart, "Transfer-Encoding: chunked\r\n", validAdd), false},
		"two lengths":                {post(pathAddToCart, "Content-Length: 51\r\n", validAdd), false},
		"two hosts":                  {post(pathAddToCart, "Host: shop\r\n", validAdd), false},
		"a folded header":            {post(pathAddToCart, "Via: a\r\n b\r\n", validAdd), false},
		"a space before a colon":     {post(pathAddToCart, "Via : a\r\n", validAdd), false},
		"a control character":        {post(pathAddToCart, "Via: \x00\r\n", validAdd), false},
		"lines without CR":           {strings.ReplaceAll(plain, "\r\n", "\n"), false},
		"no host":                    {strings.Replace(plain, "Host: shop\r\n", "", 1), false},
		"no length":                  {"POST /addToCart HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"a length that is no number": {"POST /addToCart HTTP/1.1\r\nHost: shop\r\nContent-Length: +2\r\n\r\n{}", false},
		"half a head":                {plain[:40], false},
		"half a body":                {plain[:len(plain)-1], false},
		"more than one":              {plain + plain, false},
		"another path":               {post("/addToCart2", "", validAdd), false},
		"a query":                    {post("/addToCart?x", "", validAdd), false},
		"another method":             {strings.Replace(plain, "POST", "PUT", 1), false},
		"another version":            {strings.Replace(plain, "HTTP/1.1", "HTTP/1.0", 1), false},
	} {
		text := []byte(c.text)
		if got := pathOf(text) == pathAddToCart && plainRequest(text, pathAddToCart); got != c.want {
			t.Errorf("%s: shed is %v, want %v", name, got, c.want)
		}
	}
}
