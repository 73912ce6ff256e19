package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// maxBodyBytes is the maximum size of a body, far above the largest valid request.
	maxBodyBytes = 64 << 10

	// bodyTime is the maximum time for the head and the body of one request to arrive.
	bodyTime = 10 * time.Second

	// usualBodyBytes is the size of the pooled buffers: a valid request with long IDs fits.
	usualBodyBytes = 1 << 10

	// maxLargeBodies is the maximum number of bodies above usualBodyBytes that are read at once, 64
	// KiB each. Thousands of slow large bodies cost 16 MiB, and do not delay usual requests.
	maxLargeBodies = 256
)

// bodyBuffers are the buffers that usual bodies are read into.
var bodyBuffers = sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, usualBodyBytes+bytes.MinRead)) }}

// parse reads a request's body into request, a pointer to a struct. Its error is a failure of 415,
// 413, 400, or 503 when too many large bodies are being read.
func (s *Server) parse(c echo.Context, request any) error {
	r := c.Request()
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	if r.ContentLength > maxBodyBytes {
		c.Response().Header().Set(echo.HeaderConnection, "close") // the rest is not waited for
		return errBodyTooLarge
	}
	source := http.MaxBytesReader(c.Response().Writer, r.Body, maxBodyBytes)
	buffer := bodyBuffers.Get().(*bytes.Buffer)
	buffer.Reset()
	_, err := io.CopyN(buffer, source, usualBodyBytes)
	if err == nil { // a large body, whose buffer is not pooled
		select {
		case s.largeBodies <- struct{}{}:
		default:
			c.Response().Header().Set(echo.HeaderConnection, "close")
			return errTooManyLargeBodies
		}
		defer func() { <-s.largeBodies }()
		_, err = buffer.ReadFrom(source)
	} else {
		defer bodyBuffers.Put(buffer) // nothing points into it by then
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return bodyError(c, err)
	}
	return parseObject(buffer.Bytes(), request)
}

var errTooManyLargeBodies = &failure{http.StatusServiceUnavailable, codeBusy, retrySoon,
	"too many large bodies at once, nothing was done: try again"}

var errBodyTooLarge = refuse(http.StatusRequestEntityTooLarge, "too_large", "body: want at most %d bytes", maxBodyBytes)

// bodyError says why a body could not be read. The connection is closed: its next bytes are not a
// request.
func bodyError(c echo.Context, err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge
	}
	c.Response().Header().Set(echo.HeaderConnection, "close")
	if network, ok := errors.AsType[net.Error](err); ok && network.Timeout() {
		return badRequest("body: want all of it within %s", bodyTime)
	}
	return badRequest("body: it ended early, or its encoding is broken")
}

// checkContentType refuses with 415 everything but plain JSON.
func checkContentType(h http.Header) error {
	for _, encoding := range h[echo.HeaderContentEncoding] {
		if !strings.EqualFold(encoding, "identity") {
			return refuse(http.StatusUnsupportedMediaType, "content_type", "Content-Encoding: want none")
		}
	}
	if sent := h[echo.HeaderContentType]; len(sent) == 1 && (sent[0] == echo.MIMEApplicationJSON || isJSON(sent[0])) {
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, "content_type", "Content-Type: want application/json, once")
}

func isJSON(contentType string) bool {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || kind != echo.MIMEApplicationJSON {
		return false
	}
	charset, ok := parameters["charset"]
	return len(parameters) == 0 || len(parameters) == 1 && ok && strings.EqualFold(charset, "utf-8")
}
