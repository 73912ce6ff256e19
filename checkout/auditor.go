package checkout

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"cartwheel/database"
)

const (
	// firstAudit is how long after the start the books are checked first, so that recovery has its turn.
	firstAudit = 30 * time.Second
	// auditEvery is how often they are checked after that.
	auditEvery = 5 * time.Minute
)

// An Auditor checks the books in the background and keeps its last verdict. The zero value has none yet.
type Auditor struct{ last atomic.Pointer[Verdict] }

// Last returns the last verdict, or nil before there is one.
func (a *Auditor) Last() *Verdict { return a.last.Load() }

// Run audits every few minutes until ctx ends, and logs each breach. It blocks.
func (a *Auditor) Run(ctx context.Context, db *database.DB, log *slog.Logger) {
	for pause := firstAudit; sleep(ctx, pause); pause = auditEvery {
		a.audit(ctx, db, log)
	}
}

func (a *Auditor) audit(ctx context.Context, db *database.DB, log *slog.Logger) {
	verdict, err := Audit(ctx, db)
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("the books could not be checked", "error", err)
		}
		return
	}
	for _, b := range verdict.Breaches {
		log.Error("the books are not as promised", "rule", b.Rule, "what", b.What, "detail", b.Detail)
	}
	a.last.Store(&verdict)
}
