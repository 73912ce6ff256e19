package metrics

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEvents_countDeliveriesAndLag(t *testing.T) {
	t.Parallel()
	m := New("")
	hooks := m.Events()
	hooks.Delivered()
	hooks.Delivered()
	hooks.Failed()
	hooks.Lag(3, 90*time.Second)
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			got[family.GetName()] = series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"cartwheel_events_delivered_total": 2, "cartwheel_event_failures_total": 1,
		"cartwheel_events_undelivered": 3, "cartwheel_event_lag_seconds": 90,
	} {
		if diff := cmp.Diff(want, got[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
