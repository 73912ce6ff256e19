package api

// What the documentation shows for each code, as examples that a test holds against what is really
// sent.
type (
	answer200 struct {
		Status string `json:"status" enums:"Success" example:"Success"`
		Error  string `json:"error" example:""`
	} // @name Success
	answer202 struct {
		Status string `json:"status" enums:"Pending" example:"Pending"`
		Error  string `json:"error" example:"checkout 01980a3e-8f5c-7c6e-9d4b-2f1e0a7b6c5d is under way: its payment's outcome is not known yet; ask again with the same Idempotency-Key"`
	} // @name Pending
	answer400 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"quantity: want an integer from 1 to 2147483647, without fraction or exponent, got 1.5"`
	} // @name BadRequest
	answer401 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"Authorization: no such API key"`
	} // @name Unauthorized
	answer402 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"payment declined: card expired"`
	} // @name PaymentFailed
	answer404 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"no such product: mug"`
	} // @name NoSuchProduct
	answer404Route struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"no such route: see /documentation"`
	} // @name NoSuchRoute
	answer405 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"method not allowed: want one of POST"`
	} // @name MethodNotAllowed
	answer409 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"not enough stock of product mug: wanted 5, available 2"`
	} // @name Conflict
	answer413 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"body: want at most 65536 bytes"`
	} // @name TooLarge
	answer415 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"Content-Type: want application/json, once"`
	} // @name UnsupportedMediaType
	answer422 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"this Idempotency-Key was used with another request"`
	} // @name KeyMismatch
	answer429 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"too many requests from this address, nothing was done: try again"`
	} // @name TooManyRequests
	answer500 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"internal error, request ID k3v9x2ma-17"`
	} // @name InternalError
	answer503 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"too busy, nothing was done: try again"`
	} // @name Unavailable
	answerNotReady struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"not ready: draining"`
	} // @name NotReady
	answer504 struct {
		Status string `json:"status" enums:"Failed" example:"Failed"`
		Error  string `json:"error" example:"the outcome is unknown: repeat the request with the same Idempotency-Key; without one, look before you repeat it"`
	} // @name OutcomeUnknown
)
