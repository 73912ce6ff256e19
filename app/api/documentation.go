package api

import (
	"io/fs"
	"net/http"

	"github.com/labstack/echo/v4"
	echoswagger "github.com/swaggo/echo-swagger"
	swaggerfiles "github.com/swaggo/files/v2"

	"cartwheel/docs"
)

// documentationPage serves the Swagger UI, all of it from the binary, and the API's description.
//
//	@title						Cartwheel
//	@version					1.0
//	@description				Carts, stock and checkout for a shop. Clients put products into their carts and buy what is in them; Cartwheel sees to it that nothing is sold twice, nothing is charged twice, and no stock leaks, through crashes and lost connections.
//	@description
//	@description				Every answer is one JSON object that begins with `"status"` and `"error"`. `status` is `Success`, `Failed` or `Pending`, and `error` is empty exactly when it is `Success`.
//	@description
//	@description				- **Success** means done, and durable on disk.
//	@description				- **Failed** with a 4xx tells what to change; with 429 and 503 it is certain that nothing was done, and `Retry-After` says when to try again.
//	@description				- **Pending** means that a payment's outcome is not known yet. Ask again with the same `Idempotency-Key`.
//	@description
//	@description				IDs are yours: strings of 1 to 100 Unicode characters, compared exactly, without white space at the ends and without control characters. Bodies are read strictly: unknown, repeated or missing fields are a 400 that names them.
//	@description
//	@description				Send an `Idempotency-Key` with whatever you may have to repeat: the first answer is kept with its effect and sent again to every repeat.
//	@license.name				Apache-2.0
//	@license.url				https://www.apache.org/licenses/LICENSE-2.0
//	@BasePath					/
//	@accept						json
//	@produce					json
//	@securityDefinitions.apikey	Bearer
//	@in							header
//	@name						Authorization
//	@description				Only where the server has API keys configured: the word Bearer, a space, and the key.
var documentationPage = echoswagger.EchoWrapHandler(func(config *echoswagger.Config) {
	config.URLs = []string{"doc.json"}
})

// redirectToDocumentation leads to the page, whose links only work below the slash. The target is
// relative, so that it holds behind a proxy that adds a prefix.
func redirectToDocumentation(c echo.Context) error {
	return c.Redirect(http.StatusMovedPermanently, "documentation/")
}

// serveDocumentation answers with the page, the description, or one of the page's files.
func serveDocumentation(c echo.Context) error {
	h := c.Response().Header()
	h.Set(echo.HeaderXContentTypeOptions, "nosniff")
	// Nothing from elsewhere: the page works offline, and tells nobody that it was read.
	h.Set(echo.HeaderContentSecurityPolicy, "default-src 'self'; script-src 'self' 'unsafe-inline'; "+
		"style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'")

	name := c.Param("*")
	switch name {
	case "doc.json":
		return c.JSONBlob(http.StatusOK, docs.Swagger)
	case "openapi.json":
		return c.JSONBlob(http.StatusOK, docs.OpenAPI)
	case "", "index.html":
		name = "index.html" // echo-swagger's own, not that of the files
	default:
		if file, err := fs.Stat(swaggerfiles.FS, name); err != nil || file.IsDir() {
			return refuse(http.StatusNotFound, "no_such_route", "no such page: see %s", PathDocumentation)
		}
	}
	// echo-swagger reads the raw URI, trips over queries, knows no HEAD, and writes to the request.
	request := *c.Request()
	url := *request.URL
	request.URL = &url
	request.Method = http.MethodGet
	request.RequestURI = PathDocumentation + "/" + name
	c.SetRequest(&request)
	return documentationPage(c)
}
