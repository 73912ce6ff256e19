package commands

import (
	"bytes"
	"runtime"
	"testing"
)

func TestVersion_saysWhatWasBuilt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := Version{}.Run(Console{Out: &out})
	if want := "cartwheel " + BuildVersion() + ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH + "\n"; err != nil || out.String() != want {
		t.Errorf("got %q, error %v, want %q", out.String(), err, want)
	}
}
