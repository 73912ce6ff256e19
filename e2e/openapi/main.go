// Command openapi writes the API's description as OpenAPI 3: it converts that of Swagger 2.0, which
// swag generates.
//
//	go run ./openapi ../docs/swagger.json ../docs/openapi.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
)

func main() {
	if err := convert(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}

// convert writes a Swagger 2.0 file as a valid OpenAPI 3 file.
func convert(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var old openapi2.T
	if err := json.Unmarshal(text, &old); err != nil {
		return err
	}
	spec, err := openapi2conv.ToV3(&old)
	if err != nil {
		return err
	}
	spec.Servers = openapi3.Servers{{URL: "/"}}
	if err := spec.Validate(openapi3.NewLoader().Context); err != nil {
		return err
	}
	text, err = json.MarshalIndent(spec, "", "    ")
	if err != nil {
		return err
	}
	return os.WriteFile(to, append(text, '\n'), 0o644)
}
