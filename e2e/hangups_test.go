package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cartwheel/database/databasetest"
)

// footprint is what a process has that a request may leave behind.
type footprint struct {
	files   int // open descriptors
	threads int
	callers int // connections of the API, half closed ones among them
}

func (i *instance) footprint(t *testing.T) footprint {
	t.Helper()
	pid := i.command.Process.Pid
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	status, statusErr := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	connections, tcpErr := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp", pid))
	base, urlErr := url.Parse(i.base)
	if err := errors.Join(err, statusErr, tcpErr, urlErr); err != nil {
		t.Fatalf("look at the process: %v", err)
	}
	f := footprint{files: len(files)}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "Threads:"); found {
			f.threads, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	port, _ := strconv.Atoi(base.Port())
	const listening, timeWait, local, state = "0A", "06", 1, 3 // as the kernel writes them
	for line := range strings.Lines(string(connections)) {
		fields := strings.Fields(line)
		if len(fields) > state && strings.HasSuffix(fields[local], fmt.Sprintf(":%04X", port)) &&
			fields[state] != listening && fields[state] != timeWait {
			f.callers++
		}
	}
	return f
}

// goroutines ends the process as SIGQUIT does, and returns the stacks that Go's runtime writes
// then.
func (i *instance) goroutines() []string {
	i.t.Helper()
	i.signal(syscall.SIGQUIT)
	i.exit(soon)
	var stacks []string
	for stack := range strings.SplitSeq(i.log.String(), "\n\n") {
		if strings.HasPrefix(stack, "goroutine ") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

func TestCallers_thatDisconnectLeaveNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		databasetest.SkipUnlessCI(t, "there is no /proc to look at a process: "+err.Error())
	}
	t.Parallel()
	onEachEngine(t, func(t *testing.T, s store) {
		c := newChaos(t, s, map[string]int{"lamp": 1_000_000})
		// A checkout goes on without its caller, so that the gateway's pool grows with each attack:
		// here it keeps none.
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			pause(r.Context(), 5*time.Millisecond)
			c.payments.ServeHTTP(w, r)
		}))
		t.Cleanup(gateway.Close)
		gateway.Config.SetKeepAlivesEnabled(false)
		shop := c.start("--payment-url", gateway.URL)
		c.shoppers.visits(shop)
		c.shoppers.hangsUp = true
		const callers = 50
		hangUps := func(round, times int) {
			atOnce(callers, func(n int) {
				random := dice()
				client := fmt.Sprintf("client-%d-%d", round, n)
				for i := range times / callers {
					ctx, hangUp := context.WithTimeout(context.Background(), time.Duration(random.Int64N(int64(20*time.Millisecond))))
					if i%2 == 0 {
						c.shoppers.add(ctx, random, client, "lamp", 1, "")
					} else {
						c.shoppers.buy(ctx, random, client, "")
					}
					hangUp()
				}
			})
			c.settle()
			// Those who were answered in time keep their connections, until they are told not to.
			eventually(t, soon, "no caller is connected", func() bool {
				shopping.CloseIdleConnections()
				return shop.footprint(t).callers == 0
			})
		}
		hangUps(0, 1000) // pools and threads grow to what such an attack needs
		before := shop.footprint(t)
		unanswered := c.shoppers.told("/addToCart", 0) + c.shoppers.told("/checkOutCart", 0)
		times := shortOrLong(1000, 50_000)
		hangUps(1, times)
		unanswered = c.shoppers.told("/addToCart", 0) + c.shoppers.told("/checkOutCart", 0) - unanswered
		if unanswered < times/10 {
			t.Errorf("only %d of %d callers hung up before they were answered", unanswered, times)
		}
		// The database's pools, which are bounded, may not have been at their most before.
		const slack = 10
		var after footprint
		eventually(t, soon, "the descriptors are closed", func() bool {
			after = shop.footprint(t)
			return after.files <= before.files+slack
		})
		if after.threads > before.threads+slack {
			c.violationf("%d threads before %d hang-ups, %d after", before.threads, times, after.threads)
		}
		c.recordMemory(shop)
		stacks := shop.goroutines()
		if len(stacks) == 0 {
			t.Errorf("no stacks in the log: %s", shop.log)
		}
		var left []string
		for _, stack := range stacks {
			for _, leftover := range []string{"net/http.(*conn).serve", "(*purchase)", "(*Manager).await", "(*Manager).watch("} {
				if strings.Contains(stack, leftover) {
					left = append(left, stack)
					break
				}
			}
		}
		if len(left) > 0 {
			c.violationf("%d goroutines of requests are left, such as %s", len(left), left[0])
		}
		c.notef("%d hang-ups before the answer; %d goroutines, %d descriptors, %d threads after", unanswered, len(stacks), after.files, after.threads)
		c.check()
	})
}
