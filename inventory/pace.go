package inventory

import "time"

const (
	// maxPause is the longest pause between two chunks.
	maxPause = 250 * time.Millisecond
	// busyAfter is how long a chunk waits for its turn where nobody else writes, at most.
	busyAfter = 500 * time.Microsecond
	// aloneAfter is after how many chunks in a row that did not wait nobody else writes: beside a busy server, some find their
	// turn free by chance.
	aloneAfter = 8
	// slowedTenths is how long a chunk takes where nobody else is at work, at most, in tenths of the time of the fastest.
	slowedTenths = 14
)

// A pace says how long an import pauses after each chunk: long where others are at work, so that they get most of the time, and
// short where not, still enough for them to begin. On the embedded engine, which has one writer at a time, a chunk has to wait for
// its turn then; on a server with row locks it takes longer than such chunks can take.
type pace struct {
	embedded bool
	alone    int           // chunks in a row that did not wait for their turn
	fastest  time.Duration // of all full chunks so far
}

// pause returns how long to pause after a chunk of so many rows that waited for its turn, and took so long with that.
func (p *pace) pause(rows int, waited, took time.Duration) time.Duration {
	if rows == importChunk && (p.fastest == 0 || took < p.fastest) {
		p.fastest = took
	}
	if p.alone++; waited > busyAfter {
		p.alone = 0
	}
	switch {
	case p.embedded && p.alone < aloneAfter:
		took *= 9
	case p.embedded:
		took /= 2
	case took > p.fastest*slowedTenths/10:
		took *= 4
	default:
		took /= 4
	}
	return min(took, maxPause)
}
