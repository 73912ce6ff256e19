package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cartwheel/checkout"
)

// Events returns the hooks that count sale events. It is called at most once, where a webhook is
// configured.
func (m *Metrics) Events() checkout.EventObserver {
	made := promauto.With(m.registry)
	delivered := made.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "events_delivered_total", Help: "Sale events that the webhook accepted.",
	})
	failed := made.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Name: "event_failures_total", Help: "Deliveries that failed. They are retried.",
	})
	undelivered := made.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "events_undelivered", Help: "Sale events of all instances that are not delivered; 10,000 of a kind at most.",
	})
	oldest := made.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "event_lag_seconds", Help: "How long ago the checkout of the oldest undelivered sale event was sold or cancelled. 0: all are delivered.",
	})
	return checkout.EventObserver{
		Delivered: delivered.Inc,
		Failed:    failed.Inc,
		Lag: func(n int, age time.Duration) {
			undelivered.Set(float64(n))
			oldest.Set(age.Seconds())
		},
	}
}
