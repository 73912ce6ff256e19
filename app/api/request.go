package api

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	headerIdempotencyKey   = "Idempotency-Key"
	maxIdempotencyKeyBytes = 255
)

// The fields of the two bodies, in the order in which a missing one is reported.
var (
	addToCartFields    = []string{"clientID", "productID", "quantity"}
	checkOutCartFields = []string{"clientID"}
)

// An addToCartRequest is the body of POST /addToCart.
type addToCartRequest struct {
	ClientID  string `json:"clientID" minLength:"1" maxLength:"100" example:"alice"`
	ProductID string `json:"productID" minLength:"1" maxLength:"100" example:"mug"`
	Quantity  int64  `json:"quantity" minimum:"1" maximum:"2147483647" format:"int32" example:"2"`
} // @name AddToCart

// A checkOutCartRequest is the body of POST /checkOutCart.
type checkOutCartRequest struct {
	ClientID string `json:"clientID" minLength:"1" maxLength:"100" example:"alice"`
} // @name CheckOutCart

// parseAddToCart reads the body of POST /addToCart. Its error is a refusal of 400 that names the
// field.
func parseAddToCart(body []byte) (request addToCartRequest, err error) {
	err = parseObject(body, addToCartFields, func(field string, value jsontext.Value) (err error) {
		switch field {
		case "clientID":
			request.ClientID, err = parseID(field, value)
		case "productID":
			request.ProductID, err = parseID(field, value)
		case "quantity":
			request.Quantity, err = parseQuantity(field, value)
		}
		return err
	})
	if err != nil {
		return addToCartRequest{}, err
	}
	return request, nil
}

// parseCheckOutCart reads the body of POST /checkOutCart. Its error is a refusal of 400 that names
// the field.
func parseCheckOutCart(body []byte) (request checkOutCartRequest, err error) {
	err = parseObject(body, checkOutCartFields, func(field string, value jsontext.Value) (err error) {
		request.ClientID, err = parseID(field, value)
		return err
	})
	if err != nil {
		return checkOutCartRequest{}, err
	}
	return request, nil
}

// idempotencyKey returns the request's Idempotency-Key, or "" without one.
func idempotencyKey(h http.Header) (string, error) {
	sent := h[headerIdempotencyKey]
	switch {
	case len(sent) == 0:
		return "", nil
	case len(sent) > 1:
		return "", badRequest("Idempotency-Key: want the header once, got it %d times", len(sent))
	case !isVisible(sent[0], maxIdempotencyKeyBytes):
		return "", badRequest("Idempotency-Key: want 1 to %d characters of visible ASCII, without spaces", maxIdempotencyKeyBytes)
	}
	return sent[0], nil
}
