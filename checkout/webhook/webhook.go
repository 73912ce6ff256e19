// Package webhook sends events to the shop's endpoint, signed as Standard Webhooks says
// (https://www.standardwebhooks.com). The Checkout Manager's announcer calls it.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// timeout is the maximum time of one delivery.
	timeout = 10 * time.Second
	// maxAnswerBytes is the maximum of an answer's body that is read, so that the connection can be
	// used again.
	maxAnswerBytes = 64 << 10
	// maxHeaderBytes is the maximum of an answer's header.
	maxHeaderBytes = 64 << 10
	// maxIdle is the maximum number of idle connections, and idleTimeout the time for which one is
	// kept.
	maxIdle     = 16
	idleTimeout = 30 * time.Second

	secretPrefix = "whsec_"
	// minSecretBytes and maxSecretBytes are the limits of a secret in Standard Webhooks.
	minSecretBytes = 24
	maxSecretBytes = 64
)

// A Sender sends events to one endpoint. It is safe for concurrent use. The environment's proxies
// (HTTP_PROXY) are not used.
type Sender struct {
	client *http.Client
	url    string
	secret []byte // empty: unsigned
}

// New returns a sender to an http(s) URL. The secret is "whsec_" and 24 to 64 bytes in base64, or
// empty: events are unsigned then. Its errors repeat neither secret nor password.
func New(rawURL, secret string) (*Sender, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil || parsed.Hostname() == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return nil, errors.New("--webhook-url (WEBHOOK_URL): expected an URL such as https://shop.example/events")
	}
	key, err := parseSecret(secret)
	if err != nil {
		return nil, err
	}
	return &Sender{
		client: &http.Client{
			Transport: &http.Transport{
				DisableCompression:     true,
				ForceAttemptHTTP2:      true,
				MaxIdleConnsPerHost:    maxIdle,
				IdleConnTimeout:        idleTimeout,
				MaxResponseHeaderBytes: maxHeaderBytes,
			},
			Timeout: timeout,
			// A redirect is a failure: the endpoint has moved, and the shop must say so.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		url: rawURL, secret: key,
	}, nil
}

func parseSecret(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	encoded, found := strings.CutPrefix(secret, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !found || err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, fmt.Errorf("--webhook-secret (WEBHOOK_SECRET): expected %s and %d to %d bytes in base64",
			secretPrefix, minSecretBytes, maxSecretBytes)
	}
	return key, nil
}

// Signed reports whether events are signed.
func (s *Sender) Signed() bool { return len(s.secret) > 0 }

// Send delivers an event. It blocks until the endpoint has answered, ctx ends, or the timeout has
// passed. An error means that the event may have been delivered or not; anything but a 2xx is one.
func (s *Sender) Send(ctx context.Context, id string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "Cartwheel")
	request.Header.Set("Webhook-Id", id)
	request.Header.Set("Webhook-Timestamp", at)
	if s.Signed() {
		request.Header.Set("Webhook-Signature", s.sign(id, at, body))
	}
	response, err := s.client.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // without the URL, which may have a password
		}
		return err
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswerBytes)
	_ = response.Body.Close()
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %s", response.Status)
	}
	return nil
}

func (s *Sender) sign(id, at string, body []byte) string {
	mac := hmac.New(sha256.New, s.secret)
	fmt.Fprintf(mac, "%s.%s.", id, at)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Close drops idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }
