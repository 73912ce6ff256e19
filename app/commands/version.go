package commands

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is what a release is called. Its build sets it: -ldflags "-X
// cartwheel/app/commands.version=v1.2.3".
var version string

// Version is the command version.
type Version struct{}

// Run prints the version.
func (Version) Run(console Console) error {
	info, _ := debug.ReadBuildInfo()
	fmt.Fprintln(console.Out, "cartwheel", describeBuild(version, info))
	return nil
}

// BuildVersion is the version of this binary, for metrics and the dashboard.
func BuildVersion() string {
	name := version
	if info, ok := debug.ReadBuildInfo(); ok {
		name = cmp.Or(name, info.Main.Version)
	}
	return cmp.Or(name, "(devel)")
}

// describeBuild says what this binary was built from, in one line. info may be nil.
func describeBuild(version string, info *debug.BuildInfo) string {
	settings := map[string]string{}
	if info != nil {
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		version = cmp.Or(version, info.Main.Version)
	}
	version = cmp.Or(version, "(devel)")
	if commit := settings["vcs.revision"]; commit != "" {
		version += " commit " + commit[:min(len(commit), 12)]
		if settings["vcs.modified"] == "true" {
			version += " with changes"
		}
		if at := settings["vcs.time"]; at != "" {
			version += " of " + at
		}
	}
	return fmt.Sprintf("%s, %s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
