package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"
)

// healthz tells that the process runs.
//
//	@ID				healthz
//	@Summary		Is the process alive?
//	@Description	Always Success: restart the process when it does not answer. Free of API keys and of the rate limit.
//	@Tags			probes
//	@Produce		json
//	@Success		200	{object}	answer	"The process runs."
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Router			/healthz [get]
func (s *Server) healthz(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, successBody)
}

// readyz tells whether requests should be sent here.
//
//	@ID				readyz
//	@Summary		Should requests be sent here?
//	@Description	Success while the database is reachable, no queue is full, and the instance is not shutting down. Free of API keys and of the rate limit.
//	@Tags			probes
//	@Produce		json
//	@Success		200	{object}	answer	"Send requests."
//	@Failure		503	{object}	answer	"Send none for now: says why."
//	@Header			all	{string}	X-Request-ID	"Names the request in the log."
//	@Header			503	{integer}	Retry-After		"Seconds to wait before trying again."
//	@Router			/readyz [get]
func (s *Server) readyz(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), readyTimeout)
	defer cancel()

	if err := s.readiness.Ready(ctx); err != nil {
		return &refusal{status: http.StatusServiceUnavailable, code: codeOfUnready(err), message: "not ready: " + err.Error(), retryAfter: retrySoon}
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
