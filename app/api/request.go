package api

import (
	"net/http"
	"strings"

	"cartwheel/cart"
)

const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReference      = "Cartwheel-Reference"
	headerIfMatch        = "If-Match"
	headerTraceparent    = "Traceparent"
	headerETag           = "Etag" // as net/http spells it
	// maxHeaderChars is the maximum length of an Idempotency-Key and of a Cartwheel-Reference.
	maxHeaderChars = 255
)

// The bodies of the requests.
type (
	addToCartRequest struct {
		ClientID  string   `json:"clientID" minLength:"1" maxLength:"100" example:"alice"`
		ProductID string   `json:"productID" minLength:"1" maxLength:"100" example:"mug"`
		Quantity  positive `json:"quantity" swaggertype:"integer" minimum:"1" maximum:"2147483647" format:"int32" example:"2"`
	} // @name AddToCartRequest
	updateCartRequest struct {
		ClientID  string `json:"clientID" minLength:"1" maxLength:"100" example:"alice"`
		ProductID string `json:"productID" minLength:"1" maxLength:"100" example:"mug"`
		Quantity  *int64 `json:"quantity" minimum:"0" maximum:"2147483647" format:"int32" example:"1"`
	} // @name UpdateCartRequest
	clientRequest struct {
		ClientID string `json:"clientID" minLength:"1" maxLength:"100" example:"alice"`
	} // @name ClientRequest
	cancelCheckoutRequest struct {
		CheckoutID string `json:"checkoutID" minLength:"1" maxLength:"100" example:"01980a3e-8f5c-7c6e-9d4b-2f1e0a7b6c5d"`
	} // @name CancelCheckoutRequest
	mergeCartsRequest struct {
		FromClientID string `json:"fromClientID" minLength:"1" maxLength:"100" example:"guest-7"`
		ToClientID   string `json:"toClientID" minLength:"1" maxLength:"100" example:"alice"`
	} // @name MergeCartsRequest
)

// tokenHeader returns an opaque header, or "" without one.
func tokenHeader(h http.Header, name string) (string, error) {
	sent := h[name]
	switch {
	case len(sent) == 0:
		return "", nil
	case len(sent) > 1:
		return "", badRequest("%s: want the header once, got it %d times", name, len(sent))
	case !isVisible(sent[0], maxHeaderChars):
		return "", badRequest("%s: want 1 to %d characters of visible ASCII, without spaces", name, maxHeaderChars)
	}
	return sent[0], nil
}

// ifMatch returns the ETags of If-Match as [cart.Purchase] has them. The comparison ignores W/: RFC
// 9110, section 13.1.1, has a strong comparison, but proxies that compress weaken an ETag.
func ifMatch(h http.Header) (string, error) {
	sent := h[headerIfMatch]
	if len(sent) == 0 {
		return "", nil
	}
	var tags []string
	for tag := range strings.SplitSeq(strings.Join(sent, ","), ",") {
		tag = strings.TrimSpace(tag)
		opaque, quoted := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
		opaque, ended := strings.CutSuffix(opaque, `"`)
		switch {
		case tag == cart.AnyETag:
			tags = append(tags, tag)
		case !quoted || !ended || !isVisible(opaque, maxHeaderChars) || strings.Contains(opaque, `"`):
			return "", badRequest(`If-Match: want the ETag of GET /cart, such as "8Xc2v1", got %s`, shorten(tag))
		default:
			tags = append(tags, opaque)
		}
	}
	return strings.Join(tags, ","), nil
}
