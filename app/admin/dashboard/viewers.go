package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

const (
	// maxViewers is the maximum number of viewers; beyond it the answer is 503.
	maxViewers = 16
	// sampleInterval is the interval between two samples.
	sampleInterval = time.Second
	// maxHistory is the maximum number of samples that a new viewer gets: five minutes.
	maxHistory = 300
	// sendTimeout is the maximum time for a browser to accept an event.
	sendTimeout = 5 * time.Second
)

// A viewer is one browser. Its channel holds the latest event alone: a slow browser misses some.
type viewer struct{ latest chan []byte }

// events sends one event a second until the viewer leaves or the server ends.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	v, history, ok := d.join()
	if !ok {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "the dashboard has too many viewers, or the server is shutting down: try again",
			http.StatusServiceUnavailable)
		return
	}
	defer d.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect events
	stream := http.NewResponseController(w)
	for event := history; ; {
		_ = stream.SetWriteDeadline(time.Now().Add(sendTimeout)) // net/http supports it
		if _, err := w.Write(event); err != nil || stream.Flush() != nil {
			return // the browser has left
		}
		select {
		case event = <-v.latest:
		case <-r.Context().Done():
			return
		case <-d.ending.Done():
			return
		}
	}
}

// join adds a viewer, and starts the collector for the first. history is the first event.
func (d *Dashboard) join() (v *viewer, history []byte, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ending.Err() != nil || len(d.viewers) >= maxViewers {
		return nil, nil, false
	}
	v = &viewer{latest: make(chan []byte, 1)}
	d.viewers[v] = struct{}{}
	if !d.collecting {
		d.collecting = true
		d.tasks.Go(d.collect)
	}
	return v, eventOf("history", d.history), true
}

func (d *Dashboard) leave(v *viewer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.viewers, v)
}

// collect broadcasts a sample in each interval, until no viewer is left.
func (d *Dashboard) collect() {
	ctx, cancel := context.WithCancel(d.ending)
	defer cancel()
	d.tasks.Go(func() { d.refresh(ctx) })

	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	before := d.readTotals(d.metrics.Levels())
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		levels := d.metrics.Levels()
		now := d.readTotals(levels)
		s := d.sampleBetween(before, now, levels)
		before = now
		if !d.send(s, eventOf("sample", broadcast{s, d.about.Version, d.parts(s, levels)})) {
			return
		}
	}
}

// refresh keeps the caches fresh, apart from the collector: a slow database must not delay samples.
func (d *Dashboard) refresh(ctx context.Context) {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		d.open.refresh(ctx)
		d.stock.refresh(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// A broadcast is a sample with the parts of the page that it changes.
type broadcast struct {
	sample

	Version string            `json:"version"`
	HTML    map[string]string `json:"html"` // by the ID of the element
}

// send sends the event to every viewer and adds the sample to the history. It returns false when
// there are no viewers: then the collector ends.
func (d *Dashboard) send(s sample, event []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.viewers) == 0 {
		d.collecting = false
		return false
	}
	if len(d.history) == maxHistory {
		d.history = slices.Delete(d.history, 0, 1)
	}
	d.history = append(d.history, s)
	for v := range d.viewers {
		select {
		case <-v.latest: // not received yet
		default:
		}
		v.latest <- event // there is room: only the collector sends
	}
	return true
}

// eventOf renders an event as browsers read it.
func eventOf(name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // numbers and strings always encode
	}
	event := append([]byte("retry: 1000\nevent: "+name+"\ndata: "), text...)
	return append(event, "\n\n"...)
}
