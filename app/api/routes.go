package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"cartwheel/cart"
)

// The paths of the API.
const (
	PathAddToCart     = "/addToCart"
	PathCheckOutCart  = "/checkOutCart"
	PathHealthz       = "/healthz"
	PathReadyz        = "/readyz"
	PathDocumentation = "/documentation"
)

func (s *Server) addRoutes(keys apiKeys) {
	s.add(PathAddToCart, keys.required(s.addToCart), http.MethodPost)
	s.add(PathCheckOutCart, keys.required(s.checkOutCart), http.MethodPost)
	s.add(PathHealthz, s.healthz, http.MethodGet, http.MethodHead)
	s.add(PathReadyz, s.readyz, http.MethodGet, http.MethodHead)

	// Free of keys, too: a browser cannot send one before it has loaded the page on which to enter
	// it.
	docs := newDocumentation()
	s.add(PathDocumentation, docs.redirect, http.MethodGet, http.MethodHead)
	s.add(PathDocumentation+"/*", docs.serve, http.MethodGet, http.MethodHead)
}

// addToCart adds units of a product to a client's cart.
//
//	@Summary		Add a product to a cart
//	@Description	Adds units of a product to the client's cart. Adding a product again adds to its line. An add is refused when the line would exceed what is available now, or when it would be the cart's 501st line. Nothing is held by an add: stock is reserved by the checkout.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		addToCartRequest	true	"Who adds what. Exactly these fields."
//	@Param			Idempotency-Key	header		string				false	"Makes repeats harmless: the first answer is kept for at least 24 hours and sent again, byte for byte. 1 to 255 visible ASCII characters; scoped to the client and the endpoint."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string				false	"Names the request in the answer and in the log. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer200			"Added, and durable on disk."
//	@Failure		400				{object}	answer400			"Malformed or invalid input: says which field and why."
//	@Failure		401				{object}	answer401			"API keys are configured and none, or a wrong one, was sent."
//	@Failure		404				{object}	answer404			"No such product."
//	@Failure		405				{object}	answer405			"Method not allowed. Allow says which is."
//	@Failure		409				{object}	answer409			"Not enough stock (names the product, what was wanted, what is available), or more than 500 lines."
//	@Failure		413				{object}	answer413			"The body is larger than 64 KiB."
//	@Failure		415				{object}	answer415			"The Content-Type is not application/json."
//	@Failure		422				{object}	answer422			"This Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer429			"Too many requests from this address. Nothing was done."
//	@Failure		500				{object}	answer500			"A fault of ours. The log has the details under the request ID."
//	@Failure		503				{object}	answer503			"Too busy, shutting down, or without a database. Nothing was done."
//	@Failure		504				{object}	answer504			"The outcome is not known: the database went away during the commit."
//	@Header			all				{string}	X-Request-ID		"Names the request in the log."
//	@Header			429,503			{integer}	Retry-After			"Seconds to wait before trying again."
//	@Header			401				{string}	WWW-Authenticate	"Bearer"
//	@Header			405				{string}	Allow				"What is allowed."
//	@Security		Bearer
//	@Router			/addToCart [post]
func (s *Server) addToCart(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.timeout)
	defer cancel()

	var request addToCartRequest
	key, err := s.readRequest(c, request.parse)
	if err != nil {
		return err
	}
	if err := s.shop.AddToCart(ctx, cart.Addition{
		ClientID: request.ClientID, ProductID: request.ProductID, Quantity: request.Quantity, Key: key,
	}); err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, successBody)
}

