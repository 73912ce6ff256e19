package cluster

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// followPage runs the commands of docs/scaling.md as a new operator would, but for the packages and
// the building of the program, and buys something.
func followPage(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "<!-- tested -->\n```sh\n")
	block, _, closed := strings.Cut(block, "```")
	const install, serve = "apt-get install", "go run . serve"
	if !found || !closed || !strings.HasPrefix(block, install) || !strings.Contains(block, serve) {
		t.Fatalf("the page has no such block: %s", block)
	}
	_, block, _ = strings.Cut(block, "\n")
	block = "set -e\n" + strings.Replace(block, serve, "exec "+binary+" serve", 1)

	dir, err := os.MkdirTemp("", "cartwheel-page-") // short: a socket's path may have about a hundred characters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(deploy, filepath.Join(dir, "deploy")); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	shell := newProcess(t, "the page's commands", []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin", "LISTEN_ADDR=" + address, "ADMIN_ADDR="},
		"sh", "-c", "cd "+dir+"\n"+block)
	shell.start()
	base := "http://" + address
	eventually(t, 3*time.Minute, "the instance is ready", func() bool {
		if shell.gone() {
			t.Fatalf("the commands ended with status %d", shell.exit(time.Second))
		}
		return isReady(base)
	})
	for _, step := range [][2]string{{"/addToCart", `{"clientID":"ann","productID":"mug","quantity":1}`}, {"/checkOutCart", `{"clientID":"ann"}`}} {
		got, err := receive(http.Post(base+step[0], "application/json", strings.NewReader(step[1])))
		if err != nil || got.code != http.StatusOK {
			t.Errorf("%s was answered %d %s, %v", step[0], got.code, got.text, err)
		}
	}
}
