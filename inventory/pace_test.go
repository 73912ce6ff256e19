package inventory_test

import (
	"testing"
	"time"

	"cartwheel/inventory"
)

func TestAnImportLeavesMostOfTheTimeToWhoeverElseWrites(t *testing.T) {
	t.Parallel()
	const chunk, long = 10 * time.Millisecond, 2 * time.Millisecond
	share := func(pauses ...time.Duration) float64 {
		var paused time.Duration
		for _, pause := range pauses {
			paused += pause
		}
		return float64(chunk) * float64(len(pauses)) / float64(paused+chunk*time.Duration(len(pauses)))
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		pause := inventory.NewPace(true)
		var busy, alone []time.Duration
		for n := range 100 { // three of four find the writer free, by chance
			waited := time.Duration(0)
			if n%4 == 0 {
				waited = long
			}
			busy = append(busy, pause(inventory.ImportChunk, waited, chunk))
		}
		for range 100 {
			alone = append(alone, pause(inventory.ImportChunk, 0, chunk))
		}
		if share := share(busy...); share > 0.11 {
			t.Errorf("beside a server that writes, an import takes %.2f of the time, want a tenth", share)
		}
		if share := share(alone[10:]...); share < 0.6 {
			t.Errorf("where nobody else writes, an import takes %.2f of the time, want two thirds", share)
		}
		if pause := pause(inventory.ImportChunk, time.Second, time.Second); pause > time.Second {
			t.Errorf("after a chunk that waited for a second it pauses for %v", pause)
		}
	})
	t.Run("with row locks", func(t *testing.T) {
		t.Parallel()
		pause := inventory.NewPace(false)
		if share := share(pause(inventory.ImportChunk, 0, chunk)); share < 0.75 {
			t.Errorf("where nobody else is at work, an import takes %.2f of the time, want four fifths", share)
		}
		if pause := pause(inventory.ImportChunk, 0, 2*chunk); pause < 8*chunk {
			t.Errorf("after a chunk that took twice as long as it can it pauses for %v", pause)
		}
	})
}
