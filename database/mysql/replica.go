package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"cartwheel/database/engine"
)

const (
	// maxLag is by how much a replica that is read may be behind. More is visible to customers.
	maxLag = 5 * time.Second
	// lagInterval is the time between two looks at a replica's lag.
	lagInterval = time.Second
	// lagTimeout is the maximum time of such a look.
	lagTimeout = time.Second
)

// A replica is a server that follows the primary.
type replica struct {
	db    *sqlx.DB
	place string
	log   *slog.Logger
	next  atomic.Int64 // Unix nanoseconds before which nobody looks at the lag again
	fresh atomic.Bool
}

// OpenReplica returns a replica for reads. It connects to nothing: a replica that is down stops no
// server.
func OpenReplica(dsn string, log *slog.Logger) (engine.Replica, error) {
	settings, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if err := pin(settings, log); err != nil {
		return nil, err
	}
	return &replica{db: pool(settings, readConnections, readOnly, ""), place: place(settings), log: log}, nil
}

// Fresh returns the replica's connections, or nil while it is not to be read: it cannot be reached,
// does not replicate, or is more than maxLag behind. One call a second looks, and blocks for
// lagTimeout at most.
func (r *replica) Fresh(ctx context.Context) *sqlx.DB {
	next, now := r.next.Load(), time.Now()
	if now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(lagInterval).UnixNano()) {
		r.Report(r.checkLag(ctx))
	}
	if !r.fresh.Load() {
		return nil
	}
	return r.db
}

// Report says how a use of the replica ended. After an error it is not read until the next look.
func (r *replica) Report(err error) {
	if was := r.fresh.Swap(err == nil); was && err != nil {
		r.log.Warn("the replica is not read: the primary is", "address", r.place, "error", err)
	} else if !was && err == nil {
		r.log.Info("the replica is read", "address", r.place)
	}
}

func (r *replica) Close() error { return r.db.Close() }

// checkLag asks the replica how far it is behind. One that follows nobody does not know.
func (r *replica) checkLag(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lagTimeout)
	defer cancel()
	rows, err := r.db.QueryxContext(ctx, "SHOW REPLICA STATUS")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	err = errors.New("it replicates nothing")
	for rows.Next() { // one for each source
		status := map[string]any{}
		if err := rows.MapScan(status); err != nil {
			return err
		}
		for name, value := range status {
			if !strings.HasPrefix(name, "Seconds_Behind_") {
				continue
			}
			var seconds sql.NullInt64
			if err = seconds.Scan(value); err == nil && !seconds.Valid {
				err = errors.New("its replication has stopped")
			}
			if lag := time.Duration(seconds.Int64) * time.Second; lag > maxLag {
				err = fmt.Errorf("it is %v behind", lag)
			}
			if err != nil {
				return err
			}
		}
	}
	return errors.Join(err, rows.Err())
}
