package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cartwheel/cart/idempotency"
	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/inventory"
	"cartwheel/queue"
)

func TestDocumentation_isServedOffline(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})

	moved := s.do("GET", "/documentation", "")
	if moved.code != http.StatusMovedPermanently || moved.header.Get("Location") != "documentation/" {
		t.Errorf("GET /documentation: got %d to %q", moved.code, moved.header.Get("Location"))
	}
	page := s.do("GET", "/documentation/", "")
	if page.code != 200 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") || !strings.Contains(page.body, "SwaggerUIBundle") {
		t.Fatalf("GET /documentation/: got %d %q", page.code, page.header.Get("Content-Type"))
	}
	for _, same := range []string{"/documentation/index.html", "/documentation/?x=y.css", "/documentation/index.html?a=b"} {
		if got := s.do("GET", same, ""); got.body != page.body || got.header.Get("Content-Type") != page.header.Get("Content-Type") {
			t.Errorf("GET %s is another page", same)
		}
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'self'") {
		t.Errorf("got Content-Security-Policy %q", page.header.Get("Content-Security-Policy"))
	}

	references := regexp.MustCompile(`(?:src|href|url)(?:=|:\s*)"([^"#]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(references) < 6 {
		t.Fatalf("found only %v in the page", references)
	}
	for _, reference := range references {
		name := reference[1]
		if strings.Contains(name, "//") {
			t.Errorf("the page loads %s", name)
			continue
		}
		got := s.do("GET", "/documentation/"+strings.TrimPrefix(name, "./"), "")
		if got.code != 200 || got.body == "" {
			t.Errorf("GET %s: got %d", name, got.code)
		}
		if strings.HasSuffix(name, ".css") && regexp.MustCompile(`url\(["']?(https?:)?//`).MatchString(got.body) {
			t.Errorf("%s loads from elsewhere", name)
		}
		head := s.do("HEAD", "/documentation/"+strings.TrimPrefix(name, "./"), "")
		if head.code != 200 || head.body != "" || head.header.Get("Content-Type") != got.header.Get("Content-Type") {
			t.Errorf("HEAD %s: got %d %v", name, head.code, head.header)
		}
	}
	for _, nothing := range []string{"/documentation/nothing", "/documentation/x/index.html", "/documentation/../go.mod", "/documentation/.", "/documentation/doc.yaml"} {
		checkAnswer(t, s.raw("GET "+nothing+" HTTP/1.1\r\nHost: x\r\n\r\n"), 404, "no such")
	}
}

// A spec is as much of a Swagger 2.0 document as is looked at here.
type spec struct {
	Host  *string
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Schema struct {
				Ref string `json:"$ref"`
			}
			Headers map[string]any
		}
		Parameters []struct{ Name, In string }
		Security   []map[string]any
	}
	Definitions map[string]struct {
		Required   []string
		Properties map[string]struct{ Example any }
	}
}

