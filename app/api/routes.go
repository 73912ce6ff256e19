package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"cartwheel/cart"
	"cartwheel/payment"
)

// The paths of the API.
const (
	PathAddToCart     = "/addToCart"
	PathUpdateCart    = "/updateCart"
	PathEmptyCart     = "/emptyCart"
	PathMergeCarts    = "/mergeCarts"
	PathCheckOutCart  = "/checkOutCart"
	pathCancel        = "/cancelCheckout"
	pathCart          = "/cart"
	pathStock         = "/stock"
	pathCheckout      = "/checkout"
	pathCheckouts     = "/checkouts"
	PathHealthz       = "/healthz"
	PathReadyz        = "/readyz"
	PathDocumentation = "/documentation"
)

func (s *Server) addRoutes(keys apiKeys) {
	for path, handler := range map[string]echo.HandlerFunc{
		PathAddToCart:    postHandler(s, s.addToCart),
		PathUpdateCart:   postHandler(s, s.updateCart),
		PathEmptyCart:    postHandler(s, s.emptyCart),
		PathMergeCarts:   postHandler(s, s.mergeCarts),
		PathCheckOutCart: postHandler(s, s.checkOutCart),
		pathCancel:       postHandler(s, s.cancelCheckout),
	} {
		s.add(path, keys.requireKey(handler), http.MethodPost)
	}
	for path, handler := range map[string]echo.HandlerFunc{
		pathCart:      s.lookUp(s.showCart, "clientID"),
		pathStock:     s.lookUp(s.showStock, "productID"),
		pathCheckout:  s.lookUp(s.showCheckout, "checkoutID"),
		pathCheckouts: s.lookUp(s.listCheckouts, "clientID", "limit", "before"),
	} {
		s.add(path, keys.requireKey(handler), http.MethodGet, http.MethodHead)
	}
	s.add(PathHealthz, s.healthz, http.MethodGet, http.MethodHead)
	s.add(PathReadyz, s.readyz, http.MethodGet, http.MethodHead)

	// Free of keys, too: a browser cannot send one before it has loaded the page on which to enter
	// it.
	s.add(PathDocumentation, redirectToDocumentation, http.MethodGet, http.MethodHead)
	s.add(PathDocumentation+"/*", serveDocumentation, http.MethodGet, http.MethodHead)
}

// postHandler returns the handler of a POST route: it reads the request and has act make the
// change. The key is the Idempotency-Key, or "" without one.
func postHandler[R any](
	s *Server, act func(ctx context.Context, c echo.Context, request R, key string) error,
) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.config.RequestTimeout)
		defer cancel()

		var request R
		if err := s.parse(c, &request); err != nil {
			return err
		}
		key, err := tokenHeader(c.Request().Header, headerIdempotencyKey)
		if err != nil {
			return err
		}
		if err := act(ctx, c, request, key); err != nil {
			return err
		}
		return c.JSONBlob(http.StatusOK, successBody)
	}
}

// addToCart adds units of a product to a client's cart.
//
//	@ID				addToCart
//	@Summary		Add a product to a cart
//	@Description	Adds units of a product to the client's cart. Adding a product again adds to its line. An add is refused when the line would exceed what is available now, or when it would be the cart's 501st line. It reserves nothing: the checkout reserves.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		addToCartRequest	true	"Exactly these fields."
//	@Param			Idempotency-Key	header		string	false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte, unless it is 202 or from 500 on. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Added, and durable on disk."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		404				{object}	answer	"`no_such_product`"
//	@Failure		409				{object}	answer	"`not_enough_stock` (names the product, what was wanted, what is available), `too_many_lines`"
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		422				{object}	answer	"`key_reused`: this Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy`, `draining`, `database_unavailable`, `locked`: nothing was done."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,422,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/addToCart [post]
func (s *Server) addToCart(ctx context.Context, _ echo.Context, request addToCartRequest, key string) error {
	return s.shop.Carts.AddToCart(ctx, cart.LineChange{
		ClientID: request.ClientID, ProductID: request.ProductID, Quantity: int64(request.Quantity), Key: key,
	})
}

// updateCart sets a line of a client's cart.
//
//	@ID				updateCart
//	@Summary		Set a line of a cart
//	@Description	Sets a line to a quantity; 0 removes it. Raising a line is checked like an add. Lowering and removing always succeed, also for a product that is sold out or gone.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		updateCartRequest	true	"Exactly these fields."
//	@Param			Idempotency-Key	header		string	false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte, unless it is 202 or from 500 on. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Set, and durable on disk."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		404				{object}	answer	"`no_such_product`"
//	@Failure		409				{object}	answer	"`not_enough_stock`, `too_many_lines`"
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		422				{object}	answer	"`key_reused`: this Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy`, `draining`, `database_unavailable`, `locked`: nothing was done."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,422,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/updateCart [post]
func (s *Server) updateCart(ctx context.Context, _ echo.Context, request updateCartRequest, key string) error {
	return s.shop.Carts.UpdateCart(ctx, cart.LineChange{
		ClientID: request.ClientID, ProductID: request.ProductID, Quantity: *request.Quantity, Key: key,
	})
}

// emptyCart removes all lines of a client's cart.
//
//	@ID				emptyCart
//	@Summary		Remove all lines of a cart
//	@Description	Removes all lines. What a checkout under way has removed returns when it does not end in a sale.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		clientRequest	true	"Exactly these fields."
//	@Param			Idempotency-Key	header		string	false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte, unless it is 202 or from 500 on. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Empty, and durable on disk."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		422				{object}	answer	"`key_reused`: this Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy`, `draining`, `database_unavailable`, `locked`: nothing was done."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,422,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/emptyCart [post]
func (s *Server) emptyCart(ctx context.Context, _ echo.Context, request clientRequest, key string) error {
	return s.shop.Carts.EmptyCart(ctx, request.ClientID, key)
}

