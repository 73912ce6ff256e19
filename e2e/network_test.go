package e2e

import (
	"bytes"
	"cartwheel/database/databasetest/dbserver"
	"context"
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"
)

// A network is what lies between the shop and its database, and can be made worse.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

// overNetwork returns a store whose instances reach the database over a network.
func overNetwork(t *testing.T, flavour dbserver.Flavour) (store, *network) {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.ErrorLevel) // some toxics tell each step to a logger that all share
	s, p := behindProxy(t, flavour)            // which has a TCP address, whatever the database server has
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t, toxiproxy.NewProxy(server, "database", "127.0.0.1:0", p.Address())}
	if err := n.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.proxy.Toxics.ResetToxics(context.Background())
		n.proxy.Stop()
	})
	way, err := mysql.ParseDSN(s.config.MySQLDSN)
	if err != nil {
		t.Fatal(err)
	}
	way.Net, way.Addr = "tcp", n.proxy.Listen
	s.flags = []string{"--mysql-dsn", way.FormatDSN()}
	return s, n
}

// A toxic makes a network worse. Its fields are toxiproxy's.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`   // "upstream" is to the database
	Toxicity   float32        `json:"toxicity"` // the share of connections that it befalls
	Attributes map[string]int `json:"attributes"`
}

func (n *network) add(toxics ...toxic) {
	n.t.Helper()
	for _, toxic := range toxics {
		description, err := json.Marshal(toxic)
		if err != nil {
			n.t.Fatal(err)
		}
		if _, err := n.proxy.Toxics.AddToxicJson(bytes.NewReader(description)); err != nil {
			n.t.Fatalf("add %s: %v", description, err)
		}
	}
}

func (n *network) heal() { n.proxy.Toxics.ResetToxics(context.Background()) }

// An illness is a way in which a network can be bad.
type illness struct {
	name   string
	toxics []toxic
	sells  bool // the shop still sells, only slower
	long   bool // it must last until reads that have begun are given up, in the short form too
}

func illnesses() []illness {
	up := func(kind string, share float32, attributes map[string]int) toxic {
		return toxic{kind, "upstream", share, attributes}
	}
	down := func(kind string, share float32, attributes map[string]int) toxic {
		return toxic{kind, "downstream", share, attributes}
	}
	return []illness{
		{name: "latency and jitter", sells: true, toxics: []toxic{
			up("latency", 1, map[string]int{"latency": 10, "jitter": 10}), down("latency", 1, map[string]int{"latency": 10, "jitter": 10}),
		}},
		{name: "slices", sells: true, toxics: []toxic{
			up("slicer", 1, map[string]int{"average_size": 40, "size_variation": 30, "delay": 100}),
			down("slicer", 1, map[string]int{"average_size": 7, "size_variation": 5, "delay": 100}),
		}},
		{name: "little bandwidth", sells: true, toxics: []toxic{ // in KB a second
			up("bandwidth", 1, map[string]int{"rate": 64}), down("bandwidth", 1, map[string]int{"rate": 64}),
		}},
		{name: "resets", toxics: []toxic{up("reset_peer", 0.5, map[string]int{"timeout": 50}), down("reset_peer", 0.5, map[string]int{"timeout": 200})}},
		{name: "cut answers", toxics: []toxic{down("limit_data", 1, map[string]int{"bytes": 1500})}},
		{name: "a black hole for what is sent", toxics: []toxic{up("timeout", 1, map[string]int{"timeout": 0})}},
		{name: "a black hole for what is answered", toxics: []toxic{down("timeout", 1, map[string]int{"timeout": 0})}, long: true},
		{name: "a black hole for some connections", toxics: []toxic{up("timeout", 0.5, map[string]int{"timeout": 0}), down("timeout", 0.5, map[string]int{"timeout": 0})}},
	}
}

func TestDatabaseNetwork_faults(t *testing.T) {
	t.Parallel()
	onEachFlavour(t, func(t *testing.T, flavour dbserver.Flavour) {
		s, n := overNetwork(t, flavour)
		c := newChaos(t, s, chaosStock())
		random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		c.underLoad(func(ctx context.Context, _ *instance) {
			all := illnesses()
			for range shortOrLong(1, 10) {
				random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				for _, illness := range all {
					while := shortOrLong(700*time.Millisecond, 8*time.Second)
					if illness.long {
						while = max(while, 6*time.Second)
					}
					c.suffer(ctx, n, illness, while)
				}
			}
			c.notef("%d kinds of bad network", len(all))
		})
	})
}

// suffer lets the network be bad for a while, and wants the shop to sell after that; during it,
// where it can.
func (c *chaos) suffer(ctx context.Context, n *network, illness illness, while time.Duration) {
	c.t.Helper()
	n.add(illness.toxics...)
	if illness.sells {
		before := c.told200()
		pause(ctx, while)
		if c.told200() == before {
			c.t.Errorf("nothing was stored during %s", illness.name)
		}
	} else {
		pause(ctx, while)
	}
	n.heal()
	started := time.Now()
	c.sells(8 * time.Second) // a read that has begun is given up after 5 s
	c.t.Logf("%s: sold again after %v", illness.name, time.Since(started).Round(time.Millisecond))
}

// told200 is how many requests the shoppers were told Success.
func (c *chaos) told200() (n int) {
	c.shoppers.mu.Lock()
	defer c.shoppers.mu.Unlock()
	return c.shoppers.codes["/addToCart 200"] + c.shoppers.codes["/checkOutCart 200"]
}
