package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cartwheel/database"

	"github.com/pressly/goose/v3/lock"
)

const (
	// lockPatience is how long an instance waits for another one's migrations: adopting a large database takes minutes.
	lockPatience = 10 * time.Minute
	// lockTurn is how long one GET_LOCK waits on the server, which hands the lock over at once when it is free.
	// Short turns let a cancelled context be seen, and the log say what is being waited for.
	lockTurn = time.Second
)

// ErrBusy means that another instance was still migrating the database after ten minutes.
var ErrBusy = errors.New("another instance is still migrating the database")

// A sessionLock is the server's own lock by name (GET_LOCK), held by the connection that migrates. It ends with that
// connection: a holder that is killed gives it back at once, or when the server is done with its last statement.
type sessionLock struct {
	log *slog.Logger
}

var _ lock.SessionLocker = (*sessionLock)(nil)

// lockerFor returns nil on the embedded engine, whose transactions hold all of a migration.
func lockerFor(db *database.DB, log *slog.Logger) *sessionLock {
	if db.Embedded() {
		return nil
	}
	return &sessionLock{log: log}
}

// SessionLock waits for the lock. Errors: ErrBusy, or what the server said.
func (l *sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	name, err := lockName(ctx, conn)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(lockPatience); ; {
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, "SELECT get_lock(?, ?)", name, int(lockTurn.Seconds())).Scan(&got); err != nil {
			return fmt.Errorf("take the migrations' lock: %w", err)
		}
		switch {
		case got.Int64 == 1:
			return nil
		case !got.Valid:
			return errors.New("take the migrations' lock: the server could not (GET_LOCK returned NULL)")
		case time.Now().After(deadline):
			return ErrBusy
		}
		l.log.InfoContext(ctx, "waiting for another instance to migrate the database")
	}
}

// SessionUnlock gives the lock back. A connection that cannot do it is closed, which does it too.
func (l *sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	name, err := lockName(ctx, conn)
	if err == nil {
		_, err = conn.ExecContext(ctx, "DO release_lock(?)", name)
	}
	if err != nil {
		l.log.DebugContext(ctx, "the migrations' connection is closed with its lock", "error", err)
		// Raw's error is the one handed to it.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	return nil
}

// lockName names the lock. Such locks belong to the whole server, hence the database's name, as a hash: a lock's
// name may have 64 characters and is compared without case.
func lockName(ctx context.Context, conn *sql.Conn) (string, error) {
	var name string
	if err := conn.QueryRowContext(ctx, "SELECT database()").Scan(&name); err != nil {
		return "", fmt.Errorf("ask for the database's name: %w", err)
	}
	sum := sha256.Sum256([]byte(name))
	return "cartwheel.migrations." + hex.EncodeToString(sum[:16]), nil
}
