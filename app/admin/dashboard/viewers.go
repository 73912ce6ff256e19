package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// maxViewers is how many watch at once; more are told to come back.
	maxViewers = 16
	// lookEvery is how often the viewers get a sample.
	lookEvery = time.Second
	// maxHistory is how many samples a new viewer is shown at once: five minutes.
	maxHistory = 300
	// sendTime is how long a viewer's browser may take to accept an event.
	sendTime = 5 * time.Second
)

// A viewer is one browser that watches.
type viewer struct{ latest chan []byte } // the latest event alone: who is slow misses some

// events sends one event a second until the viewer leaves or the server ends.
func (d *Dashboard) events(w http.ResponseWriter, r *http.Request) {
	v, history, ok := d.join()
	if !ok {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many watch the dashboard, or the server is ending: try again", http.StatusServiceUnavailable)
		return
	}
	defer d.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy must not collect events
	stream := http.NewResponseController(w)
	send := func(event []byte) error {
		if err := stream.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
			return err
		}
		if _, err := w.Write(event); err != nil {
			return err
		}
		return stream.Flush()
	}
	for event := history; ; {
		if send(event) != nil {
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

// collect takes a sample a second and sends it to all viewers, until none is left.
func (d *Dashboard) collect() {
	ctx, cancel := context.WithCancel(d.ending)
	defer cancel()
	d.tasks.Go(func() { d.refresh(ctx) })

	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	before := d.read(d.metrics.Levels())
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		levels := d.metrics.Levels()
		now := d.read(levels)
		m := d.sampleBetween(before, now, levels)
		before = now
		event := eventOf("sample", broadcast{sample: m, Version: d.about.Version, HTML: d.fragments(m, levels)})
		if !d.send(m, event) {
			return
		}
	}
}

// A broadcast is one sample, with the parts of the page that it changes.
type broadcast struct {
	sample

	Version string            `json:"version"`
	HTML    map[string]string `json:"html"` // by the ID of the element
}

// send gives every viewer the event. It returns false, and the collector is over, where nobody
// watches any more.
func (d *Dashboard) send(m sample, event []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.viewers) == 0 {
		d.collecting = false
		return false
	}
	d.history = append(d.history, m)
	if over := len(d.history) - maxHistory; over > 0 {
		d.history = append(d.history[:0], d.history[over:]...)
	}
	for v := range d.viewers {
		select {
		case <-v.latest: // not fetched yet
		default:
		}
		v.latest <- event // nobody else sends, so there is room
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
