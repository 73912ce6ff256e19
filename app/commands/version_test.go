package commands

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion_saysWhatWasBuilt(t *testing.T) {
	t.Parallel()
	tail := ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
	info := func(version string, settings ...string) *debug.BuildInfo {
		built := &debug.BuildInfo{Main: debug.Module{Version: version}}
		for i := 0; i < len(settings); i += 2 {
			built.Settings = append(built.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return built
	}
	for _, test := range []struct {
		version string
		info    *debug.BuildInfo
		want    string
	}{
		{"", nil, "(devel)"},
		{"", info("v1.2.3"), "v1.2.3"},
		{"v2.0.0", info("v1.2.3"), "v2.0.0"},
		{"v2.0.0", info("", "vcs.revision", "0123456789abcdef", "vcs.modified", "true", "vcs.time", "2026-01-02T03:04:05Z"),
			"v2.0.0 commit 0123456789ab with changes of 2026-01-02T03:04:05Z"},
		{"", info("(devel)", "vcs.revision", "0123", "vcs.modified", "false"), "(devel) commit 0123"},
	} {
		if got := describeBuild(test.version, test.info); got != test.want+tail {
			t.Errorf("got %q, want %q", got, test.want+tail)
		}
	}
	var out, said bytes.Buffer
	if err := (Version{}).Run(Console{Out: &out, Err: &said}); err != nil || !strings.HasPrefix(out.String(), "cartwheel ") {
		t.Errorf("%v: %s%s", err, out.String(), said.String())
	}
}
