package idempotency

// PruneOnce is one transaction of Prune.
var PruneOnce = pruneOnce

// AnsweredBefore and Remove are the statements of PruneOnce.
var (
	AnsweredBefore = answeredBefore
	Remove         = remove
)

// PruneRows is the maximum of keys that one transaction prunes.
const PruneRows = pruneRows
