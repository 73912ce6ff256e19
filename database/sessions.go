package database

import (
	"context"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// sessions hands out the connections of a pool and keeps what is prepared on them, which database/sql would forget with
// every turn. The one that came back last goes out first, so that few stay busy and the others may go.
type sessions struct {
	db    *sqlx.DB
	turns chan struct{} // a token for each session that is out; without it, one that waits for the pool would miss those that come back here

	mu     sync.Mutex
	free   []*session  // under mu; in the order in which they came back
	reaper *time.Timer // under mu; set while one is free
	closed bool        // under mu
}

func newSessions(db *sqlx.DB, most int) *sessions {
	return &sessions{db: db, turns: make(chan struct{}, most)}
}

func (p *sessions) acquire(ctx context.Context) (*session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case p.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s := p.take(time.Now()); s != nil {
		return s, nil
	}
	conn, err := p.db.Connx(ctx)
	if err != nil {
		<-p.turns
		return nil, err
	}
	return &session{conn: conn, cache: cacheKept, since: time.Now()}, nil
}

// take takes the free session that came back last, if it may still be used: then the others may wait for reap.
func (p *sessions) take(now time.Time) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.free) - 1
	if last < 0 || !p.free[last].fresh(now) {
		return nil
	}
	s := p.free[last]
	p.free[last] = nil
	p.free = p.free[:last]
	return s
}

// release takes a session back. When one is broken, so perhaps are all that are free: the server went away, and the
// next transactions had better find that out on new connections.
func (p *sessions) release(s *session, broken bool) {
	defer func() { <-p.turns }()
	if broken {
		s.close(true)
		p.closeFree(all)
		return
	}
	s.used = time.Now()
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.free = append(p.free, s)
		p.wake()
	}
	p.mu.Unlock()
	if closed {
		s.close(true)
	}
}

func (p *sessions) out() int { return len(p.turns) }

// wake sees to it that reap runs when the session that waits longest is too old. The caller has mu.
func (p *sessions) wake() {
	if p.reaper == nil && len(p.free) > 0 && !p.closed {
		p.reaper = time.AfterFunc(time.Until(p.free[0].used.Add(connectionIdle)), p.reap)
	}
}

// reap closes the sessions that nobody used for long: before the server does.
func (p *sessions) reap() {
	now := time.Now()
	p.closeFree(func(s *session) bool { return !s.fresh(now) })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaper = nil
	p.wake()
}

func all(*session) bool { return true }

// closeFree closes those of the free sessions that are to go.
func (p *sessions) closeFree(goes func(*session) bool) {
	p.mu.Lock()
	var going []*session
	staying := p.free[:0]
	for _, s := range p.free {
		if goes(s) {
			going = append(going, s)
		} else {
			staying = append(staying, s)
		}
	}
	clear(p.free[len(staying):])
	p.free = staying
	p.mu.Unlock()
	for _, s := range going { // not under mu: a broken one may take its time
		s.close(true)
	}
}

func (p *sessions) close() error {
	p.mu.Lock()
	p.closed = true
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.mu.Unlock()
	p.closeFree(all)
	return nil
}

// fresh reports whether the session is neither too old nor idle for too long.
func (s *session) fresh(now time.Time) bool {
	return now.Sub(s.since) < connectionLifetime && now.Sub(s.used) < connectionIdle
}
