package events

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// attemptTimeout is the maximum time of one delivery, answer included.
	attemptTimeout = 15 * time.Second
	// dialTimeout is the maximum time to connect to the webhook.
	dialTimeout = 3 * time.Second
	// idleTimeout is how long an unused connection to the webhook stays open.
	idleTimeout = 30 * time.Second
	// maxAnswerBytes is how much of an answer is read, so that its connection can be reused.
	maxAnswerBytes = 64 << 10
	// minSecretBytes and maxSecretBytes are the limits of Standard Webhooks for a decoded secret.
	minSecretBytes = 24
	maxSecretBytes = 64
)

// webhook sends messages to one URL.
type webhook struct {
	url    string
	secret []byte // nil: messages are not signed
	client *http.Client
}

// ParseSecret returns the bytes of a Standard Webhooks secret: base64, with or without the prefix
// "whsec_". An empty secret gives nil. The error does not repeat the secret.
func ParseSecret(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil || len(decoded) < minSecretBytes || len(decoded) > maxSecretBytes {
		return nil, fmt.Errorf("webhook secret: expected whsec_ and the base64 form of %d to %d bytes",
			minSecretBytes, maxSecretBytes)
	}
	return decoded, nil
}

// CheckURL reports why a webhook URL cannot be used. The error does not repeat the URL, which may hold
// a password.
func CheckURL(raw string) error {
	parsed, err := url.Parse(raw)
	if err != nil || parsed.Hostname() == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return errors.New("webhook URL: expected http://host/path or https://host/path")
	}
	if parsed.Fragment != "" {
		return errors.New("webhook URL: expected no fragment (#…)")
	}
	return nil
}

func newWebhook(target string, secret []byte, connections int) *webhook {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &webhook{
		url:    target,
		secret: secret,
		client: &http.Client{
			Timeout: attemptTimeout,
			Transport: &http.Transport{
				Protocols:           protocols,
				DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
				TLSHandshakeTimeout: dialTimeout,
				MaxConnsPerHost:     connections,
				MaxIdleConns:        connections,
				MaxIdleConnsPerHost: connections,
				IdleConnTimeout:     idleTimeout,
			},
			// A redirect is not an acknowledgement, and the target of one has not been configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// send makes one delivery. A nil error means that the webhook acknowledged the event with 2xx.
func (w *webhook) send(ctx context.Context, e Event) error {
	body, err := e.body()
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("make the webhook's request: the URL is not valid")
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Webhook-Id", e.ID())
	request.Header.Set("Webhook-Timestamp", now)
	if w.secret != nil {
		request.Header.Set("Webhook-Signature", sign(w.secret, e.ID(), now, body))
	}
	response, err := w.client.Do(request)
	if err != nil {
		var inURL *url.Error // it quotes the URL, which may hold a password
		if errors.As(err, &inURL) {
			err = inURL.Err
		}
		return fmt.Errorf("reach the webhook: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswerBytes))
	_ = response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the webhook answered %d, expected 2xx", response.StatusCode)
	}
	return nil
}

func (w *webhook) close() { w.client.CloseIdleConnections() }

// sign returns the webhook-signature header: "v1," and the base64 form of the HMAC-SHA256 of
// "id.timestamp.body".
func sign(secret []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
