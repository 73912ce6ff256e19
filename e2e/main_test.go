package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"cartwheel/database/databasetest"
)

// binary is the program under test, built once.
var binary string

// waiters is how many tests run at once for each processor: most of their time they wait, for
// leases and payments.
const waiters = 3

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set(strconv.Itoa(waiters * runtime.GOMAXPROCS(0))) // a number
	}
	dir, err := os.MkdirTemp("", "cartwheel-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "cartwheel")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = ".." // the product's own module
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build cartwheel: %v\n%s", err, out)
		os.Exit(1)
	}
	status := databasetest.Main(m,
		// toxiproxy leaves a link's goroutine behind when its toxic is taken away while data are on
		// their way.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"))
	reports.print()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}
