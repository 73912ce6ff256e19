package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// scaledConnections is the number of connections, divided among the instances.
const scaledConnections = 256

// instanceCounts are the numbers of instances that share one MySQL server.
var instanceCounts = []int{1, 2, 4}

func instancesKey(count int) string { return "instances/mysql/" + strconv.Itoa(count) }

// severalInstances measures adds through several instances on one database, and how many
// connections they have open to it. Without a target: the instances, the database and the load
// share the same processors.
func (b *bench) severalInstances(ctx context.Context) error {
	var s *shop
	var bases []string
	for _, count := range instanceCounts {
		if !b.settings.wants(instancesKey(count)) {
			continue
		}
		if s == nil {
			var err error
			if s, err = b.openShop(ctx, mysql97); err != nil {
				return err
			}
			bases = append(bases, s.base)
		}
		for len(bases) < count {
			i, err := b.serve(ctx, s.store)
			if err != nil {
				return err
			}
			bases = append(bases, i.base)
		}
		if err := b.throughInstances(ctx, s, bases[:count]); err != nil {
			if err := b.missed(ctx, instancesKey(count), err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) throughInstances(ctx context.Context, s *shop, bases []string) error {
	if _, err := b.attackAll(ctx, s, bases, b.settings.warm); err != nil {
		return err
	}
	var rates []float64
	for range b.settings.rounds {
		rate, err := b.attackAll(ctx, s, bases, b.settings.measured)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	connections, err := s.store.number(ctx, "SELECT COUNT(*) FROM performance_schema.threads WHERE processlist_db = DATABASE()")
	if err != nil {
		return err
	}
	b.report.add(row{
		Key: instancesKey(len(bases)), Name: fmt.Sprintf("/addToCart, MySQL, %d connections to %d instances", scaledConnections, len(bases)),
		Measured: summarize(rates, "/s"), Note: fmt.Sprintf("%d connections to the database", connections-1), // less our own
	})
	return nil
}

// attackAll loads all instances at once, and returns the sum of their rates.
func (b *bench) attackAll(ctx context.Context, s *shop, bases []string, length time.Duration) (rate float64, err error) {
	t := traffic{what: add, prefix: "c", clients: adders, products: s.store.catalogue}
	outcomes := make([]outcome, len(bases))
	var all errgroup.Group
	for i, base := range bases {
		all.Go(func() (err error) {
			outcomes[i], err = b.attack(ctx, base, t, scaledConnections/len(bases), length)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return 0, err
	}
	for _, o := range outcomes {
		if err := o.clean(); err != nil {
			return 0, err
		}
		rate += o.rate()
	}
	return rate, nil
}
