package payment

import (
	"context"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrace_isSentWithEachAttempt(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	type headers struct{ RequestID, Traceparent []string }
	var got []headers
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, headers{r.Header["X-Request-Id"], r.Header["Traceparent"]})
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "try again")
	})
	gateway := connect(t, s.URL, Options{})
	var want []headers
	for _, test := range []struct {
		ctx  context.Context
		want headers
	}{
		{t.Context(), headers{}},
		{WithTrace(t.Context(), Trace{}), headers{}},
		{WithTrace(t.Context(), Trace{RequestID: "r-7"}), headers{RequestID: []string{"r-7"}}},
		{WithTrace(t.Context(), Trace{Traceparent: parent}), headers{Traceparent: []string{parent}}},
		{WithTrace(t.Context(), Trace{"r-8", parent}), headers{[]string{"r-8"}, []string{parent}}},
	} {
		for _, call := range []string{"charge", "void", "refund"} {
			result, err := ask(test.ctx, gateway, call, "1")
			mustBeUnknown(t, call, result, err)
			want = append(want, slices.Repeat([]headers{test.want}, maxAttempts)...)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}
