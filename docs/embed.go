// Package docs has the API's description, whose two files are generated (see make docs), and the
// page for operators.
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
	// Operations is the page for operators, in Markdown.
	//
	//go:embed operations.md
	Operations string
)
