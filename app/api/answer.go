// Package api owns the public HTTP API: parsing, limits, the error table and the documentation. app
// starts it over the managers.
package api

import (
	"bytes"
	"encoding/json"
	"time"
)

// The statuses of an answer.
const (
	statusSuccess = "Success"
	statusFailed  = "Failed"
	statusPending = "Pending"
)

// successBody is the body of every success. It is shared: nobody may write to it.
var successBody = render(answer{Status: statusSuccess})

// An answer is the body of every response of the public listener outside the documentation.
// Error is empty exactly when Status is Success.
type answer struct {
	Status string `json:"status" enums:"Success,Failed,Pending" example:"Success"`
	Error  string `json:"error" example:""`
} // @name Answer

// The answers of the look-ups.
type (
	cartAnswer struct {
		answer
		Lines            []cartLine `json:"lines"`
		CheckoutUnderWay bool       `json:"checkoutUnderWay"`
	} // @name CartAnswer
	cartLine struct {
		ProductID   string `json:"productID" example:"mug"`
		ProductName string `json:"productName" example:"Mug, blue"`
		Quantity    int64  `json:"quantity" example:"2"`
		Available   int64  `json:"available" example:"17"`
	} // @name CartLine

	stockAnswer struct {
		answer
		Products []stockProduct `json:"products"`
	} // @name StockAnswer
	stockProduct struct {
		ProductID   string `json:"productID" example:"mug"`
		ProductName string `json:"productName" example:"Mug, blue"`
		OnHand      int64  `json:"onHand" example:"20"`
		Reserved    int64  `json:"reserved" example:"3"`
		Available   int64  `json:"available" example:"17"`
	} // @name StockProduct

	checkoutAnswer struct {
		answer
		checkoutView
	} // @name CheckoutAnswer
	checkoutsAnswer struct {
		answer
		Checkouts []checkoutView `json:"checkouts"`
	} // @name CheckoutsAnswer
	checkoutView struct {
		CheckoutID string         `json:"checkoutID" example:"01980a3e-8f5c-7c6e-9d4b-2f1e0a7b6c5d"`
		ClientID   string         `json:"clientID" example:"alice"`
		Reference  string         `json:"reference" example:"order-1042"`
		State      string         `json:"state" enums:"reserved,committed,refunding,rolled_back,cancelling,cancelled" example:"committed"`
		Reason     string         `json:"reason" example:""`
		Lines      []checkoutLine `json:"lines"`
		CreatedAt  time.Time      `json:"createdAt"`
		UpdatedAt  time.Time      `json:"updatedAt"`
	} // @name Checkout
	checkoutLine struct {
		ProductID string `json:"productID" example:"mug"`
		Quantity  int64  `json:"quantity" example:"2"`
	} // @name CheckoutLine
)

// render returns a value as one line of JSON.
func render(v any) []byte {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // the reader is a program or a person, not a page
	if err := encoder.Encode(v); err != nil {
		panic(err) // text, numbers and times always encode
	}
	return line.Bytes()
}
