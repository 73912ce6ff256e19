package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// hostileConnections is the number of connections that carry the adds which an attack must not slow
// down.
const hostileConnections = 64

// An attackKind is a client that does what costs others most.
type attackKind struct {
	name, title string
	run         func(ctx context.Context, base string) // until ctx ends
}

var attacks = []attackKind{
	{"overflow", "two clients whose line overflows", overflowLines},
	{"bodies", "1,000 slow large bodies", func(ctx context.Context, base string) { slowBodies(ctx, base, 1000, 2048) }},
	{"repeats", "1,000 repeats of one pending key", repeatPending},
}

// hostile measures adds alone and beside each attack, in turns.
func (b *bench) hostile(ctx context.Context) error {
	for _, engine := range engines {
		key := func(attack attackKind) string { return "hostile/" + attack.name + "/" + engine }
		wanted := slices.DeleteFunc(slices.Clone(attacks), func(a attackKind) bool { return !b.settings.wants(key(a)) })
		if len(wanted) == 0 {
			continue
		}
		// The payments of the pending key.
		s, err := b.openShop(ctx, engine, "--payment-url", "sandbox:?latency=8s")
		if err != nil {
			return err
		}
		alone, beside, err := b.attackInTurns(ctx, s, wanted)
		if err != nil {
			return fmt.Errorf("hostile/%s: %w", engine, err)
		}
		for _, attack := range wanted {
			b.report.add(row{
				Key: key(attack), Name: "/addToCart, " + engineName(engine) + ", beside " + attack.title,
				Measured: rates(beside[attack.name]), BaseName: "alone", Base: rates(alone),
				Relation: atLeast, Target: 0.8, Cost: costOf(beside[attack.name]),
			})
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	return nil
}

// attackInTurns returns the runs of adds alone, and beside each attack by its name.
func (b *bench) attackInTurns(ctx context.Context, s *shop, kinds []attackKind) (alone []outcome, beside map[string][]outcome, err error) {
	t := traffic{what: add, prefix: "c", clients: adders, products: s.store.catalogue}
	measure := func() (outcome, error) {
		if _, err := b.attack(ctx, s.base, t, hostileConnections, b.settings.warm); err != nil {
			return outcome{}, err
		}
		o, err := b.attackTimed(ctx, s, t, hostileConnections)
		if err == nil {
			err = o.clean()
		}
		return o, err
	}
	beside = map[string][]outcome{}
	for range b.settings.rounds {
		o, err := measure()
		if err != nil {
			return nil, nil, err
		}
		alone = append(alone, o)
		for _, attack := range kinds {
			attacking, stop := context.WithCancel(ctx)
			var attackers sync.WaitGroup
			attackers.Go(func() { attack.run(attacking, s.base) })
			attacked, err := measure()
			stop()
			attackers.Wait()
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", attack.name, err)
			}
			beside[attack.name] = append(beside[attack.name], attacked)
			b.progressf("hostile/%s: %.0f/s alone, %.0f/s beside %s", s.store.engine, o.rate(), attacked.rate(), attack.title)
		}
	}
	return alone, beside, nil
}

// post sends a request and discards the answer.
func post(ctx context.Context, client *http.Client, url, body, key string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

// overflowLines adds more than a line can hold to a line that exists.
func overflowLines(ctx context.Context, base string) {
	var group sync.WaitGroup
	for n := range 2 {
		group.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			body := func(quantity string) string {
				return fmt.Sprintf(`{"clientID":"hostile-%d","productID":"p00001","quantity":%s}`, n, quantity)
			}
			post(ctx, client, base+"/addToCart", body("1"), "")
			for ctx.Err() == nil {
				post(ctx, client, base+"/addToCart", body("2147483647"), "")
			}
		})
	}
	group.Wait()
}

// slowBodies keeps connections open whose large bodies stop after sent bytes.
func slowBodies(ctx context.Context, base string, connections, sent int) {
	message := []byte("POST /addToCart HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n" +
		strings.Repeat(" ", sent))
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			for ctx.Err() == nil {
				conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(base, "http://"))
				if err != nil {
					_ = wait(ctx, 100*time.Millisecond)
					continue
				}
				stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
				_, _ = conn.Write(message)
				_, _ = io.Copy(io.Discard, conn) // until the server gives up
				stop()
				_ = conn.Close()
				_ = wait(ctx, 100*time.Millisecond)
			}
		})
	}
	group.Wait()
}

// repeatPending repeats a checkout whose payment is under way.
func repeatPending(ctx context.Context, base string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	post(ctx, client, base+"/addToCart", `{"clientID":"hostile","productID":"p00001","quantity":1}`, "")
	key := strconv.FormatInt(time.Now().UnixNano(), 10)
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() {
			for ctx.Err() == nil {
				post(ctx, client, base+"/checkOutCart", `{"clientID":"hostile"}`, key)
				_ = wait(ctx, 100*time.Millisecond)
			}
		})
	}
	group.Wait()
}
