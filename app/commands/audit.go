package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/payment"
)

// Audit is the command of that name.
type Audit struct {
	Storage
	Output
	Gateway        bool          `help:"Also compare every settled checkout of the last 29 days with the payment service. A service without lookups is asked to void each, which changes nothing where the journal is right."`
	PaymentURL     string        `name:"payment-url" env:"PAYMENT_URL" default:"sandbox:" help:"The payment gateway."`
	PaymentTimeout time.Duration `env:"PAYMENT_TIMEOUT" default:"10s" help:"How long a question to the gateway may take."`
	PaymentSecret  string        `env:"PAYMENT_SECRET" placeholder:"SECRET" help:"Signs the requests to the gateway."`
	Repair         bool          `help:"Repair what is safe to repair: delete reservations that no checkout owns."`
}

// Run prints each inconsistency, and fails if there is one that is not repaired.
func (c *Audit) Run(ctx context.Context, console Console) error {
	if c.Repair {
		return c.writing(ctx, console, c, existing)
	}
	return c.reading(ctx, console, func(ctx context.Context, db *database.DB) error {
		return c.runOn(ctx, console, db)
	})
}

func (c *Audit) runOn(ctx context.Context, console Console, db *database.DB) error {
	report, err := checkout.Audit(ctx, db)
	if err != nil {
		return err
	}
	if c.Gateway {
		if err := c.askGateway(ctx, db, &report); err != nil {
			return err
		}
	}
	if c.Repair {
		if err := checkout.Repair(ctx, db, &report); err != nil {
			return err
		}
	}
	if err := c.show(console, report); err != nil {
		return err
	}
	if !report.Sound() {
		return ErrReported
	}
	return nil
}

func (c *Audit) askGateway(ctx context.Context, db *database.DB, report *checkout.Report) error {
	if strings.HasPrefix(c.PaymentURL, "sandbox:") {
		return errors.New("--gateway: the sandbox remembers no payments; --payment-url names a service that does")
	}
	gateway, err := payment.Open(c.PaymentURL, payment.Options{Timeout: c.PaymentTimeout, Secret: c.PaymentSecret})
	if err != nil {
		return fmt.Errorf("--payment-url: %w", err)
	}
	defer gateway.Close()
	return checkout.AuditPayments(ctx, db, gateway, report)
}

func (c *Audit) show(console Console, v checkout.Report) error {
	if c.JSON {
		return c.Print(console, v, "")
	}
	for _, b := range v.Inconsistencies {
		repaired := ""
		if b.Repaired {
			repaired = " (repaired)"
		}
		fmt.Fprintf(console.Out, "%s: %s: %s%s\n", b.Rule, b.What, b.Detail, repaired)
	}
	for _, note := range v.Notes {
		fmt.Fprintf(console.Out, "note: %s: %s: %s\n", note.Rule, note.What, note.Detail)
	}
	asked := ""
	if c.Gateway {
		asked = ", " + english.Plural(v.Payments, "payment", "")
	}
	_, err := fmt.Fprintf(console.Out, "%s, %d on hand, %d reserved by %s in flight%s: %s\n",
		english.Plural(v.Products, "product", ""), v.OnHand, v.Reserved,
		english.Plural(v.Open, "checkout", ""), asked, english.Plural(v.Count, "inconsistency", ""))
	return err
}
