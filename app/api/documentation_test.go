package api

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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
		OperationID string
		Parameters  []struct{ Name, In string }
		Security    []map[string]any
	}
	Definitions map[string]struct {
		Required   []string
		Properties map[string]struct{ Example any }
	}
}

func TestDocumentation_hasEveryRouteAndCode(t *testing.T) {
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
	changes := []string{"200", "400", "401", "405", "413", "415", "422", "429", "500", "503", "504"}
	found := []string{"200", "400", "401", "405", "429", "500", "503"}
	for path, codes := range map[string][]string{
		"/addToCart":    append([]string{"404", "409"}, changes...),
		"/updateCart":   append([]string{"404", "409"}, changes...),
		"/emptyCart":    changes,
		"/mergeCarts":   append([]string{"409"}, changes...),
		"/checkOutCart": append([]string{"202", "402", "409", "412"}, changes...),
		"/cancelCheckout": append([]string{"202", "404", "409"}, slices.DeleteFunc(slices.Clone(changes),
			func(code string) bool { return code == "422" })...),
		"/cart":      found,
		"/stock":     found,
		"/checkout":  append([]string{"404"}, found...),
		"/checkouts": found,
		"/healthz":   {"200"},
		"/readyz":    {"200", "503"},
	} {
		for method, operation := range doc.Paths[path] {
			documented := make([]string, 0, len(operation.Responses))
			for code, response := range operation.Responses {
				documented = append(documented, code)
				if _, ok := response.Headers["Retry-After"]; ok != (code == "429" || code == "503") {
					t.Errorf("%s %s %s: Retry-After documented is %t", method, path, code, ok)
				}
				if _, ok := response.Headers["X-Request-ID"]; !ok {
					t.Errorf("%s %s %s: no X-Request-ID", method, path, code)
				}
				if code[0] != '2' && response.Schema.Ref != "#/definitions/Answer" {
					t.Errorf("%s %s %s: the answer is %q, not the shared one", method, path, code, response.Schema.Ref)
				}
			}
			slices.Sort(documented)
			slices.Sort(codes)
			if diff := cmp.Diff(codes, documented); diff != "" {
				t.Errorf("%s %s (-want +documented):\n%s", method, path, diff)
			}
			if operation.OperationID == "" {
				t.Errorf("%s %s has no operationId", method, path)
			}
			if method == "post" {
				var names []string
				for _, parameter := range operation.Parameters {
					names = append(names, parameter.In+" "+parameter.Name)
				}
				if !slices.Contains(names, "header Idempotency-Key") && path != "/cancelCheckout" || len(operation.Security) == 0 {
					t.Errorf("%s: got parameters %q, security %v", path, names, operation.Security)
				}
			}
		}
		if len(doc.Paths[path]) != 1 {
			t.Errorf("%s is documented %d times", path, len(doc.Paths[path]))
		}
	}
}

func TestDocumentation_servesOpenAPI3(t *testing.T) {
	t.Parallel()
	s := setup(t, Config{})
	got := s.do("GET", "/documentation/openapi.json", "")
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.") || doc.Paths["/cart"]["get"].OperationID != "getCart" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("got OpenAPI %q, paths %v", doc.OpenAPI, doc.Paths)
	}
}
