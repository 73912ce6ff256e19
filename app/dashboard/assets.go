package dashboard

import (
	"net/http"
	"path"
	"strings"
)

// contentTypes are named here, not looked up: what the machine's tables say differs.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

func baseOf(file string) string { return path.Base(file) }

// asset serves a file that is part of the program. A new release is a new file, so it is asked for every time: it comes
// from the same machine.
func asset(name string, content []byte) http.Handler {
	kind := contentTypes[path.Ext(name)]
	text := string(content)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = strings.NewReader(text).WriteTo(w) // the browser left: nobody to tell
	})
}
