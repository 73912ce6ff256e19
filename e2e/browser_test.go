package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cartwheel/database/databasetest"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	traffic "github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

const (
	// browserTime bounds a whole browser test, so that a page that never comes fails it.
	browserTime = 2 * time.Minute
	// pageTime is how long a page may take to show something, on a busy machine.
	pageTime = 30 * time.Second
)

// A page is a tab of a real Chromium, which has a profile of its own and notes what goes wrong.
type page struct {
	t   *testing.T
	ctx context.Context

	mu         sync.Mutex
	complaints []string            // under mu: errors and warnings of the console, exceptions
	asked      map[string][]string // under mu: URLs, by host
}

// openBrowser starts Chromium until the test's end. Without one the test is skipped, or fails where
// CI is set.
func openBrowser(t *testing.T) *page {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		databasetest.SkipUnlessCI(t, "there is no chromium: make test installs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), browserTime)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1440, 1000),
	}
	for _, flag := range []string{
		"headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
		"disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-default-apps", "disable-extensions",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, closeBrowser := chromedp.NewExecAllocator(ctx, options...)
	ctx, closeTab := chromedp.NewContext(ctx)
	p := &page{t: t, ctx: ctx, asked: map[string][]string{}}
	var listeners sync.WaitGroup
	t.Cleanup(func() {
		closeTab()
		closeBrowser()
		cancel()
		listeners.Wait()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	messages, requests := chromedp.Console(ctx), chromedp.Events(ctx, traffic.RequestWillBeSent)
	if _, err := chromedp.Run(ctx, func(ctx context.Context, tab *chromedp.Target) (cdp.Empty, error) {
		return cdp.Call(ctx, tab, traffic.Enable, traffic.EnableParams{})
	}); err != nil {
		t.Fatalf("watch the network: %v", err)
	}
	listeners.Go(func() {
		for message, err := range messages {
			if err != nil {
				return // the tab is closed
			}
			p.heard(message)
		}
	})
	listeners.Go(func() {
		for request, err := range requests {
			if err != nil {
				return
			}
			p.saw(request.Request.URL)
		}
	})
	return p
}

func (p *page) heard(m chromedp.ConsoleMessage) {
	if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Type == "assert" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.complaints = append(p.complaints, m.String()+" "+m.URL)
	}
}

func (p *page) saw(address string) {
	scheme, rest, _ := strings.Cut(address, "://")
	if scheme == "http" || scheme == "https" || scheme == "ws" || scheme == "wss" { // and not data:
		p.mu.Lock()
		defer p.mu.Unlock()
		host, _, _ := strings.Cut(rest, "/")
		host = host[strings.Index(host, "@")+1:] // without a password
		p.asked[host] = append(p.asked[host], address)
	}
}

// do runs actions that must succeed.
func (p *page) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, pageTime)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// eval returns what an expression is in the page.
func eval[T any](p *page, expression string, options ...chromedp.EvaluateOption) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, pageTime)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// text returns an element's text, or nothing where there is none.
func (p *page) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q)?.textContent ?? ''", selector))
}

// awaits waits until an expression is true in the page.
func (p *page) awaits(what, expression string) {
	p.t.Helper()
	eventually(p.t, pageTime, what, func() bool { return eval[bool](p, "Boolean("+expression+")") })
}

// isQuiet fails the test where the page complained, or asked a client else than the one host for
// anything.
func (p *page) isQuiet(base string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, complaint := range p.complaints {
		p.t.Errorf("the browser complains: %s", complaint)
	}
	for host, urls := range p.asked {
		if host != strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/") {
			p.t.Errorf("the page asked another host: %v", urls)
		}
	}
	if len(p.asked) == 0 {
		p.t.Error("no request was seen: the test does not look")
	}
}

// forgive forgets what the page complained of so far.
func (p *page) forgive() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = nil
}

func (p *page) prefersScheme(scheme string) {
	p.t.Helper()
	p.do("prefer "+scheme, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

func (p *page) screen(width, height int64, phone bool) {
	p.t.Helper()
	options := []chromedp.EmulateViewportOption{chromedp.EmulateScale(1)}
	if phone {
		options = []chromedp.EmulateViewportOption{chromedp.EmulateScale(2), chromedp.EmulateMobile}
	}
	p.do("set the screen", chromedp.EmulateViewport(width, height, options...))
}

// photographing reports whether SCREENSHOTS names a folder for pictures.
func photographing() bool { return os.Getenv("SCREENSHOTS") != "" }

// photograph keeps a picture of the page.
func (p *page) photograph(name string) {
	p.t.Helper()
	if !photographing() {
		return
	}
	picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("SCREENSHOTS"), name+".png"), picture, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
