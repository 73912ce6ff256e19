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
)

const (
	// maxLag is by how many seconds a replica that is read may be behind. More is visible to
	// customers.
	maxLag = 5
	// lagInterval is the time between two looks at a replica's lag.
	lagInterval = time.Second
	// lagTimeout is the maximum time of such a look.
	lagTimeout = time.Second
)

// The states of a replica, as far as is known.
const (
	unknown int32 = iota
	fresh
	stale
)

// A Replica is a server that follows the primary. Its methods are safe for concurrent use.
type Replica struct {
	*sqlx.DB
	place string
	log   *slog.Logger
	next  atomic.Int64 // Unix nanoseconds before which nobody looks at the lag again
	seen  atomic.Int64 // Unix nanoseconds of the last look
	state atomic.Int32
}

// OpenReplica returns a replica for reads. It connects to nothing: a replica that is down stops no
// server.
func OpenReplica(dsn string, log *slog.Logger) (*Replica, error) {
	settings, err := parse(dsn, log)
	if err != nil {
		return nil, err
	}
	return &Replica{DB: pool(settings, readConnections, "READ ONLY", nil), place: place(settings), log: log}, nil
}

// Fresh reports whether the replica may be read: it replicates, and is at most maxLag behind. One
// call a second looks, and blocks for lagTimeout at most.
func (r *Replica) Fresh(ctx context.Context) bool {
	next, now := r.next.Load(), time.Now()
	if now.UnixNano() >= next && r.next.CompareAndSwap(next, now.Add(lagInterval).UnixNano()) {
		r.Report(r.checkLag(ctx))
		r.seen.Store(time.Now().UnixNano())
	}
	age := now.UnixNano() - r.seen.Load()
	return r.state.Load() == fresh && age < int64(lagInterval+lagTimeout) // the last check may be hours old
}

// Report says how a use of the replica ended. After an error it is not read until the next look.
func (r *Replica) Report(err error) {
	switch {
	case err != nil && r.state.Swap(stale) != stale:
		r.log.Warn("the replica is not read: the primary is", "address", r.place, "error", err)
	case err == nil && r.state.Swap(fresh) != fresh:
		r.log.Info("the replica is read", "address", r.place)
	}
}

// checkLag asks the replica how far it is behind. One that follows nobody does not know.
func (r *Replica) checkLag(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lagTimeout)
	defer cancel()
	rows, err := r.QueryxContext(ctx, "SHOW REPLICA STATUS")
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
			var seconds sql.NullInt64
			switch {
			case !strings.HasPrefix(name, "Seconds_Behind_"):
			case seconds.Scan(value) != nil || !seconds.Valid:
				return errors.New("its replication has stopped")
			case seconds.Int64 > maxLag:
				return fmt.Errorf("it is %d s behind", seconds.Int64)
			default:
				err = nil
			}
		}
	}
	return errors.Join(err, rows.Err())
}
