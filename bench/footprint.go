package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	memoryConnections = 512
	memoryMiB         = 192
	floodKey          = "memory/flood"
	floodCheckouts    = 4096 // as many as may be in flight
	floodBodies       = 3000 // with them nearly as many connections as one address may have
	floodLines        = 100
	floodMiB          = 384
	startSeconds      = 0.5
	binaryMiB         = 40
	mib               = 1 << 20
)

// footprint measures what an instance needs of the machine.
func (b *bench) footprint(ctx context.Context) error {
	for _, engine := range engines {
		if b.wantsAny("memory/"+engine, "idle/"+engine) {
			if err := b.appetite(ctx, engine); err != nil {
				if err := b.missed(ctx, "memory/"+engine, err); err != nil {
					return err
				}
			}
		}
	}
	if b.settings.wants(floodKey) {
		if err := b.flood(ctx); err != nil {
			if err := b.missed(ctx, floodKey, err); err != nil {
				return err
			}
		}
	}
	if b.settings.wants("start") {
		if err := b.startUp(ctx); err != nil {
			if err := b.missed(ctx, "start", err); err != nil {
				return err
			}
		}
	}
	if b.settings.wants("binary") {
		info, err := os.Stat(b.cartwheel)
		if err != nil {
			return err
		}
		b.report.add(row{
			Key: "binary", Name: "binary, static, stripped", Measured: amountOf(float64(info.Size())/mib, "MiB"), Relation: atMost, Target: binaryMiB,
		})
	}
	return nil
}

// appetite measures memory and the processor time of an instance that had peak load and is idle
// now.
func (b *bench) appetite(ctx context.Context, engine string) error {
	s, err := b.openShop(ctx, engine)
	if err != nil {
		return err
	}
	for _, what := range []string{add, checkout} {
		const atMost = 30_000
		if _, err := b.measure(ctx, s, what, memoryConnections, false, atMost); err != nil {
			return err
		}
	}
	peak, err := s.peakMemory()
	if err != nil {
		return err
	}
	b.progressf("memory/%s: %d MiB", engine, peak/mib)
	if b.settings.wants("memory/" + engine) {
		b.report.add(row{
			Key: "memory/" + engine, Name: fmt.Sprintf("peak memory, %s, adds and checkouts over 512 connections", engineName(engine)),
			Measured: amountOf(float64(peak)/mib, "MiB"), Relation: atMost, Target: memoryMiB,
		})
	}
	if b.settings.wants("idle/" + engine) {
		idle := 2 * b.settings.measured
		before, err := processorTime(s.command.Process.Pid)
		if err != nil {
			return err
		}
		if err := wait(ctx, idle); err != nil {
			return err
		}
		after, err := processorTime(s.command.Process.Pid)
		if err != nil {
			return err
		}
		b.report.add(row{
			Key: "idle/" + engine, Name: fmt.Sprintf("idle, %s: processor time in %v, of one processor", engineName(engine), idle),
			Measured: amountOf(100*(after-before).Seconds()/idle.Seconds(), "%"),
		})
	}
	return s.stop()
}

// flood measures memory at the limits: all checkouts that may be in flight pay for long carts, and
// large bodies stall on the other connections.
func (b *bench) flood(ctx context.Context) error {
	s, err := b.open(ctx, embedded, floodLines)
	if err != nil {
		return err
	}
	if err := s.insert(ctx, "client_cart (client_id, product_id, quantity)", floodCheckouts*floodLines, func(i int) string {
		return fmt.Sprintf("('c%07d','p%05d',1)", i/floodLines, i%floodLines)
	}); err != nil {
		return err
	}
	const pays = "45s" // long enough for all of them to be reserved
	i, err := b.serve(ctx, s, "--payment-url", "sandbox:?latency="+pays, "--payment-timeout", "60s", "--checkout-lease", "90s", "--request-timeout", "90s")
	if err != nil {
		return err
	}
	defer i.kill()
	flooding, stop := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: floodCheckouts}}
	defer client.CloseIdleConnections()
	for n := range floodCheckouts {
		callers.Go(func() { post(flooding, client, i.base+"/checkOutCart", fmt.Sprintf(`{"clientID":"c%07d"}`, n), "") })
	}
	for deadline := time.Now().Add(time.Minute); ; {
		reserved, err := s.number(ctx, "SELECT COUNT(*) FROM checkout_journal WHERE state = 'reserved'")
		if err != nil {
			return err
		}
		if reserved == floodCheckouts {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d checkouts are in flight after a minute", reserved, floodCheckouts)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	callers.Go(func() { slowBodies(flooding, i.base, floodBodies, 60<<10) })
	if err := wait(ctx, 5*time.Second); err != nil {
		return err
	}
	peak, err := i.peakMemory()
	if err != nil {
		return err
	}
	b.report.add(row{
		Key: floodKey, Name: fmt.Sprintf("peak memory, embedded, %d checkouts of %d lines in flight and %d large bodies that stall", floodCheckouts, floodLines, floodBodies),
		Measured: amountOf(float64(peak)/mib, "MiB"), Relation: atMost, Target: floodMiB,
	})
	return nil
}

// startUp measures how long it takes from the start of the process, in an empty directory, to the
// first Success.
func (b *bench) startUp(ctx context.Context) error {
	const times = 5
	var took []float64
	for n := range times {
		dir := filepath.Join(b.dir, fmt.Sprintf("start-%d", n))
		began := time.Now()
		i, err := b.start(ctx, "cartwheel-start", b.cartwheel, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--demo", "--data-dir", dir)
		if err != nil {
			return err
		}
		if err := firstSuccess(ctx, i.base); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		if err := i.stop(); err != nil {
			return err
		}
	}
	b.report.add(row{
		Key: "start", Name: "embedded: process start, in an empty directory, to the first Success",
		Measured: summarize(took, "s"), Relation: atMost, Target: startSeconds,
	})
	return nil
}

func firstSuccess(ctx context.Context, base string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/addToCart", strings.NewReader(`{"clientID":"ann","productID":"mug","quantity":1}`))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("the first add was answered %s: %s", response.Status, body)
	}
	return nil
}
