package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"cartwheel/checkout"
	"cartwheel/database"
	"cartwheel/payment"
)

type auditCommand struct {
	storage
	Gateway        bool          `help:"Also ask the payment gateway about every settled checkout of the last 30 days, by asking it to void it: where the books are right, that changes nothing."`
	PaymentURL     string        `name:"payment-url" env:"PAYMENT_URL" default:"sandbox:" help:"The payment gateway."`
	PaymentTimeout time.Duration `env:"PAYMENT_TIMEOUT" default:"10s" help:"How long a question to the gateway may take."`
	PaymentSecret  string        `env:"PAYMENT_SECRET" placeholder:"SECRET" help:"Signs the requests to the gateway."`
	Repair         bool          `help:"Mend what is safe to mend: drop holds that no checkout owns."`
	JSON           bool          `name:"json" help:"Write JSON."`
}

// Run prints each breach, and fails if there is one that is not mended.
func (c *auditCommand) Run(ctx context.Context, console Console) error {
	return c.reading(ctx, console, func(db *database.DB) error {
		verdict, err := checkout.Audit(ctx, db)
		if err != nil {
			return err
		}
		if c.Gateway {
			if err := c.askGateway(ctx, db, &verdict); err != nil {
				return err
			}
		}
		if c.Repair {
			if err := checkout.Repair(ctx, db, &verdict); err != nil {
				return err
			}
		}
		if err := c.print(console, verdict); err != nil {
			return err
		}
		if !verdict.Sound() {
			return errReported
		}
		return nil
	})
}

func (c *auditCommand) askGateway(ctx context.Context, db *database.DB, verdict *checkout.Verdict) error {
	if strings.HasPrefix(c.PaymentURL, "sandbox:") {
		return errors.New("--gateway: the sandbox keeps no books to compare with; --payment-url names a gateway that does")
	}
	gateway, err := payment.Open(c.PaymentURL, payment.Options{Timeout: c.PaymentTimeout, Secret: c.PaymentSecret})
	if err != nil {
		return fmt.Errorf("--payment-url: %w", err)
	}
	defer gateway.Close()
	return checkout.AuditPayments(ctx, db, gateway, verdict)
}

func (c *auditCommand) print(console Console, v checkout.Verdict) error {
	if c.JSON {
		return json.NewEncoder(console.Out).Encode(v)
	}
	for _, b := range v.Breaches {
		mended := ""
		if b.Mended {
			mended = " (mended)"
		}
		fmt.Fprintf(console.Out, "%s: %s: %s%s\n", b.Rule, b.What, b.Detail, mended)
	}
	asked := ""
	if c.Gateway {
		asked = fmt.Sprintf(", %d payments", v.Payments)
	}
	_, err := fmt.Fprintf(console.Out, "%d products, %d on hand, %d held by %d checkouts in flight%s: %d breaches\n",
		v.Products, v.OnHand, v.Held, v.Open, asked, v.Count)
	return err
}
