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

// commandPatience is the maximum time that a command waits for a server that does not answer.
const commandPatience = 5 * time.Second

// reading opens the database for commands that create nothing and change no table: another system
// may be using it.
func (s Storage) reading(ctx context.Context, console Console, use func(context.Context, *database.DB) error) error {
	log, how := commandLog(console, slog.LevelWarn), database.Config{Existing: true, StartTimeout: commandPatience}
	return s.using(ctx, log, how, func(ctx context.Context, db *database.DB) error {
		pending, err := migrations.Pending(ctx, db)
		if err == nil && len(pending) > 0 {
			err = fmt.Errorf("the tables in %s are not up to date: start the server, or run cartwheel migrate up",
				db.Engine())
		}
		if err != nil {
			return err
		}
		return use(ctx, db)
	})
}

// writing is for commands that may come before the first server: they create what is missing and
// bring the tables up to date.
func (s Storage) writing(ctx context.Context, console Console, use func(context.Context, *database.DB) error) error {
	level := slog.LevelWarn
	if s.MySQLDSN != "" {
		level = slog.LevelInfo // what becomes of an old system's rows is worth reading
	}
	log := commandLog(console, level)
	return s.using(ctx, log, database.Config{}, func(ctx context.Context, db *database.DB) error {
		if _, err := migrations.Up(ctx, db, log); err != nil {
			return fmt.Errorf("bring the tables up to date: %w", err)
		}
		return use(ctx, db)
	})
}

func commandLog(console Console, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(console.Err, &slog.HandlerOptions{Level: level}))
}