// mergeCarts moves one client's lines into another's cart.
//
//	@ID				mergeCarts
//	@Summary		Move a guest's lines into another cart
//	@Description	Moves all lines of one cart into another and adds up quantities. It is never refused for stock. It follows the earlier changes of both clients and precedes later ones. The key is scoped to toClientID.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		mergeCartsRequest	true	"Exactly these fields."
//	@Param			Idempotency-Key	header		string	false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte, unless it is 202 or from 500 on. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Moved, and durable on disk."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		409				{object}	answer	"`too_many_lines`: more than 500 lines, or more than 2147483647 units of one product."
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		422				{object}	answer	"`key_reused`: this Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy`, `draining`, `database_unavailable`, `locked`: nothing was done."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,422,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/mergeCarts [post]
func (s *Server) mergeCarts(ctx context.Context, _ echo.Context, request mergeCartsRequest, key string) error {
	if request.FromClientID == request.ToClientID {
		return badRequest("toClientID: want another client than fromClientID")
	}
	return s.shop.Carts.MergeCarts(ctx, request.FromClientID, request.ToClientID, key)
}

// checkOutCart buys what is in a client's cart.
//
//	@ID				checkOutCart
//	@Summary		Buy what is in a cart
//	@Description	Reserves the stock of every line, charges the payment service once, and sells or restores everything. All or nothing: one short line refuses the whole checkout, and nothing changes. What is added in the meantime stays in the cart. A caller who disconnects changes nothing: once begun, a checkout is finished.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		clientRequest	true	"Exactly these fields."
//	@Param			Idempotency-Key	header		string	false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte, unless it is 202 or from 500 on. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			Cartwheel-Reference	header	string	false	"The shop's order number, quote or payment authorisation: stored with the checkout and sent to the payment service and in events. 1 to 255 visible ASCII characters."	minlength(1)	maxlength(255)
//	@Param			If-Match		header		string	false	"The ETag of GET /cart: buys only what was seen there."
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Paid and sold, and durable on disk."
//	@Success		202				{object}	answer	"`pending`: the payment's outcome is not known yet, and the stock stays reserved. GET /checkout tells how it ended."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		402				{object}	answer	"`payment_declined`: the cart and the stock are as before."
//	@Failure		409				{object}	answer	"`not_enough_stock`, `cart_empty`, `checkout_under_way`"
//	@Failure		412				{object}	answer	"`cart_changed`: If-Match did not match."
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		422				{object}	answer	"`key_reused`: this Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy` (also: the first request with this key is still under way), `draining`, `database_unavailable`, `locked`: nothing was done. `payment_unavailable`: nothing was done, or nothing is charged and the cart is as before."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,422,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			200,202,402,409,503	{string}	Cartwheel-Checkout	"The checkout's ID, once there is one."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/checkOutCart [post]
func (s *Server) checkOutCart(ctx context.Context, c echo.Context, request clientRequest, key string) error {
	reference, err := tokenHeader(c.Request().Header, headerReference)
	if err != nil {
		return err
	}
	tags, err := ifMatch(c.Request().Header)
	if err != nil {
		return err
	}
	id, err := s.shop.Carts.CheckOut(withTrace(ctx, c), cart.Purchase{
		ClientID: request.ClientID, Key: key, Reference: reference, IfMatch: tags,
	})
	if id != "" {
		c.Response().Header()[headerCheckout] = []string{id}
	}
	return err
}

// cancelCheckout cancels a committed checkout.
//
//	@ID				cancelCheckout
//	@Summary		Cancel a sale
//	@Description	Refunds a committed checkout at the payment service, then restores the quantity on hand, in that order and exactly once. A repeat gets the same answer.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		cancelCheckoutRequest	true	"Exactly these fields."
//	@Param			X-Request-ID	header		string	false	"Names the request in the answer, in the log and for the payment service. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer	"Refunded, and on hand again."
//	@Success		202				{object}	answer	"`pending`: the refund's outcome is not known yet. GET /checkout tells how it ended."
//	@Failure		400				{object}	answer	"`invalid`: says which field and what was expected."
//	@Failure		401				{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		404				{object}	answer	"`no_such_checkout`"
//	@Failure		405				{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		409				{object}	answer	"`not_cancellable`: it is not committed, was committed over 30 days ago, or the payment service refuses the refund."
//	@Failure		413				{object}	answer	"`too_large`: the body is larger than 64 KiB."
//	@Failure		415				{object}	answer	"`content_type`: it is not application/json."
//	@Failure		429				{object}	answer	"`rate_limited`: nothing was done."
//	@Failure		500				{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503				{object}	answer	"`busy`, `draining`, `database_unavailable`, `locked`: nothing was done."
//	@Failure		504				{object}	answer	"`unknown`: the answer to a commit was lost, or the request timed out while it was carried out."
//	@Header			all				{string}	X-Request-ID	"Names the request in the log."
//	@Header			400,401,404,405,409,413,415,429,500,503,504	{string}	Cartwheel-Error	"The code."
//	@Header			429,503			{integer}	Retry-After		"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/cancelCheckout [post]
func (s *Server) cancelCheckout(ctx context.Context, c echo.Context, request cancelCheckoutRequest, _ string) error {
	return s.shop.Checkouts.Cancel(withTrace(ctx, c), request.CheckoutID)
}

// withTrace returns a context whose calls to the payment service carry the request's ID and trace.
func withTrace(ctx context.Context, c echo.Context) context.Context {
	return payment.WithTrace(ctx, payment.Trace{
		RequestID: requestID(c.Response().Header()), Traceparent: c.Request().Header.Get(headerTraceparent),
	})
}
