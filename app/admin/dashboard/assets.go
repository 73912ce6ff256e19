package dashboard

import (
	"net/http"
	"path"
)

// contentTypes are named here, not looked up: what the machine's tables say differs.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// asset serves a file that is part of the program.
func asset(name string, content []byte) http.Handler {
	kind := contentTypes[path.Ext(name)]
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content) // the browser left: nobody to tell
	})
}
