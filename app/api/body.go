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

// bodies owns the memory that requests are read into.
type bodies struct {
	pool  sync.Pool
	large chan struct{} // has a token for each large body
}

func newBodies() *bodies {
	return &bodies{
		pool:  sync.Pool{New: func() any { return bytes.NewBuffer(make([]byte, 0, usualBodyBytes+bytes.MinRead)) }},
		large: make(chan struct{}, maxLargeBodies),
	}
}

// parse reads a request's body into request, a pointer to a struct. Its error is a refusal of 415,
// 413, 400, or 503 when too many large bodies are being read.
func (b *bodies) parse(c echo.Context, request any) error {
	r := c.Request()
	if err := checkContentType(r.Header); err != nil {
		return err
	}
	if r.ContentLength > maxBodyBytes {
		c.Response().Header().Set(echo.HeaderConnection, "close") // the rest is not waited for
		return errBodyTooLarge()
	}
	source := http.MaxBytesReader(c.Response().Writer, r.Body, maxBodyBytes)
	buffer := b.pool.Get().(*bytes.Buffer)
	_, err := io.CopyN(buffer, source, usualBodyBytes)
	if err == nil { // a large body
		select {
		case b.large <- struct{}{}:
		default:
			c.Response().Header().Set(echo.HeaderConnection, "close")
			return errTooManyLargeBodies
		}
		_, err = buffer.ReadFrom(source)
	}
	defer b.release(buffer)
	if err != nil && !errors.Is(err, io.EOF) {
		return bodyError(c, err)
	}
	return parseObject(buffer.Bytes(), request)
}

// release takes a buffer back into the pool, or ends the count of its large body. Nothing may point
// into the buffer any more.
func (b *bodies) release(buffer *bytes.Buffer) {
	if buffer.Len() >= usualBodyBytes {
		<-b.large
		return
	}
	buffer.Reset()
	b.pool.Put(buffer)
}

var errTooManyLargeBodies = &refusal{http.StatusServiceUnavailable, codeBusy, retrySoon,
	"too many large bodies at once, nothing was done: try again"}

func errBodyTooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "too_large", "body: want at most %d bytes", maxBodyBytes)
}

// bodyError says why a body could not be read. The connection is closed: its next bytes are not a
// request.
func bodyError(c echo.Context, err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errBodyTooLarge()
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
