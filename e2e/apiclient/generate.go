// Package apiclient is a client of the API that is generated from its OpenAPI 3 description, as a
// shop's would be. A test uses it.
package apiclient

//go:generate go tool oapi-codegen -generate types,client -package apiclient -o client.gen.go ../../docs/openapi.json
