package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"cartwheel/database/databasetest"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
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
	status := databasetest.Main(m)
	reports.print()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}