// checkOutCart buys what a client's cart holds.
//
//	@Summary		Buy what is in a cart
//	@Description	Reserves the stock of every line, charges the payment gateway once, and sells or puts everything back. All or nothing: one short line refuses the whole checkout, and nothing changes. What is added meanwhile stays in the cart for the next checkout. A client that hangs up changes nothing: once begun, a checkout is finished.
//	@Tags			shop
//	@Accept			json
//	@Produce		json
//	@Param			request			body		checkOutCartRequest	true	"Whose cart. Exactly this field."
//	@Param			Idempotency-Key	header		string				false	"Makes repeats harmless, and lets you learn how a pending checkout ended. 1 to 255 visible ASCII characters; scoped to the client and the endpoint; kept for at least 24 hours."	minlength(1)	maxlength(255)
//	@Param			X-Request-ID	header		string				false	"Names the request in the answer and in the log. 1 to 64 visible ASCII characters; otherwise one is made up."	maxlength(64)
//	@Success		200				{object}	answer200			"Paid and sold, and durable on disk."
//	@Success		202				{object}	answer202			"The payment's outcome is not known yet; the stock stays held until it is. Names the checkout. Ask again with the same Idempotency-Key."
//	@Failure		400				{object}	answer400			"Malformed or invalid input: says which field and why."
//	@Failure		401				{object}	answer401			"API keys are configured and none, or a wrong one, was sent."
//	@Failure		402				{object}	answer402			"The payment service declined. The cart is as before, the stock released."
//	@Failure		404				{object}	answer404Route		"No such route. (A product that is gone is a shortage with 0 available.)"
//	@Failure		405				{object}	answer405			"Method not allowed. Allow says which is."
//	@Failure		409				{object}	answer409			"Not enough stock (names the product, what was wanted, what is available), or the cart is empty (says so when a checkout of this client is under way)."
//	@Failure		413				{object}	answer413			"The body is larger than 64 KiB."
//	@Failure		415				{object}	answer415			"The Content-Type is not application/json."
//	@Failure		422				{object}	answer422			"This Idempotency-Key was used with another request."
//	@Failure		429				{object}	answer429			"Too many requests from this address. Nothing was done."
//	@Failure		500				{object}	answer500			"A fault of ours. The log has the details under the request ID."
//	@Failure		503				{object}	answer503			"Too busy, shutting down, or without a database. Nothing was done."
//	@Failure		504				{object}	answer504			"The outcome is not known: the database went away during the commit."
//	@Header			all				{string}	X-Request-ID		"Names the request in the log."
//	@Header			429,503			{integer}	Retry-After			"Seconds to wait before trying again."
//	@Header			401				{string}	WWW-Authenticate	"Bearer"
//	@Header			405				{string}	Allow				"What is allowed."
//	@Security		Bearer
//	@Router			/checkOutCart [post]
func (s *Server) checkOutCart(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.timeout)
	defer cancel()

	var request checkOutCartRequest
	key, err := s.readRequest(c, request.parse)
	if err != nil {
		return err
	}
	reference, err := visibleHeader(c.Request().Header, headerReference)
	if err != nil {
		return err
	}
	tags, err := ifMatch(c.Request().Header)
	if err != nil {
		return err
	}
	id, err := s.shop.CheckOut(ctx, cart.Purchase{ClientID: request.ClientID, Key: key, Reference: reference, IfMatch: tags})
	if id != "" {
		c.Response().Header()[headerCheckout] = []string{id}
	}
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, successBody)
}

// healthz tells that the process runs.
//
//	@Summary		Is the process alive?
//	@Description	Always Success: restart the process when it does not answer. Free of API keys and of the rate limit.
//	@Tags			probes
//	@Produce		json
//	@Success		200	{object}	answer200		"The process runs."
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Router			/healthz [get]
func (s *Server) healthz(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, successBody)
}

// readyz tells whether requests should be sent here.
//
//	@Summary		Should requests be sent here?
//	@Description	Success while the database is reachable, no queue is full, and the instance is not shutting down. Free of API keys and of the rate limit.
//	@Tags			probes
//	@Produce		json
//	@Success		200	{object}	answer200		"Send requests."
//	@Failure		503	{object}	answerNotReady	"Send none for now: says why."
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			503	{integer}	Retry-After		"Seconds to wait before trying again."
//	@Router			/readyz [get]
func (s *Server) readyz(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()

	if err := s.readiness.Ready(ctx); err != nil {
		return &refusal{code: http.StatusServiceUnavailable, reason: codeOfUnready(err), words: "not ready: " + err.Error(), retryAfter: retrySoon}
	}
	return c.JSONBlob(http.StatusOK, successBody)
}

// codeOfUnready is the Cartwheel-Error code of an instance that is not ready.
func codeOfUnready(err error) string {
	if p := presentError(err); p.status == http.StatusServiceUnavailable {
		return p.code
	}
	return codeBusy
}
