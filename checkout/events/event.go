// Package events announces sales to the shop's webhook. It owns the delivery: signing, retries and
// bounded parallelism. The Checkout Manager stores what is due, in its journal, and starts it.
//
// The messages follow Standard Webhooks (https://www.standardwebhooks.com).
package events

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Type says what happened to a checkout.
type Type string

// The types of events. A cancelled checkout has both.
const (
	Committed Type = "checkout.committed"
	Cancelled Type = "checkout.cancelled"
)

// An Item is one line of a checkout.
type Item struct {
	ProductID string `json:"productID"`
	Quantity  int64  `json:"quantity"` // units, 1 or more
}

// An Event is one announcement that is due.
type Event struct {
	Type       Type
	OccurredAt time.Time // when the checkout reached the state, UTC
	CheckoutID string
	ClientID   string
	Reference  string // the shop's Cartwheel-Reference; empty: none
	Items      []Item
}

// ID is the webhook-id: `<checkoutID>.committed` or `<checkoutID>.cancelled`, the same in every retry.
func (e Event) ID() string {
	if e.Type == Cancelled {
		return e.CheckoutID + ".cancelled"
	}
	return e.CheckoutID + ".committed"
}

// body returns the message, the same bytes in every retry.
func (e Event) body() ([]byte, error) {
	type data struct {
		CheckoutID string `json:"checkoutID"`
		ClientID   string `json:"clientID"`
		Reference  string `json:"reference,omitempty"`
		Items      []Item `json:"items"`
	}
	body, err := json.Marshal(struct {
		Type      Type   `json:"type"`
		Timestamp string `json:"timestamp"`
		Data      data   `json:"data"`
	}{e.Type, e.OccurredAt.UTC().Format(time.RFC3339Nano), data{e.CheckoutID, e.ClientID, e.Reference, e.Items}})
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.ID(), err)
	}
	return body, nil
}
