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

	if err := s.ready(ctx); err != nil {
		code := codeBusy
		if known := failureOf(err); known.status == http.StatusServiceUnavailable {
			code = known.code
		}
		return &failure{http.StatusServiceUnavailable, code, retrySoon, "not ready: " + err.Error()}
	}
	return c.JSONBlob(http.StatusOK, successBody)
}
