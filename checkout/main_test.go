package checkout_test

import (
	"flag"
	"os"
	"testing"

	"cartwheel/database/databasetest"

	_ "pgregory.net/rapid" // its flags
)

// TestMain sets defaults that the command line overrides: the state machine's histories are few, so
// that the suite stays quick (`-rapid.checks=2000` for a long look), and many tests run at once,
// because most of them wait.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": histories, "test.parallel": "16"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(databasetest.Main(m))
}
