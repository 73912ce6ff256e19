// Package docs has the API's description. Both files are generated: see make docs.
package docs

import _ "embed"

var (
	// Swagger is the description as Swagger 2.0.
	//
	//go:embed swagger.json
	Swagger []byte
	// OpenAPI is the same as OpenAPI 3.
	//
	//go:embed openapi.json
	OpenAPI []byte
)
