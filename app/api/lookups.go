package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"cartwheel/checkout"
	"cartwheel/inventory"
)

const (
	// maxStockProducts is the maximum number of products that one GET /stock asks about.
	maxStockProducts = 100
	// defaultCheckouts and maxCheckouts are the usual and the maximum length of a list.
	defaultCheckouts = 20
	maxCheckouts     = 100

	// largeAnswerBytes is the size from which on an answer counts for maxLargeAnswerBytes. What is
	// shorter fits into a connection's buffers, and does not wait for a slow reader.
	largeAnswerBytes = 32 << 10
	// maxLargeAnswerBytes is the maximum of all large answers that are being written.
	maxLargeAnswerBytes = 64 << 20
)

// lookUp returns the handler of a GET route with these parameters. Nobody may cache what find
// returns.
func (s *Server) lookUp(
	find func(ctx context.Context, c echo.Context, parameters url.Values) (any, error), names ...string,
) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), s.config.RequestTimeout)
		defer cancel()

		parameters, err := query(c, names...)
		if err != nil {
			return err
		}
		found, err := find(ctx, c, parameters)
		if err != nil {
			return err
		}
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		blob := render(found)
		if size := int64(len(blob)); size >= largeAnswerBytes {
			size = min(size, maxLargeAnswerBytes)
			if !s.largeAnswers.TryAcquire(size) {
				return errTooManyLargeAnswers
			}
			defer s.largeAnswers.Release(size)
		}
		return c.JSONBlob(http.StatusOK, blob)
	}
}

var errTooManyLargeAnswers = &failure{http.StatusServiceUnavailable, codeBusy, retrySoon,
	"too many large answers at once: try again"}

// showCart shows a client's cart.
//
//	@ID				getCart
//	@Summary		What is in a cart?
//	@Description	The lines, what is available of each product, and whether a checkout of this client is under way. The ETag is a function of products and quantities alone: send it as If-Match with the checkout.
//	@Tags			look-ups
//	@Produce		json
//	@Param			clientID	query	string	true	"Whose."	minlength(1)	maxlength(100)
//	@Success		200	{object}	cartAnswer	"As of now."
//	@Failure		400	{object}	answer	"`invalid`: says which parameter and what was expected."
//	@Failure		401	{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		405	{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		429	{object}	answer	"`rate_limited`"
//	@Failure		500	{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503	{object}	answer	"`busy`, `draining`, `database_unavailable`"
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			429,503	{integer}	Retry-After	"Seconds to wait before a retry."
//	@Header			200	{string}	ETag	"Of products and quantities."
//	@Security		Bearer
//	@Router			/cart [get]
func (s *Server) showCart(ctx context.Context, c echo.Context, parameters url.Values) (any, error) {
	clientID, err := oneID(parameters, "clientID")
	if err != nil {
		return nil, err
	}
	view, err := s.shop.Carts.Show(ctx, clientID)
	if err != nil {
		return nil, err
	}
	found := cartAnswer{answer{Status: statusSuccess}, make([]cartLine, len(view.Lines)), view.CheckoutUnderWay}
	for i, line := range view.Lines {
		found.Lines[i] = cartLine(line)
	}
	c.Response().Header()[headerETag] = []string{`"` + view.ETag + `"`}
	return found, nil
}

