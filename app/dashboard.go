package app

import (
	"context"
	"os"
	"path/filepath"

	"cartwheel/app/admin/metrics"
	"cartwheel/checkout"
	"cartwheel/inventory"
	"cartwheel/queue"
)

// levels returns the current levels. It reads counters, and asks the file system.
func (r *running) levels() metrics.Levels {
	inFlight, limit := r.checkouts.InFlight()
	open, refused := r.listener.Stats()
	l := metrics.Levels{
		Checkouts:          metrics.Utilization{Used: inFlight, Limit: limit},
		Connections:        metrics.Utilization{Used: open, Limit: r.listener.Limit},
		RefusedConnections: refused,
		DroppedRecords:     r.logWriter.dropped.Load(),
		Audit:              r.auditor.Last(),
		Sandbox:            r.sandbox,
	}
	if path := r.db.Path(); path != "" {
		l.Disk = &metrics.Disk{Data: size(path), WAL: size(path + "-wal"), Free: freeBytes(filepath.Dir(path))}
	}
	for _, q := range r.queues() {
		use := metrics.Utilization{Used: q.Depth(), Limit: q.Capacity()}
		l.Queues = append(l.Queues, metrics.QueueLevel{Name: q.Name(), Utilization: use})
	}
	return l
}

// size is a file's, or 0 where there is none.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// queues are all queues, in the order of the flow.
func (r *running) queues() []queue.State {
	changes, shows := r.carts.Queues()
	return append([]queue.State{shows, changes}, r.checkouts.Queues()...)
}

// LowestStock returns products for the dashboard, the lowest available first.
func (r *running) LowestStock(ctx context.Context, limit int) ([]inventory.Product, error) {
	return r.stock.Lowest(ctx, limit)
}

// OpenCheckouts returns checkouts that are not settled, on any instance, the oldest first.
func (r *running) OpenCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error) {
	return r.list(ctx, checkout.Filter{Open: true, Oldest: true, Limit: limit})
}

// RecentCheckouts returns checkouts of any instance, the newest first.
func (r *running) RecentCheckouts(ctx context.Context, limit int) ([]checkout.Entry, error) {
	return r.list(ctx, checkout.Filter{Limit: limit})
}

func (r *running) list(ctx context.Context, filter checkout.Filter) (entries []checkout.Entry, err error) {
	err = checkout.List(ctx, r.db, filter, func(e checkout.Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, err
}
