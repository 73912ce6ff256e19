package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cartwheel/database"
	"cartwheel/database/databasetest"
	"cartwheel/database/databasetest/dbserver"
)

// A disk can be filled, and given room again.
type disk struct {
	fill, empty func()
	// unsure says that its errors leave open whether a commit was done.
	unsure bool
}

// limitedFiles is a disk on which no file of a process may be written beyond that many bytes. That
// needs no rights.
func limitedFiles(t *testing.T, process func() int, most uint64) disk {
	t.Helper()
	limit := func(bytes uint64) {
		t.Helper()
		pid := process()
		var now unix.Rlimit
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, nil, &now); err != nil {
			t.Fatalf("read the limit of process %d: %v", pid, err)
		}
		now.Cur = min(bytes, now.Max)
		if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &now, nil); err != nil {
			t.Fatalf("limit process %d: %v", pid, err)
		}
	}
	return disk{fill: func() { limit(most) }, empty: func() { limit(unix.RLIM_INFINITY) }}
}

// smallDisk mounts a disk of that many MiB until the test keeps. Where that is not allowed the test
// is skipped: it is the same as limitedFiles but for the error that the system gives.
func smallDisk(t *testing.T, mib int) (dir string, d disk) {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk-") // short, for a server's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	switch err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); {
	case errors.Is(err, syscall.EPERM):
		databasetest.SkipUnlessCI(t, "only root may mount a small disk; files that may not grow are tested all the same")
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(dir, "filler")
	return dir, disk{
		fill: func() {
			if err := fillUp(filler); err != nil {
				t.Fatalf("fill the disk: %v", err)
			}
		},
		empty: func() {
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// fillUp writes a file until not one page more has room.
func fillUp(path string) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for _, piece := range []int{1 << 20, 4096} {
		for err == nil {
			_, err = file.Write(make([]byte, piece))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

// longID is an ID that takes as much room as one may.
func longID(n int) string {
	id := fmt.Sprint(n)
	return strings.Repeat("🛒", 100-len(id)) + id
}

// fillCarts gives that many clients a line each, by manual SQL, and lets the shoppers reckon with
// them.
func (s shopServer) fillCarts(c *chaos, name string, clients int) {
	c.t.Helper()
	s.exec(c.t, fmt.Sprintf("INSERT INTO %s.client_cart SELECT CONCAT(REPEAT('🛒', 90), LPAD(seq, 10, '0')), 'plenty', 1 FROM %s.seq_1_to_%d", name, name, clients))
	c.shoppers.mu.Lock()
	defer c.shoppers.mu.Unlock()
	for n := range clients {
		c.shoppers.sure[cartLine{strings.Repeat("🛒", 90) + fmt.Sprintf("%010d", n+1), "plenty"}] = 1
	}
}

// hoard adds for new clients until that many were refused, and wants nothing but refusals and
// Success at the same time; answers that the outcome is not known are refusals only where
// mayBeUnknown says so.
func (c *chaos) addUntilRefused(ctx context.Context, refusals int64, mayBeUnknown bool) {
	c.t.Helper()
	ctx, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	var refused, unknown atomic.Int64
	var next atomic.Int64
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(n), 9))
			for refused.Load()+unknown.Load() < refusals && ctx.Err() == nil {
				got := c.shoppers.add(ctx, random, longID(int(next.Add(1))), "plenty", 1, "")
				switch {
				case got.Code == 503:
					refused.Add(1)
				case got.Code == 504 && mayBeUnknown:
					unknown.Add(1)
				case got.Code != 200 && ctx.Err() == nil:
					c.violationf("an add on a full disk was answered %v", got)
				}
			}
		})
	}
	all.Wait()
	if refused.Load()+unknown.Load() < refusals {
		c.t.Errorf("%d adds were refused, want %d: the disk was not full", refused.Load(), refusals)
	}
	c.notef("of %d adds %d were refused and %d not known while the disk was full", next.Load(), refused.Load(), unknown.Load())
}

// A keeper starts a database server again that ended by itself, as a service manager would, but
// while the disk is full.
type restarter struct{ paused sync.Mutex }

// keep begins to look after the server, until the test keeps.
func (k *restarter) keep(c *chaos, server shopServer) {
	ctx, stop := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			k.paused.Lock()
			if server.Gone() {
				if err := server.Server.Server.Start(); err != nil {
					c.t.Errorf("start the database server again: %v", err)
					stop()
				}
				c.kills.Add(1)
			}
			k.paused.Unlock()
			pause(ctx, 20*time.Millisecond)
		}
	})
	c.t.Cleanup(func() {
		stop()
		looking.Wait()
	})
}

func TestFullDisk_losesNothingAnswered(t *testing.T) {
	t.Parallel()
	fills := func(t *testing.T, s store, rounds int, diskOf func(c *chaos, shop *instance, restarts *restarter) disk) {
		c := newChaos(t, s, chaosStock())
		c.underLoad(func(ctx context.Context, shop *instance) {
			var restarts restarter
			d := diskOf(c, shop, &restarts)
			for range shortOrLong(rounds, 10) {
				pause(ctx, 200*time.Millisecond)
				restarts.paused.Lock()
				d.fill()
				c.addUntilRefused(ctx, 40, d.unsure)
				d.empty()
				restarts.paused.Unlock()
				c.sells(15 * time.Second)
			}
		})
	}
	t.Run("embedded, files may not grow", func(t *testing.T) {
		t.Parallel()
		fills(t, embeddedStore(t), 10, func(_ *chaos, shop *instance, _ *restarter) disk {
			d := limitedFiles(t, func() int { return shop.command.Process.Pid }, 64<<10)
			d.unsure = true // to SQLite this is an error of the disk's, not a full one
			return d
		})
	})
	t.Run("embedded, no space is left", func(t *testing.T) {
		t.Parallel()
		dir, d := smallDisk(t, 16)
		fills(t, store{flags: []string{"--data-dir", dir}, config: database.Config{DataDir: dir}}, 10, func(*chaos, *instance, *restarter) disk { return d })
	})
	t.Run("mariadb, files may not grow", func(t *testing.T) {
		t.Parallel()
		// MySQL waits a minute between two attempts to write to a full disk. Without this a write
		// beyond the limit would end the server; its children inherit what a process ignores.
		signal.Ignore(syscall.SIGXFSZ)
		// What is written in place stays below the limit: the log, and the tablespace that all
		// share.
		const most = 12 << 20
		server := newShopServer(t, dbserver.MariaDB, "--innodb-log-file-size=4M", "--innodb-temp-data-file-path=ibtmp1:4M:autoextend")
		fills(t, server.store(t, "shop"), 2, func(c *chaos, _ *instance, restarts *restarter) disk {
			server.fillCarts(c, "shop", 26_000) // nearly to the limit
			restarts.keep(c, server)
			return limitedFiles(t, server.PID, most)
		})
	})
	t.Run("mariadb, no space is left", func(t *testing.T) {
		t.Parallel()
		dir, d := smallDisk(t, 128)
		server := newShopServerIn(t, dbserver.MariaDB, dir)
		fills(t, server.store(t, "shop"), 2, func(c *chaos, _ *instance, restarts *restarter) disk {
			restarts.keep(c, server)
			return d
		})
	})
}
