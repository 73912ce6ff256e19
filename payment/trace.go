package payment

import "context"

// Trace correlates a call to the payment service with the request that caused it. An empty field is
// not sent.
type Trace struct {
	RequestID   string // X-Request-ID
	Traceparent string // traceparent, of W3C Trace Context
}

type traceKey struct{}

// WithTrace returns a context whose calls to the payment service carry the trace.
func WithTrace(ctx context.Context, trace Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, trace)
}

// TraceOf returns the trace of a context, for work that outlives it.
func TraceOf(ctx context.Context) Trace {
	trace, _ := ctx.Value(traceKey{}).(Trace)
	return trace
}