// showStock shows the stock of some products.
//
//	@ID				getStock
//	@Summary		What is available?
//	@Description	The stock of up to 100 products. Unknown ones are left out.
//	@Tags			look-ups
//	@Produce		json
//	@Param			productID	query	[]string	true	"Up to 100 products."	collectionFormat(multi)	minlength(1)	maxlength(100)
//	@Success		200	{object}	stockAnswer	"As of now."
//	@Failure		400	{object}	answer	"`invalid`: says which parameter and what was expected."
//	@Failure		401	{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		405	{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		429	{object}	answer	"`rate_limited`"
//	@Failure		500	{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503	{object}	answer	"`busy`, `database_unavailable`"
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			429,503	{integer}	Retry-After	"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/stock [get]
func (s *Server) showStock(ctx context.Context, _ echo.Context, parameters url.Values) (any, error) {
	ids := parameters["productID"]
	if len(ids) == 0 || len(ids) > maxStockProducts {
		return nil, badRequest("productID: want it 1 to %d times, got it %d times", maxStockProducts, len(ids))
	}
	for _, id := range ids {
		if problem := inventory.CheckID(id); problem != "" {
			return nil, badRequest("productID: %s", problem)
		}
	}
	products, err := s.shop.Stock.Lookup(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := stockAnswer{answer{Status: statusSuccess}, make([]stockProduct, len(products))}
	for i, p := range products {
		found.Products[i] = stockProduct{p.ID, p.Name, p.OnHand, p.Reserved, p.Available()}
	}
	return found, nil
}

// showCheckout shows a checkout.
//
//	@ID				getCheckout
//	@Summary		How did a checkout end?
//	@Description	State, lines, reason, reference and times of a checkout: how a pending one ended.
//	@Tags			look-ups
//	@Produce		json
//	@Param			checkoutID	query	string	true	"From Cartwheel-Checkout."	minlength(1)	maxlength(100)
//	@Success		200	{object}	checkoutAnswer	"As of now."
//	@Failure		400	{object}	answer	"`invalid`: says which parameter and what was expected."
//	@Failure		401	{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		404	{object}	answer	"`no_such_checkout`"
//	@Failure		405	{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		429	{object}	answer	"`rate_limited`"
//	@Failure		500	{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503	{object}	answer	"`busy`, `database_unavailable`"
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			429,503	{integer}	Retry-After	"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/checkout [get]
func (s *Server) showCheckout(ctx context.Context, _ echo.Context, parameters url.Values) (any, error) {
	id, err := oneID(parameters, "checkoutID")
	if err != nil {
		return nil, err
	}
	entry, err := s.shop.Checkouts.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	return checkoutAnswer{answer{Status: statusSuccess}, viewOf(entry)}, nil
}

// listCheckouts lists a client's checkouts.
//
//	@ID				getCheckouts
//	@Summary		What has a client bought?
//	@Description	A client's checkouts, the newest first. For the next page send the last one's ID as before.
//	@Tags			look-ups
//	@Produce		json
//	@Param			clientID	query	string	true	"Whose."	minlength(1)	maxlength(100)
//	@Param			limit	query	int	false	"How many."	minimum(1)	maximum(100)	default(20)
//	@Param			before	query	string	false	"Only older ones than this checkout."	maxlength(100)
//	@Success		200	{object}	checkoutsAnswer	"As of now."
//	@Failure		400	{object}	answer	"`invalid`: says which parameter and what was expected."
//	@Failure		401	{object}	answer	"`unauthorized`: API keys are configured and none, or a wrong one, was sent."
//	@Failure		405	{object}	answer	"`method`: Allow says which is allowed."
//	@Failure		429	{object}	answer	"`rate_limited`"
//	@Failure		500	{object}	answer	"`internal`: our fault. The log has the details under the request ID."
//	@Failure		503	{object}	answer	"`busy`, `database_unavailable`"
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			429,503	{integer}	Retry-After	"Seconds to wait before a retry."
//	@Security		Bearer
//	@Router			/checkouts [get]
func (s *Server) listCheckouts(ctx context.Context, _ echo.Context, parameters url.Values) (any, error) {
	clientID, err := oneID(parameters, "clientID")
	if err != nil {
		return nil, err
	}
	limit, before := defaultCheckouts, ""
	if parameters.Has("limit") {
		if limit, err = strconv.Atoi(parameters.Get("limit")); err != nil || limit < 1 || limit > maxCheckouts {
			return nil, badRequest("limit: want an integer from 1 to %d, got %s", maxCheckouts, shorten(parameters.Get("limit")))
		}
	}
	if parameters.Has("before") {
		if before, err = oneID(parameters, "before"); err != nil {
			return nil, err
		}
	}
	entries, err := s.shop.Checkouts.OfClient(ctx, clientID, before, limit)
	if err != nil {
		return nil, err
	}
	found := checkoutsAnswer{answer{Status: statusSuccess}, make([]checkoutView, len(entries))}
	for i, entry := range entries {
		found.Checkouts[i] = viewOf(entry)
	}
	return found, nil
}

func viewOf(e checkout.Entry) checkoutView {
	view := checkoutView{
		CheckoutID: e.CheckoutID, ClientID: e.ClientID, Reference: e.Reference, State: string(e.State), Reason: e.Reason,
		Lines: make([]checkoutLine, len(e.Lines)), CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
	for i, line := range e.Lines {
		view.Lines[i] = checkoutLine(line)
	}
	return view
}

// query returns the parameters of a look-up, which has just these. Each but productID may come
// once.
func query(c echo.Context, names ...string) (url.Values, error) {
	parameters, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, badRequest("query: want parameters in percent-encoding")
	}
	for name, values := range parameters {
		switch {
		case !slices.Contains(names, name):
			return nil, badRequest("%s: unknown parameter", shorten(name))
		case len(values) > 1 && name != "productID":
			return nil, badRequest("%s: want it once, got it %d times", name, len(values))
		}
	}
	return parameters, nil
}

// oneID returns a parameter that is an ID.
func oneID(parameters url.Values, name string) (string, error) {
	if !parameters.Has(name) {
		return "", badRequest("%s: missing", name)
	}
	id := parameters.Get(name)
	if problem := inventory.CheckID(id); problem != "" {
		return "", badRequest("%s: %s", name, problem)
	}
	return id, nil
}
