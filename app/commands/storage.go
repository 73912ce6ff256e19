package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cartwheel/database"
	"cartwheel/migrations"
)

// Storage says where the data is. Every command that needs it has these flags.
type Storage struct {
	MySQLDSN     string `name:"mysql-dsn" env:"MYSQL_DSN" placeholder:"DSN" help:"MySQL or MariaDB to use, as user:password@tcp(127.0.0.1:3306)/shop; a database that does not exist is created. Empty: the embedded engine."`
	MySQLReadDSN string `name:"mysql-read-dsn" env:"MYSQL_READ_DSN" placeholder:"DSN" help:"A replica of it for look-ups that decide nothing; the primary is read while it is more than 5s behind. Empty: none."`
	DataDir      string `env:"DATA_DIR" default:"./data" help:"Where the embedded engine keeps cartwheel.db."`
}

// Open opens the engine. how has the settings that are not flags. Its errors name the wrong flag.
func (s Storage) Open(ctx context.Context, log *slog.Logger, how database.Config) (*database.DB, error) {
	if s.MySQLReadDSN != "" && s.MySQLDSN == "" {
		return nil, errors.New("--mysql-read-dsn (MYSQL_READ_DSN) has no --mysql-dsn (MYSQL_DSN): expected both")
	}
	how.MySQLDSN, how.MySQLReadDSN, how.DataDir, how.Log = s.MySQLDSN, s.MySQLReadDSN, s.DataDir, log
	db, err := database.Open(ctx, how)
	switch {
	case err != nil && s.MySQLDSN != "":
		return nil, fmt.Errorf("--mysql-dsn (MYSQL_DSN): %w", err)
	case err != nil:
		return nil, fmt.Errorf("--data-dir (DATA_DIR): %w", err)
	}
	return db, nil
}

// using opens the engine for one command and closes it after use.
func (s Storage) using(
	ctx context.Context, log *slog.Logger, how database.Config, use func(context.Context, *database.DB) error,
) error {
	db, err := s.Open(ctx, log, how)
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, db), db.Close())
}

// commandPatience is the maximum time that a command waits for a server that does not answer or is
// still starting, of either engine.
const commandPatience = 5 * time.Second

// reading opens the database for commands that create nothing and change no table: another system
// may be using it.
func (s Storage) reading(ctx context.Context, console Console, use func(context.Context, *database.DB) error) error {
	return s.using(ctx, commandLog(console, slog.LevelWarn), existing, func(ctx context.Context, db *database.DB) error {
		if err := upToDate(ctx, db); err != nil {
			return err
		}
		return use(ctx, db)
	})
}

// existing opens the database for commands that create nothing.
var existing = database.Config{Existing: true, StartTimeout: commandPatience}

func upToDate(ctx context.Context, db *database.DB) error {
	pending, err := migrations.Pending(ctx, db)
	if err == nil && len(pending) > 0 {
		err = fmt.Errorf("the tables in %s are not up to date: start the server, or run cartwheel migrate up", db.Engine())
	}
	return err
}

// writing has the embedded engine's server run a command, or runs it here where none listens. For
// commandPatience it waits for a process that has the data directory, such as a server that is
// still starting.
func (s Storage) writing(ctx context.Context, console Console, command dbCommand, how database.Config) error {
	how.LockDataDir = s.MySQLDSN == ""
	for began := time.Now(); ; {
		if how.LockDataDir {
			if found, err := forward(ctx, s.DataDir, console, command); found {
				return err
			}
		}
		err := s.using(ctx, commandLog(console, slog.LevelWarn), how, func(ctx context.Context, db *database.DB) error {
			if how.Existing {
				if err := upToDate(ctx, db); err != nil {
					return err
				}
			}
			return command.runOn(ctx, console, db)
		})
		if !errors.Is(err, database.ErrDataDirLocked) || time.Since(began) > commandPatience || ctx.Err() != nil {
			return err
		}
	}
}

func commandLog(console Console, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(console.Err, &slog.HandlerOptions{Level: level}))
}
