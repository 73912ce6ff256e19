package commands

import (
	"bytes"
	"runtime"
	"testing"
)

func TestVersion_saysWhatWasBuilt(t *testing.T) {
	old := version
	defer func() { version = old }()
	version = "v1.2.3"
	var out bytes.Buffer
	err := Version{}.Run(Console{Out: &out})
	if want := "cartwheel v1.2.3, " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; err != nil || out.String() != want {
		t.Errorf("got %q, error %v, want %q", out.String(), err, want)
	}
}
