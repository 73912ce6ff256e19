package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// machine notes where and with what is measured.
func (r *report) machine(ctx context.Context, b *bench) error {
	say := func(name, value string) { r.Machine = append(r.Machine, fact{name, value}) }
	say("processor", fmt.Sprintf("%s, %d cores", processor(), runtime.NumCPU()))
	say("kernel", output(ctx, "uname", "-sr"))
	say("data on", mountOf(b.dir))
	say("Go", runtime.Version())
	say("cartwheel", output(ctx, b.cartwheel, "version")+" from "+output(ctx, "git", "describe", "--tags", "--always", "--dirty"))
	wrk := output(ctx, "sh", "-c", "wrk -v 2>&1 | head -1")
	say("wrk", strings.TrimPrefix(before(wrk, " Copyright"), "wrk "))
	say("MariaDB", output(ctx, "sh", "-c", "PATH=$PATH:/usr/sbin; mariadbd --version")+", private, no binary log, 1 GiB buffer pool")
	say("MySQL", "9.7, private, binary log on and synced, 1 GiB buffer pool")
	for _, f := range r.Machine {
		b.progressf("%s: %s", f.Name, f.Value)
	}
	return nil
}

func before(s, end string) string {
	s, _, _ = strings.Cut(s, end)
	return s
}

// output runs a program for what it says; where it cannot, that is what is noted.
func output(ctx context.Context, name string, args ...string) string {
	text, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown (" + err.Error() + ")"
	}
	return strings.TrimSpace(string(text))
}

func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// diskFolder returns where the data goes: where we were told to, or else the first temporary
// directory that is not memory, which would flush nothing.
func (b *bench) diskFolder() (string, error) {
	if b.settings.dir != "" {
		return filepath.Abs(b.settings.dir)
	}
	for _, folder := range []string{os.TempDir(), "/var/tmp", "."} {
		if strings.Contains(mountOf(folder), "tmpfs") {
			continue
		}
		return filepath.Abs(folder)
	}
	return "", errors.New("no temporary directory is on a disk: name one with -dir")
}

// mountOf names the device and the file system that a folder is on.
func mountOf(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "unknown"
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	longest, found := -1, "unknown"
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := fields[1]
		if (folder == point || point == "/" || strings.HasPrefix(folder, point+"/")) && len(point) >= longest {
			longest, found = len(point), fmt.Sprintf("%s (%s)", fields[0], fields[2])
		}
	}
	return found
}
