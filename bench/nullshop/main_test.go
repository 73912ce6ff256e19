package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestServe_answersUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, slog.New(slog.DiscardHandler)) }()

	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	for body, want := range map[string]string{
		`{"clientID":"ann","productID":"mug","quantity":1}`: `{"status":"Success","error":""}`,
		`{"clientID":"ann","productID":"mug","quantity":0}`: `{"status":"Failed","error":"quantity: `,
	} {
		response, err := client.Post(
			"http://"+listener.Addr().String()+"/addToCart", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if !strings.HasPrefix(string(got), want) {
			t.Errorf("%s was answered %s, want %s…", body, got, want)
		}
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
