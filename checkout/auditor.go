package checkout

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"cartwheel/database"
)

const (
	// firstAudit is the time from the start to the first audit, in which recovery settles what the
	// last run left.
	firstAudit = 30 * time.Second
	// auditInterval is the interval between two audits.
	auditInterval = 5 * time.Minute
)

// An Auditor audits in the background and has its last report. The zero value is ready to use.
type Auditor struct{ last atomic.Pointer[Report] }

// Last returns the last report, or nil before there is one.
func (a *Auditor) Last() *Report { return a.last.Load() }

// Run audits every few minutes until ctx ends, and logs each inconsistency. It blocks.
func (a *Auditor) Run(ctx context.Context, db *database.DB, log *slog.Logger) {
	for pause := firstAudit; sleep(ctx, pause); pause = auditInterval {
		a.audit(ctx, db, log)
	}
}

func (a *Auditor) audit(ctx context.Context, db *database.DB, log *slog.Logger) {
	report, err := Audit(ctx, db)
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("the audit failed", "error", err)
		}
		return
	}
	for _, found := range report.Inconsistencies {
		log.Error("the audit found an inconsistency", "rule", found.Rule, "what", found.What, "detail", found.Detail)
	}
	a.last.Store(&report)
}
