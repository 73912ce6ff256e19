package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

//go:embed wrk.lua
var wrkScript []byte

// What wrk is told to send.
const (
	add      = "add"
	checkout = "checkout"
	showCart = "cart"
	update   = "update"
	cancel   = "cancel"
)

// A traffic is requests of one kind.
type traffic struct {
	what     string // such as add
	prefix   string // of the clients' IDs
	clients  int    // how many clients add, drawn by lot
	products int    // how many products are added, drawn by lot
	first    int    // the first client that checks out; each does so once
}

// An outcome is what wrk saw.
type outcome struct {
	Requests int            `json:"requests"` // answered, refusals included
	Micros   float64        `json:"micros"`
	Refused  int            `json:"refused"` // 4xx and 5xx
	Connect  int            `json:"connect"`
	Read     int            `json:"read"`
	Write    int            `json:"write"`
	Timeout  int            `json:"timeout"`
	P50      float64        `json:"p50"` // µs, as the others
	P90      float64        `json:"p90"`
	P99      float64        `json:"p99"`
	P999     float64        `json:"p999"`
	Max      float64        `json:"max"`
	CPU      float64        `json:"-"`        // µs a request, of the server and its database; measure sets it
	Next     int            `json:"next"`     // the first client that was not sent
	Statuses map[string]int `json:"statuses"` // only where they were counted
}

func (o outcome) rate() float64 { return float64(o.Requests) / o.Micros * 1e6 }

// clean says what went wrong: a run with refusals measures something else.
func (o outcome) clean() error {
	if o.Refused+o.Connect+o.Read+o.Write+o.Timeout == 0 {
		return nil
	}
	return fmt.Errorf("of %d requests %d were refused (%v); errors: %d connect, %d read, %d write, %d timeout",
		o.Requests, o.Refused, o.Statuses, o.Connect, o.Read, o.Write, o.Timeout)
}

// attack is safe for concurrent use. It loads base for so long over so many connections and waits
// for the end.
func (b *bench) attack(ctx context.Context, base string, t traffic, connections int, length time.Duration) (outcome, error) {
	b.mu.Lock()
	b.seed++
	seed := b.seed
	b.mu.Unlock()
	args := []string{
		"-t1", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%ds", int(math.Ceil(length.Seconds()))), "--timeout", "20s",
		"-s", b.script, base, "--",
		t.what, t.prefix, strconv.Itoa(t.clients), strconv.Itoa(t.products), strconv.Itoa(t.first), strconv.Itoa(seed),
	}
	if b.countStatuses {
		args = append(args, "count")
	}
	output, err := exec.CommandContext(ctx, "wrk", args...).CombinedOutput()
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if err != nil {
		return outcome{}, fmt.Errorf("wrk: %w\n%s", err, output)
	}
	_, result, found := strings.Cut(string(output), "\nRESULT ")
	var o outcome
	if !found {
		return o, fmt.Errorf("wrk reported nothing:\n%s", output)
	}
	if err := json.NewDecoder(strings.NewReader(result)).Decode(&o); err != nil {
		return o, fmt.Errorf("wrk's report: %w\n%s", err, output)
	}
	b.mu.Lock()
	b.requests += o.Requests
	b.mu.Unlock()
	return o, nil
}