func TestDocumentation_hasAnExampleOfEveryCode(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	served := s.do("GET", "/documentation/doc.json", "")
	if served.header.Get("Content-Type") != "application/json" {
		t.Errorf("doc.json is served as %q", served.header.Get("Content-Type"))
	}
	checkedIn, err := os.ReadFile("../../docs/swagger.json")
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal([]byte(served.body), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(checkedIn, &want); err != nil {
		t.Fatal(err)
	}
	delete(got.(map[string]any), "schemes") // swag's template has it, empty
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("doc.json is not docs/swagger.json (-checked in +served):\n%s", diff)
	}

	var doc spec
	if err := json.Unmarshal([]byte(served.body), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Host != nil {
		t.Errorf("the spec names the host %q: Try it out would not work elsewhere", *doc.Host)
	}
	shopCodes := []string{"200", "400", "401", "404", "405", "409", "413", "415", "422", "429", "500", "503", "504"}
	for path, codes := range map[string][]string{
		"/addToCart":    shopCodes,
		"/checkOutCart": append([]string{"202", "402"}, shopCodes...),
		"/healthz":      {"200"},
		"/readyz":       {"200", "503"},
	} {
		for method, operation := range doc.Paths[path] {
			documented := make([]string, 0, len(operation.Responses))
			for code, response := range operation.Responses {
				documented = append(documented, code)
				definition := doc.Definitions[strings.TrimPrefix(response.Schema.Ref, "#/definitions/")]
				status, _ := definition.Properties["status"].Example.(string)
				words, ok := definition.Properties["error"].Example.(string)
				if !ok || (words == "") != (status == statusSuccess) || len(definition.Required) != 2 {
					t.Errorf("%s %s %s: the example is %q, %q", method, path, code, status, words)
				}
				if _, ok := response.Headers["Retry-After"]; ok != (code == "429" || code == "503") {
					t.Errorf("%s %s %s: Retry-After documented is %t", method, path, code, ok)
				}
				if _, ok := response.Headers["X-Request-ID"]; !ok {
					t.Errorf("%s %s %s: no X-Request-ID", method, path, code)
				}
			}
			slices.Sort(documented)
			slices.Sort(codes)
			if diff := cmp.Diff(codes, documented); diff != "" {
				t.Errorf("%s %s (-want +documented):\n%s", method, path, diff)
			}
			if method == "post" {
				var names []string
				for _, parameter := range operation.Parameters {
					names = append(names, parameter.In+" "+parameter.Name)
				}
				if !slices.Contains(names, "header Idempotency-Key") || len(operation.Security) == 0 {
					t.Errorf("%s: got parameters %q, security %v", path, names, operation.Security)
				}
			}
		}
		if len(doc.Paths[path]) != 1 {
			t.Errorf("%s is documented %d times", path, len(doc.Paths[path]))
		}
	}
}

func TestDocumentation_examplesAreTheAnswers(t *testing.T) {
	t.Parallel()
	open := setup(t, Config{})
	locked := setup(t, Config{APIKeys: []string{"key"}, RateLimit: 0.001})
	failing := func(err error) string { return string(Present(err).Body) }
	post := func(body string, headers ...string) string {
		return open.do("POST", "/addToCart", body, headers...).body
	}

	unauthorized := locked.do("POST", "/addToCart", validAdd, "Authorization", "Bearer wrong").body
	limited := locked.do("POST", "/addToCart", validAdd).body
	open.ready.err = errors.New("draining")
	notReady := open.do("GET", "/readyz", "").body
	open.shop.answer = func(context.Context) error { return errors.New("unforeseen") }

	for _, test := range []struct {
		documented any
		sent       string
	}{
		{answer200{}, string(successBody)},
		{answer202{}, failing(&checkout.PendingError{CheckoutID: "01980a3e-8f5c-7c6e-9d4b-2f1e0a7b6c5d"})},
		{answer400{}, post(`{"clientID":"a","productID":"p","quantity":1.5}`)},
		{answer401{}, unauthorized},
		{answer402{}, failing(&checkout.DeclinedError{Reason: "card expired"})},
		{answer404{}, failing(&inventory.NoProductError{ProductID: "mug"})},
		{answer404Route{}, open.do("POST", "/nothing", "").body},
		{answer405{}, open.do("GET", "/addToCart", "").body},
		{answer409{}, failing(&inventory.NotEnoughError{ProductID: "mug", Wanted: 5, Available: 2})},
		{answer413{}, post(strings.Repeat(" ", maxBodyBytes+1))},
		{answer415{}, post(validAdd, "Content-Type", "text/plain")},
		{answer422{}, failing(idempotency.ErrMismatch)},
		{answer429{}, limited},
		{answer500{}, post(validAdd, "X-Request-ID", "k3v9x2ma-17")},
		{answer503{}, failing(queue.ErrFull)},
		{answerNotReady{}, notReady},
		{answer504{}, failing(database.ErrOutcomeUnknown)},
	} {
		var sent answer
		if err := json.Unmarshal([]byte(test.sent), &sent); err != nil {
			t.Fatal(err)
		}
		kind := reflect.TypeOf(test.documented)
		status, _ := kind.FieldByName("Status")
		words, _ := kind.FieldByName("Error")
		documented := answer{status.Tag.Get("example"), words.Tag.Get("example")}
		if diff := cmp.Diff(documented, sent); diff != "" {
			t.Errorf("%s (-documented +sent):\n%s", kind.Name(), diff)
		}
	}
}
