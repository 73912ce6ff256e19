package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"cartwheel/app/commands"
	"cartwheel/database"
	"cartwheel/migrations"
	"cartwheel/payment"
)

// configTimeout is the maximum time for the database, and for the payment service.
const configTimeout = 5 * time.Second

// configCommand is the command group config.
type configCommand struct {
	Check configCheckCommand `cmd:"" help:"Check the settings of serve, the database and the payment service, and say what would be migrated. Changes nothing."`
}

type configCheckCommand struct {
	commands.Storage
	settings
	commands.Output
}

// Run prints the result of each check, and fails if one failed. Wrong settings do not get here.
func (c *configCheckCommand) Run(ctx context.Context, console commands.Console) (failure error) {
	text, found := "settings    ok     valid", map[string]string{"settings": "valid"}
	check := func(name string, look func(context.Context) (string, error)) {
		ctx, cancel := context.WithTimeout(ctx, configTimeout)
		defer cancel()
		result, err := look(ctx)
		state := "ok"
		if err != nil {
			state, failure, result = "FAILED", commands.ErrReported, oneLine(err)
		}
		found[name] = result
		text += fmt.Sprintf("\n%-11s %-6s %s", name, state, result)
	}
	check("database", c.checkDatabase)
	check("payments", c.checkPayments)
	if c.TLSCert != "" {
		check("certificate", c.checkCertificate)
	}
	return errors.Join(c.Print(console, found, text), failure)
}

func (c *configCheckCommand) checkCertificate(context.Context) (string, error) {
	used, err := (&certificate{certFile: c.TLSCert, keyFile: c.TLSKey, log: slog.New(slog.DiscardHandler)}).get(nil)
	if err != nil {
		return "", err
	}
	return "valid until " + used.Leaf.NotAfter.Format(time.DateTime), nil
}

func (c *configCheckCommand) checkDatabase(ctx context.Context) (found string, err error) {
	log := slog.New(slog.DiscardHandler)
	db, err := c.Open(ctx, log, database.Config{Existing: true, StartTimeout: configTimeout})
	if errors.Is(err, database.ErrNoData) {
		return "there is none yet: serve creates it", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	pending, err := migrations.Pending(ctx, db)
	if len(pending) > 0 {
		return db.Engine() + ": serve applies " + strings.Join(pending, ", "), err
	}
	return db.Engine() + ": up to date", err
}

// checkPayments looks up a payment that does not exist.
func (c *configCheckCommand) checkPayments(ctx context.Context) (string, error) {
	gateway, err := payment.Open(c.PaymentURL, payment.Options{Timeout: configTimeout, Secret: c.PaymentSecret})
	if err != nil {
		return "", fmt.Errorf("--payment-url (PAYMENT_URL): %w", err)
	}
	defer gateway.Close()
	if _, sandbox := gateway.(*payment.Sandbox); sandbox {
		return gateway.String() + " charges nobody", nil
	}
	_, err = gateway.Lookup(ctx, "config-check")
	if errors.Is(err, payment.ErrNoLookup) {
		return gateway.String() + " answers, and has no look-ups", nil
	}
	return gateway.String() + " answers", err
}
