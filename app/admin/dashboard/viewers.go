package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	// maxViewers is the maximum number of viewers; beyond it they are told to wait.
	maxViewers = 16
	// sampleInterval is the interval between two samples.
	sampleInterval = time.Second
	// maxHistory is the maximum number of samples that a new viewer gets: an hour.
	maxHistory = 3600
	// sendTimeout is the maximum time for a browser to accept an event.
	sendTimeout = 5 * time.Second
)

// A viewer is one browser. Its channel holds the latest event alone: a slow browser misses some.
type viewer struct{ latest chan []byte }

// events sends one event a second until the viewer leaves or the server ends. A viewer too many
// gets one event that says so: a browser does not show the text of an error to the page.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect events
	v, history := d.join()
	if v == nil {
		_, _ = w.Write(eventOf("refused", "Too many others watch already: no live figures until one leaves"))
		return
	}
	defer d.leave(v)
	stream := http.NewResponseController(w)
	for event := eventOf("history", history); ; {
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

// join adds a viewer, who gets the history first. It returns nil when there are too many.
func (d *Dashboard) join() (v *viewer, history []sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.viewers) >= maxViewers {
		return nil, nil
	}
	v = &viewer{latest: make(chan []byte, 1)}
	d.viewers[v] = struct{}{}
	return v, d.history
}

func (d *Dashboard) leave(v *viewer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.viewers, v)
}

// watched reports whether there are viewers.
func (d *Dashboard) watched() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.viewers) > 0
}

// collect records a sample in each interval and broadcasts it, until the dashboard is closed.
func (d *Dashboard) collect() {
	before := d.readTotals(d.metrics.Levels())
	for d.nextInterval() {
		levels := d.metrics.Levels()
		now := d.readTotals(levels)
		s := d.sampleBetween(before, now, levels)
		before = now
		d.record(s)
		if d.watched() {
			d.send(eventOf("sample", broadcast{s, d.about.Version, d.parts(s, levels)}))
		}
	}
}

// refresh keeps the caches fresh for viewers, apart from the collector: a slow database must not
// delay samples.
func (d *Dashboard) refresh() {
	for d.nextInterval() {
		if d.watched() {
			d.read(d.ending)
		}
	}
}

// nextInterval waits until the next sample is due. It returns false when the dashboard is closed.
func (d *Dashboard) nextInterval() bool {
	select {
	case <-time.After(time.Until(time.Now().Truncate(sampleInterval).Add(sampleInterval))):
		return true
	case <-d.ending.Done():
		return false
	}
}

// read reads what has expired. It blocks until all is read.
func (d *Dashboard) read(ctx context.Context) {
	var reads sync.WaitGroup
	for _, read := range []func(context.Context){d.open.refresh, d.recent.refresh, d.stock.refresh, d.checkReady} {
		reads.Go(func() { read(ctx) })
	}
	reads.Wait()
}

func (d *Dashboard) checkReady(ctx context.Context) {
	var reason *string
	if err := d.ready(ctx); err != nil {
		reason = new(err.Error())
	}
	d.notReady.Store(reason)
}

// A broadcast is a sample with the parts of the page that it changes.
type broadcast struct {
	sample

	Version string            `json:"version"`
	HTML    map[string]string `json:"html"` // by the ID of the element
}

// record adds the sample to the history. Slices of it that viewers have do not change.
func (d *Dashboard) record(s sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.history = append(d.history[max(0, len(d.history)+1-maxHistory):], s)
}

// send sends the event to every viewer.
func (d *Dashboard) send(event []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v := range d.viewers {
		select {
		case <-v.latest: // not received yet
		default:
		}
		v.latest <- event // there is room: only the collector sends
	}
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
