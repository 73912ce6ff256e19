package engine_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"

	"cartwheel/database/engine"
)

// A fakeConn is a driver's connection that prepares nothing. It is also its own connector.
type fakeConn struct {
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator

	refusal error // of PrepareContext
	ran     int   // statements, by ExecContext
}

func (c *fakeConn) Connect(context.Context) (driver.Conn, error) { return c, nil }
func (c *fakeConn) Driver() driver.Driver                        { return nil }
func (c *fakeConn) Prepare(string) (driver.Stmt, error)          { return nil, c.refusal }
func (c *fakeConn) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (c *fakeConn) Close() error                                 { return nil }

func (c *fakeConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return nil, c.refusal
}

func (c *fakeConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	c.ran++
	return driver.RowsAffected(1), nil
}

// After a PREPARE that ended the transaction, the server would run the statement in a new one.
func TestConn_runsNothingAfterAPrepareThatEndedTheTransaction(t *testing.T) {
	t.Parallel()
	refusal := errors.New("refused")
	for _, test := range []struct {
		name  string
		fault engine.Fault
		want  error
		ran   int // statements
	}{
		{"conflict", engine.Conflict, refusal, 1},
		{"lost connection", engine.Lost, refusal, 1},
		{"no room", engine.Other, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fake := &fakeConn{refusal: refusal}
			conn, err := engine.CachingConnector{Connector: fake, MaxPrepared: 1,
				Fault: func(error) (engine.Fault, string) { return test.fault, "" }}.Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			exec := func() error {
				_, err := conn.(driver.ExecerContext).ExecContext(t.Context(), "UPDATE t SET n = ?", []driver.NamedValue{{Ordinal: 1, Value: 1}})
				return err
			}
			if err := exec(); err != nil {
				t.Fatalf("the first run: %v", err)
			}
			if err := exec(); !errors.Is(err, test.want) {
				t.Errorf("the second run: %v, want %v", err, test.want)
			}
			if fake.ran != test.ran {
				t.Errorf("%d statements ran, want %d", fake.ran, test.ran)
			}
		})
	}
}
