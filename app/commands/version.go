package commands

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the name of a release. The build sets it: -ldflags "-X
// cartwheel/app/commands.version=v1.2.3".
var version string

// Version is the command version.
type Version struct{ Output }

// Run prints the version.
func (c Version) Run(console Console) error {
	built := map[string]string{
		"version": BuildVersion(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
	}
	return c.Print(console, built, fmt.Sprintf("cartwheel %s, %s, %s", built["version"], built["go"], built["platform"]))
}

// BuildVersion is the version of this binary. Without a release's name it is made of the commit.
func BuildVersion() string {
	name := version
	if info, ok := debug.ReadBuildInfo(); ok {
		name = cmp.Or(name, info.Main.Version)
	}
	return cmp.Or(name, "(devel)")
}
