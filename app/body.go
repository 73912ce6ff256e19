package app

import (
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
	// maxBodyBytes is more than a hundred times what the largest valid request needs.
	maxBodyBytes = 64 << 10

	// bodyTime is how long the head and the body of one request may take to arrive.
	bodyTime = 10 * time.Second

	usualBodyBytes   = 1 << 10
	maxIdleBodyBytes = 8 << 10 // larger buffers are not kept: one flood would hold on to its memory for long
)

// bodies keeps the memory that requests are read into.
type bodies struct{ pool sync.Pool }

func newBodies() *bodies {
	return &bodies{sync.Pool{New: func() any {
		room := make([]byte, 0, usualBodyBytes)
		return &room
	}}}
}

// read takes in a request's body, and gives it back with the buffer that must be returned with put.
// It returns a refusal of 415, 413 or 400.
func (b *bodies) read(c echo.Context) (*[]byte, error) {
	r := c.Request()
	if err := checkContentType(r.Header); err != nil {
		return nil, err
	}
	source := io.Reader(r.Body)
	switch {
	case r.ContentLength > maxBodyBytes:
		c.Response().Header().Set(echo.HeaderConnection, "close") // the rest is not waited for
		return nil, errBodyTooLarge()
	case r.ContentLength < 0:
		source = http.MaxBytesReader(c.Response().Writer, r.Body, maxBodyBytes)
	}

	buffer := b.pool.Get().(*[]byte)
	content := (*buffer)[:0]
	for {
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := source.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if err == io.EOF {
			*buffer = content
			return buffer, nil
		}
		if err != nil {
			*buffer = content
			b.put(buffer)
			return nil, bodyError(c, err)
		}
	}
}

// put takes a buffer back. Nothing may point into it any more.
func (b *bodies) put(buffer *[]byte) {
	if cap(*buffer) <= maxIdleBodyBytes {
		b.pool.Put(buffer)
	}
}

func errBodyTooLarge() error {
	return refuse(http.StatusRequestEntityTooLarge, "body: want at most %d bytes", maxBodyBytes)
}

// bodyError says why a body could not be read. Whatever it was, what follows on the connection is not a request.
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
			return refuse(http.StatusUnsupportedMediaType, "Content-Encoding: want none")
		}
	}
	if sent := h[echo.HeaderContentType]; len(sent) == 1 && (sent[0] == echo.MIMEApplicationJSON || isJSON(sent[0])) {
		return nil
	}
	return refuse(http.StatusUnsupportedMediaType, "Content-Type: want application/json, once")
}

func isJSON(contentType string) bool {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || kind != echo.MIMEApplicationJSON {
		return false
	}
	for name, value := range parameters {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}
