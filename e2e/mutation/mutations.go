package main

// A mutation removes one guard of the product. Its name is the guard's.
type mutation struct {
	name  string
	edits []edit
	in    string   // the package of the tests, below the product's directory
	tests []string // each of which must fail
}

// An edit replaces a text that is in a file once.
type edit struct{ file, from, to string }

// shuffled upserts lines in any order.
var shuffled = []edit{
	{"cart/store.go", "\t\"fmt\"\n", "\t\"fmt\"\n\t\"math/rand/v2\"\n"},
	{"cart/store.go", "func upsertArgs(d database.Dialect, lines []ClientLine, rows int) []any {\n",
		"func upsertArgs(d database.Dialect, lines []ClientLine, rows int) []any {\n\tlines = slices.Clone(lines)\n" +
			"\trand.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })\n"},
}

// mutations are all of them. The replaced texts are short, so that the code around them may change.
func mutations() []mutation {
	return []mutation{
		{
			name:  "reserving locks the product's row",
			edits: []edit{{"inventory/inventory.go", "queryOnHand(b, waitable, tx.ForUpdate(), stock)", `queryOnHand(b, waitable, "", stock)`}},
			in:    "inventory", tests: []string{"TestLock_seesCommittedReservations"},
		},
		{
			name: "what is held is added up by a statement of its own, after the locks",
			edits: []edit{
				{"inventory/inventory.go", "	queryOnHand(b, waitable, tx.ForUpdate(), stock)\n",
					"	early := newStock(len(ids))\n	queryLevels(b, ids, early)\n	if err := b.Send(ctx); err != nil {\n		return nil, err\n	}\n" +
						"	queryOnHand(b, waitable, tx.ForUpdate(), stock)\n"},
				{"inventory/inventory.go", "	queryReserved(b, ids, stock)\n", ""},
				{"inventory/inventory.go", "	return stock, nil\n",
					"	for id, level := range stock.levels {\n		if early.levels[id] != nil {\n			level.Reserved = early.levels[id].Reserved\n		}\n	}\n	return stock, nil\n"},
			},
			in: "inventory", tests: []string{"TestLock_seesCommittedReservations"},
		},
		{
			name:  "reserving compares with what is available",
			edits: []edit{{"inventory/stock.go", "line.Quantity > level.Available() {", "line.Quantity > level.OnHand {"}},
			in:    "checkout", tests: []string{"TestBatches_lastUnitIsSoldOnce", "TestBatches_instancesDoNotOversell"},
		},
		{
			name:  "an add compares with what is available",
			edits: []edit{{"cart/add_decide.go", "case after > level.Available() ||", "case after > level.OnHand ||"}},
			in:    "cart", tests: []string{"TestAddBatch_addIsRefused"},
		},
		{
			name:  "stock goes down only where it suffices (MySQL)",
			edits: []edit{{"database/mysql/dialect.go", " WHERE t.%[4]s >= k.c1", ""}},
			in:    "inventory", tests: []string{"TestCommit_failsWhenOnHandWasLowered"},
		},
		{
			name:  "the columns of a list name their character set",
			edits: []edit{{"database/mysql/dialect.go", `"VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"`, `"VARCHAR(255)"`}},
			in:    "checkout", tests: []string{"TestCheckout_worksOnAnyDefaultCharset", "TestCheckout_settlesAdoptedRowsOnAnyDefaultCharset"},
		},
		{
			name:  "stock goes down only where it suffices (embedded)",
			edits: []edit{{"database/sqlite/dialect.go", " AND %[1]s.%[3]s >= k.column2", ""}},
			in:    "inventory", tests: []string{"TestCommit_failsWhenOnHandWasLowered"},
		},
		{
			name:  "CHECK (quantity >= 0) (MySQL)",
			edits: []edit{{"migrations/verify.go", `_quantity_check CHECK (quantity >= 0)"`, `_quantity_check CHECK (quantity >= -99)"`}},
			in:    "migrations", tests: []string{"TestTables_refuseNegativeQuantities"},
		},
		{
			name:  "CHECK (quantity >= 0) of what is on hand (embedded)",
			edits: []edit{{"migrations/sqlite/00001_tables.sql", "    product_name varchar(100) NULL,\n    quantity     int NULL CHECK (quantity >= 0)", "    product_name varchar(100) NULL,\n    quantity     int NULL"}},
			in:    "migrations", tests: []string{"TestTables_refuseNegativeQuantities"},
		},
		{
			name:  "TX 2 checks the epoch",
			edits: []edit{{"checkout/store.go", " WHERE state = ? AND epoch = ? AND checkout_id IN ", " WHERE state = ? AND ? > 0 AND checkout_id IN "}},
			in:    "checkout", tests: []string{"TestRecovery_ownerPastItsLeaseChangesNothing"},
		},
		{
			name:  "TX 2 checks the state",
			edits: []edit{{"checkout/store.go", " WHERE state = ? AND epoch = ? AND checkout_id IN ", " WHERE ? <> '' AND epoch = ? AND checkout_id IN "}},
			in:    "checkout", tests: []string{"TestFaults_settleThatCommittedIsNotDoneAgain"},
		},
		{
			name:  "an owner that lost its checkout is told before its stock is judged",
			edits: []edit{{"checkout/settle_slow.go", "case entry.State != c.state || entry.Epoch != c.epoch:", "case entry.State != c.state:"}},
			in:    "checkout", tests: []string{"TestRecovery_ownerPastItsLeaseDoesNotRefund", "TestRecovery_ownerPastItsLeaseChangesNothing"},
		},
		{
			name: "a claim takes only what is expired still",
			edits: []edit{{"checkout/store.go", `" AND lease_expires_at <= "+d.Now()+
		" ORDER BY checkout_id"`, `" AND lease_expires_at IS NOT NULL"+
		" ORDER BY checkout_id"`}},
			in: "checkout", tests: []string{"TestClaim_whatAnotherInstanceHasClaimedSinceIsNotClaimedAgain"},
		},
		{
			name:  "a claim raises the epoch",
			edits: []edit{{"checkout/store.go", "SET epoch = epoch + 1, lease_expires_at = ", "SET epoch = epoch + 0, lease_expires_at = "}},
			in:    "checkout", tests: []string{"TestRecovery_ownerPastItsLeaseChangesNothing", "TestRecovery_anotherInstanceVoidsWhatACrashedOneLeft"},
		},
		{
			name: "only expired leases are claimed",
			edits: []edit{{"checkout/store.go", `"checkout_journal WHERE lease_expires_at <= "+tx.Dialect().Now()+`, `"checkout_journal WHERE lease_expires_at IS NOT NULL"+`},
				{"checkout/store.go", `" AND lease_expires_at <= "+d.Now()+
		" ORDER BY checkout_id"`, `" AND lease_expires_at IS NOT NULL"+
		" ORDER BY checkout_id"`}},
			in: "checkout", tests: []string{"TestRecovery_liveOwnersCheckoutIsNotClaimed"},
		},
		{
			name:  "a start on the embedded engine waits for no lease",
			edits: []edit{{"checkout/recover.go", "	if m.db.Embedded() {\n		var open", "	if false {\n		var open"}},
			in:    "e2e", tests: []string{"TestRecovery_embeddedSettlesAtStart"},
		},
		{
			name:  "leases are by the database's clock",
			edits: []edit{{"checkout/store.go", `"1", d.NowPlus(lease), "?"`, `"1", "'" + time.Now().UTC().Add(lease).Format("2006-01-02 15:04:05.000") + "'", "?"`}},
			in:    "checkout", tests: []string{"TestSettle_leasesAreByTheDatabasesClock"},
		},
		{
			name: "a lost COMMIT of checkouts is looked up with a locking read",
			edits: []edit{
				{"checkout/reserve.go", "c.id }), tx.ForUpdate())", `c.id }), "")`},
				{"checkout/settle.go", "t.includedIDs(), tx.ForUpdate())", `t.includedIDs(), "")`},
			},
			in: "checkout", tests: []string{"TestLostCommit_lostAnswerToACommitIsFoundOut"},
		},
		{
			name:  "a lost COMMIT of keys is looked up with a locking read",
			edits: []edit{{"cart/idempotency/store.go", `" AND created_at = ?"+tx.ForUpdate()`, `" AND created_at = ?"`}},
			in:    "checkout", tests: []string{"TestLostCommit_lostAnswerToARefusalsCommitIsFoundOut"},
		},
		{
			name:  "restored lines are upserted in the order of their keys",
			edits: shuffled,
			in:    "checkout", tests: []string{"TestFaults_restoresThatCrossDoNotDeadlock"},
		},
		{
			name:  "adds are upserted in the order of their keys",
			edits: shuffled,
			in:    "cart", tests: []string{"TestAddBatch_addsInOppositeOrdersReachNoDeadlock"},
		},
		{
			name:  "TX 2 looks whether a restored line is full",
			edits: []edit{{"checkout/settle.go", "	if full() {", "	if full() && false {"}},
			in:    "checkout", tests: []string{"TestSettle_capsARestoredLineThatWouldOverflow"},
		},
		{
			name:  "put-backs add to the line, and do not set it",
			edits: []edit{{"cart/store.go", `" ELSE COALESCE(client_cart.quantity, 0) + " +`, `" ELSE " +`}},
			in:    "checkout", tests: []string{"TestSale_whatIsAddedDuringThePaymentStaysInTheCart"},
		},
		{
			name:  "a repeat looks for its key before anything else is done",
			edits: []edit{{"cart/idempotency/keys.go", "case isKnown:", "case isKnown && record.Status < 0:"}},
			in:    "cart", tests: []string{"TestKeys_repeatGetsTheFirstAnswer"},
		},
		{
			name:  "a repeat that would be refused looks for its key first",
			edits: []edit{{"checkout/checkout.go", `if p.Key != "" && answerMayBeStored(err) {`, "if false {"}},
			in:    "checkout", tests: []string{"TestKeys_instanceThatRefusesStillReplays", "TestKeys_fullQueueStillReplays"},
		},
		{
			name:  "a key belongs to one request (422)",
			edits: []edit{{"cart/idempotency/idempotency.go", "case r.Hash != hash:", "case false:"}},
			in:    "cart", tests: []string{"TestKeys_isItsClientsAndForOneRequest"},
		},
		{
			name: "a checkout's key is answered in the transaction of its end",
			edits: []edit{
				{"checkout/settle.go", "	return t.answerKeys(ctx, tx)\n", "	return nil\n"},
				{"checkout/settle.go", "	if err == nil {\n		t.report()\n",
					"	if err == nil {\n		err = t.m.db.Transact(ctx, func(tx *database.Tx) error { return t.answerKeys(ctx, tx) }, nil)\n" +
						"		t.report()\n"},
			},
			in: "checkout", tests: []string{"TestSettle_checkoutEndsTogetherWithItsKeysAnswerOrNotAtAll"},
		},
		{
			name: "an add's key is stored in the transaction of its line",
			edits: []edit{
				{"cart/batch.go", "	return t.keys.Store(ctx, tx)\n", "	return nil\n"},
				{"cart/batch.go", "	if err != nil {\n		return err\n	}\n	for repeat, first",
					"	if err == nil && !t.keys.Empty() {\n" +
						"		err = m.db.Transact(ctx, func(tx *database.Tx) error { return t.keys.Store(ctx, tx) }, nil)\n	}\n" +
						"	if err != nil {\n		return err\n	}\n	for repeat, first"},
			},
			in: "cart", tests: []string{"TestAddBatch_addAndKeyAreStoredTogetherOrNotAtAll"},
		},
		{
			name:  "a line is lowered whatever the stock",
			edits: []edit{{"cart/edit.go", "if after > line.now {", "if after > 0 {"}},
			in:    "cart", tests: []string{"TestUpdate_loweringAndRemovingSucceedWhateverTheStock"},
		},
		{
			name:  "raising a line compares with what is available",
			edits: []edit{{"cart/edit.go", "if after > line.now {", "if c.kind == kindAdd {"}},
			in:    "cart", tests: []string{"TestUpdate_raisingIsCheckedLikeAnAdd"},
		},
		{
			name:  "a line that another instance inserts while a cart is edited is seen",
			edits: []edit{{"cart/edit.go", "if line.quantity != e.lines[key].now {", "if line.quantity != e.lines[key].now && line.quantity < 0 {"}},
			in:    "cart", tests: []string{"TestUpdate_instancesThatSetALineAtOnceDoNotAddUp"},
		},
		{
			name:  "a merge follows the earlier changes of the guest",
			edits: []edit{{"cart/merge.go", "m.db.Dialect().Parallel() > 1", "m.db.Dialect().Parallel() > 99"}},
			in:    "cart", tests: []string{"TestMerge_followsEarlierAndPrecedesLaterChanges"},
		},
		{
			name:  "later changes of a merge's clients wait",
			edits: []edit{{"cart/change.go", "m.merges.wait(ctx, c.ClientID)", `m.merges.wait(ctx, "")`}},
			in:    "cart", tests: []string{"TestMerge_followsEarlierAndPrecedesLaterChanges"},
		},
		{
			name:  "a merge moves nothing beyond the limits",
			edits: []edit{{"cart/edit.go", "if grows && lines > MaxLines {", "if grows && lines > 2*MaxLines {"}},
			in:    "cart", tests: []string{"TestMerge_beyondTheLimitsMovesNothing"},
		},
		{
			name:  "a checkout buys only the cart that If-Match names",
			edits: []edit{{"checkout/reserve.go", "if !cart.Matches(job.IfMatch, lines) {", "if cart.Matches(\"never\", lines) {"}},
			in:    "checkout", tests: []string{"TestCheckOut_ifMatchBuysExactlyWhatWasSeen"},
		},
		{
			name:  "a key belongs to one reference and one If-Match",
			edits: []edit{{"checkout/reserve.go", "request.Hash = idempotency.HashOf(p.Reference, p.IfMatch)", "request.Hash = idempotency.HashOf(p.Reference)"}},
			in:    "checkout", tests: []string{"TestCheckOut_keyWithAnotherReferenceOrIfMatchIsRefused"},
		},
		{
			name:  "an event becomes due in the transaction of its sale",
			edits: []edit{{"checkout/store.go", "	if t.announced {\n", "	if t.announced && t.epoch < 0 {\n"}},
			in:    "checkout", tests: []string{"TestEvents_saleIsAnnouncedOnceItIsCommitted"},
		},
		{
			name:  "what is not sold is not announced",
			edits: []edit{{"checkout/announce.go", "if !slices.Contains(kind.states, e.State) {", "if !slices.Contains(kind.states, e.State) && e.Epoch < 0 {"}},
			in:    "checkout", tests: []string{"TestEvents_whatIsNotSoldIsNotAnnounced"},
		},
		{
			name:  "an event is leased before it is delivered",
			edits: []edit{{"checkout/store.go", `CAST("+tx.Dialect().NowPlus(lease)+"`, `CAST("+tx.Dialect().NowPlus(lease-lease)+"`}},
			in:    "checkout", tests: []string{"TestEvents_instancesShareTheDeliveries", "TestEvents_leaseOfADeadInstanceEnds"},
		},
		{
			name:  "a delivery ends only its own claim",
			edits: []edit{{"checkout/store.go", `" = ? WHERE checkout_id = ? AND "+column+" = ?",`, `" = ? WHERE checkout_id = ? AND COALESCE("+column+", ?) IS NOT NULL",`}},
			in:    "checkout", tests: []string{"TestEvents_replayDuringADeliveryIsKept"},
		},
		{
			name:  "claims of events leave locked rows out",
			edits: []edit{{"checkout/store.go", `" LIMIT ?"+tx.ForUpdateSkipLocked(), limit)`, `" LIMIT ?"+tx.ForUpdate(), limit)`}},
			in:    "checkout", tests: []string{"TestEvents_lockedRowDelaysItsOwnEventAlone"},
		},
		{
			name:  "a locked row does not keep other deliveries from being noted",
			edits: []edit{{"checkout/store.go", "	if tx.AfterLockTimeout() {\n		if unlocked, err", "	if tx.AfterLockTimeout() && len(due) == 0 {\n		if unlocked, err"}},
			in:    "checkout", tests: []string{"TestEvents_lockedRowDelaysItsOwnEventAlone"},
		},
		{
			name:  "an instance that ends notes its deliveries",
			edits: []edit{{"checkout/announce.go", "ending := context.WithoutCancel(ctx)", "ending := ctx"}},
			in:    "checkout", tests: []string{"TestEvents_instanceThatEndsLeavesItsEventsDue"},
		},
		{
			name:  "the pause of an event counts from its state",
			edits: []edit{{"checkout/announce.go", "leased.now().Sub(e.UpdatedAt)", "leased.now().Sub(e.CreatedAt)"}},
			in:    "checkout", tests: []string{"TestEvents_failedCancellationIsRetriedSoon"},
		},
		{
			name:  "an endpoint that fails is given pauses",
			edits: []edit{{"checkout/announce.go", `more = slices.Contains(due, "")`, `more = true`}},
			in:    "checkout", tests: []string{"TestEvents_fullBatchIsFollowedByAnotherUnlessAllOfItFailed"},
		},
		{
			name:  "a redirect delivers no event",
			edits: []edit{{"checkout/webhook/webhook.go", "if response.StatusCode/100 != 2 {", "if response.StatusCode/100 > 3 {"}},
			in:    "checkout/webhook", tests: []string{"TestSend_onlyA2xxIsDelivered"},
		},
		{
			name:  "a failed delivery is retried",
			edits: []edit{{"checkout/announce.go", "leased, leased.entries[i])\n", "leased, leased.entries[i])[:0]\n"}},
			in:    "checkout", tests: []string{"TestEvents_failedDeliveryIsRetried"},
		},
		{
			name:  "pruning keeps undelivered events",
			edits: []edit{{"checkout/store.go", `const noEventDue = " AND committed_event_due_at IS NULL AND cancelled_event_due_at IS NULL"`, `const noEventDue = ""`}},
			in:    "checkout", tests: []string{"TestEvents_pruneKeepsWhatIsUndelivered"},
		},
		{
			name:  "a checkout that was not paid deletes its key",
			edits: []edit{{"checkout/settle.go", "if errors.Is(answer, ErrUnpaid) {", "if errors.Is(answer, ErrBusy) {"}},
			in:    "checkout", tests: []string{"TestCheckOut_notPaidFreesItsKey"},
		},
		{
			name:  "units that a restored line cannot have are reported",
			edits: []edit{{"cart/lines.go", "line.Quantity > room {", "line.Quantity < 0 {"}},
			in:    "cart", tests: []string{"TestLines_restoreCapsALineThatWouldOverflow"},
		},
		{
			name:  "checkouts are served in the order of admission",
			edits: []edit{{"checkout/reserve.go", "return t.jobs[i].admitted.Compare(t.jobs[j].admitted)", "return 0"}},
			in:    "checkout", tests: []string{"TestReserve_servesInTheOrderOfAdmission"},
		},
		{
			name:  "a large quantity is read before it is added",
			edits: []edit{{"cart/batch.go", "return line.Quantity > largeQuantity", "return false"}},
			in:    "cart", tests: []string{"TestAddBatch_aQuantityThatOverflowsCostsTheOthersNoRetry"},
		},
		{
			name:  "pruning checks a key's age in the DELETE",
			edits: []edit{{"cart/idempotency/store.go", "\" AND created_at < \"+tx.Dialect().NowPlus(-age)+\" AND http_status IS NOT NULL\", args(keys)", "\" AND http_status IS NOT NULL\", args(keys)"}},
			in:    "cart/idempotency", tests: []string{"TestPrune_leavesAKeyThatWasUsedAgain"},
		},
		{
			name:  "an unknown payment is voided before anything is rolled back",
			edits: []edit{{"checkout/purchase.go", "result, err := m.gateway.Void(ctx, c.id)", `result, err := payment.Result{Status: payment.Voided}, error(nil)`}},
			in:    "checkout", tests: []string{"TestUnknownPayment_unknownPaymentThatProvesChargedIsASale", "TestRecovery_commitsWhatProvesCharged", "TestUnknownPayment_stockStaysReservedUntilTheVoidIsAnswered"},
		},
		{
			name:  "only a paid checkout is refunded",
			edits: []edit{{"checkout/settle_slow.go", "		if !t.sells(i) {\n			return false\n		}\n", ""}},
			in:    "checkout", tests: []string{"TestBatches_mixedBatchOfEndsIsSettledTogether"},
		},
		{
			name:  "a checkout that is refunding is never sold",
			edits: []edit{{"checkout/recover.go", "if c.state == Refunding || c.state == Cancelling {", "if c.state == Cancelling {"}},
			in:    "checkout", tests: []string{"TestRecovery_finishesARefund"},
		},
		{
			name:  "a cancellation refunds before it restocks",
			edits: []edit{{"checkout/purchase.go", "result, err := m.gateway.Refund(ctx, c.id)", "result, err := payment.Result{Status: payment.Refunded}, error(nil)"}},
			in:    "checkout", tests: []string{"TestCancel_refundsThenRestocks", "TestCancel_refusedRefundLeavesItCommitted"},
		},
		{
			name: "a cancellation restocks in the transaction of its end",
			edits: []edit{
				{"checkout/settle_slow.go", "	t.stockOverflow, err = t.m.stock.Restock(ctx, tx, stock, lines)\n	return err\n", "	t.restocks = lines\n	return nil\n"},
				{"checkout/settle.go", "	stockOverflow []inventory.Line  //", "	restocks []inventory.Line\n	stockOverflow []inventory.Line  //"},
				{"checkout/settle.go", "	if err == nil {\n		t.report()\n", "	if err == nil {\n		err = t.m.db.Transact(ctx, func(tx *database.Tx) error {\n" +
					"			var ids []string\n			for _, line := range t.restocks {\n				ids = append(ids, line.ProductID)\n			}\n" +
					"			stock, err := t.m.stock.Lock(ctx, tx, ids)\n			if err == nil {\n" +
					"				t.stockOverflow, err = t.m.stock.Restock(ctx, tx, stock, t.restocks)\n			}\n			return err\n		}, nil)\n		t.report()\n"},
			},
			in: "checkout", tests: []string{"TestCancel_crashAtAnyPointRestocksOnce"},
		},
		{
			name:  "a cancellation's end checks the epoch",
			edits: []edit{{"checkout/store.go", " WHERE state = ? AND epoch = ? AND checkout_id IN ", " WHERE state = ? AND ? > 0 AND checkout_id IN "}},
			in:    "checkout", tests: []string{"TestCancel_restockIsRolledBackWithItsMove"},
		},
		{
			name:  "a cancellation's end checks the state",
			edits: []edit{{"checkout/store.go", " WHERE state = ? AND epoch = ? AND checkout_id IN ", " WHERE ? <> '' AND epoch = ? AND checkout_id IN "}},
			in:    "checkout", tests: []string{"TestCancel_restockIsRolledBackWithItsMove"},
		},
		{
			name:  "a checkout is cancelled for 30 days",
			edits: []edit{{"checkout/cancel.go", "case time.Since(entry.CreatedAt) > paymentMemory:", "case time.Since(entry.CreatedAt) < 0:"}},
			in:    "checkout", tests: []string{"TestCancel_isRefusedAfterThirtyDaysByTheDatabasesClock"},
		},
		{
			name:  "only a committed checkout is cancelled",
			edits: []edit{{"checkout/cancel.go", "if entry.State != Committed {", "if entry.State.Settled() && entry.State != Committed {"}},
			in:    "checkout", tests: []string{"TestCancel_isRefusedUnlessCommitted"},
		},
		{
			name:  "a batch begins a cancellation once",
			edits: []edit{{"checkout/settle.go", "repeated := cancelling[this]; repeated {", "repeated := cancelling[this]; repeated && false {"}},
			in:    "checkout", tests: []string{"TestCancel_beginsOnceInABatch"},
		},
		{
			name:  "a cancellation is no checkout under way",
			edits: []edit{{"checkout/store.go", "string(Cancelling)+\"' ORDER BY client_id", "string(Cancelling)+\"!' ORDER BY client_id"}},
			in:    "checkout", tests: []string{"TestCancel_isNoCheckoutUnderWay"},
		},
		{
			name:  "restocked units stay below the maximum",
			edits: []edit{{"inventory/inventory.go", "min(level.OnHand+line.Quantity, MaxOnHand)", "level.OnHand+line.Quantity"}},
			in:    "inventory", tests: []string{"TestRestock_capsAtTheMaximumAndReportsTheSurplus"},
		},
		{
			name:  "a cancellation is certified by a cluster",
			edits: []edit{{"inventory/inventory.go", "	if m.clustered {\n", "	if m.clustered && ctx == nil {\n"}},
			in:    "inventory", tests: []string{"TestRestock_incrementsTheGuardInAClusterOnly"},
		},
		{
			name: "the guard is written before what is reserved is read",
			edits: []edit{
				{"inventory/inventory.go", "	if m.clustered {\n", "	queryReserved(b, ids, stock)\n	if m.clustered {\n"},
				{"inventory/inventory.go", "	// older snapshot.\n	queryReserved(b, ids, stock)\n", ""},
			},
			in: "inventory", tests: []string{"TestGuard_isWrittenBeforeWhatIsReservedIsRead"},
		},
		{
			name:  "a connection to a node of Galera begins with a causal read",
			edits: []edit{{"database/mysql/mysql.go", `if causal := server.causalRead(); causal != "" {`, `if causal := server.causalRead(); causal == "never" {`}},
			in:    "database", tests: []string{"TestGalera_connectionsBeginWithACausalRead"},
		},
		{
			name:  "a retry after a lost COMMIT looks once more",
			edits: []edit{{"database/transaction.go", "run = unlessFound(work, committed, &commitLost)", "_ = unlessFound(work, committed, &commitLost)"}},
			in:    "database", tests: []string{"TestLostCommit_foundByTheRetryIsSuccess"},
		},
		{
			name:  "a disturbed second look for a lost COMMIT is repeated",
			edits: []edit{{"database/transaction.go", "run = unlessFound(work, committed, &commitLost)", "run, commitLost = unlessFound(work, committed, &commitLost), false"}},
			in:    "database", tests: []string{"TestLostCommit_disturbedLookOfTheRetryIsRepeated"},
		},
		{
			name:  "the lines in flight are bounded",
			edits: []edit{{"checkout/reserve.go", "m.lineBytes.Load() >= maxLineBytes", "false"}},
			in:    "checkout", tests: []string{"TestLimits_longCartsInFlightAreBoundedByTheirSize"},
		},
		{
			name:  "large answers for slow readers are bounded",
			edits: []edit{{"app/api/lookups.go", "maxLargeAnswerBytes = 64 << 20", "maxLargeAnswerBytes = 64 << 30"}},
			in:    "app/api", tests: []string{"TestLookups_largeAnswersForSlowReadersAreBounded"},
		},
		{
			name:  "one cart that cannot be read fails alone",
			edits: []edit{{"cart/cart.go", "Work: m.show, RetryOneByOne: database.MayRetryOneByOne,", "Work: m.show,"}},
			in:    "cart", tests: []string{"TestShow_cartThatCannotBeReadIsAloneWithIt"},
		},
		{
			name:  "a row that changes under a lock wait is no error on MariaDB 11.6 and later",
			edits: []edit{{"database/mysql/mysql.go", "innodb_snapshot_isolation = 0", "innodb_snapshot_isolation = 1"}},
			in:    "database", tests: []string{"TestMySQL_globalSettingsDoNotMatter"},
		},
		{
			name:  "checkouts are looked for after the lines, too",
			edits: []edit{{"cart/show.go", "stock.Products(batch, ids, products)\n\t\tfindUnderWay(batch, clients, underWay)\n", "stock.Products(batch, ids, products)\n"}},
			in:    "cart", tests: []string{"TestShow_looksForCheckoutsBeforeAndAfterTheLines"},
		},
		{
			name:  "each caller of a batch gets its own cart",
			edits: []edit{{"cart/show.go", "View{viewLines(carts[id], products),", "View{viewLines(carts[clientIDs[0]], products),"}},
			in:    "cart", tests: []string{"TestShow_callersAtOnceGetTheirOwnCarts"},
		},
		{
			name:  "a deadlock during COMMIT is retried",
			edits: []edit{{"database/mysql/faults.go", `"error 149 ")`, `"error 14 ")`}},
			in:    "database/mysql", tests: []string{"TestFault_deadlockDuringCommitIsAConflict"},
		},
		{
			name:  "a checkout is admitted before TX 1",
			edits: []edit{{"checkout/purchase.go", "case m.inFlight.Load() >= int64(m.config.InFlight):", "case m.inFlight.Load() < 0:"}},
			in:    "checkout", tests: []string{"TestLimits_moreCheckoutsThanMayBeInFlightAreRefused"},
		},
		{
			name:  "nothing begins while the circuit breaker is open",
			edits: []edit{{"checkout/checkout.go", "if err := m.gateway.Available(); err != nil {", "if err := m.gateway.Available(); false {"}},
			in:    "checkout", tests: []string{"TestUnknownPayment_nothingIsBegunWhileTheGatewayIsUnavailable"},
		},
		{
			name:  "there is room to settle whatever is in flight",
			edits: []edit{{"checkout/checkout.go", "max(cfg.QueueCapacity, cfg.InFlight+maxRecovering)", "cfg.QueueCapacity"}},
			in:    "checkout", tests: []string{"TestLimits_settlesAreNotRefused"},
		},
		{
			name:  "a full queue refuses",
			edits: []edit{{"queue/queue.go", "if n >= int64(q.config.Capacity) {", "if n > int64(q.config.Capacity) {"}},
			in:    "queue", tests: []string{"TestQueue_fullRefusesUntilThereIsRoom"},
		},
		{
			name:  "a full queue sheds load before the body is read",
			edits: []edit{{"app/api/loadshedding.go", "!admission.enter(r.Context())", "false"}},
			in:    "app/api", tests: []string{"TestLoadShedding_fullQueueRefusesBeforeTheBodyIsRead"},
		},
		{
			name:  "a request waits behind those that wait for room",
			edits: []edit{{"app/api/loadshedding.go", "a.waiting.Len() == 0 && ", ""}},
			in:    "app/api", tests: []string{"TestAdmission_newRequestWaitsBehindOthers"},
		},
		{
			name:  "an answer admits a request that waits",
			edits: []edit{{"app/api/loadshedding.go", "		defer admission.leave()\n", ""}},
			in:    "app/api", tests: []string{"TestLoadShedding_answerAdmitsTheNext"},
		},
		{
			name:  "a request with a key passes the load limiter",
			edits: []edit{{"app/api/loadshedding.go", "len(r.Header[headerIdempotencyKey]) == 0 && ", ""}},
			in:    "app/api", tests: []string{"TestLoadShedding_requestWithAKeyPasses"},
		},
		{
			name:  "slow large bodies are bounded",
			edits: []edit{{"app/api/server.go", "make(chan struct{}, maxLargeBodies)", "make(chan struct{}, 2*maxLargeBodies)"}},
			in:    "app/api", tests: []string{"TestBodies_slowLargeBodiesAreBounded"},
		},
		{
			name:  "the admin token is compared",
			edits: []edit{{"app/admin/admin.go", "subtle.ConstantTimeCompare(got[:], want[:]) != 1", "subtle.ConstantTimeCompare(got[:], want[:]) < 0"}},
			in:    "app/admin", tests: []string{"TestAdmin_everyRouteNeedsTheToken"},
		},
		{
			name:  "an empty secret file is refused",
			edits: []edit{{"app/secrets.go", "if secret == \"\" {", "if false {"}},
			in:    "app", tests: []string{"TestSecretFiles_emptyFileIsRefused"},
		},
		{
			name:  "logging never blocks",
			edits: []edit{{"app/log.go", "if w.waiting.Add(size) > maxLogBytes {", "if false {"}, {"app/log.go", "	default:\n		w.drop(size)\n", "	case <-w.done:\n"}},
			in:    "app", tests: []string{"TestLog_stalledReaderNeverBlocks"},
		},
		{
			name:  "a server that listens runs the commands that write",
			edits: []edit{{"app/commands/storage.go", "		if how.LockDataDir {\n			if found", "		if false {\n			if found"}},
			in:    "app/commands", tests: []string{"TestServer_runsTheCommandOfAnotherProcess"},
		},
		{
			name:  "commands that write lock the data directory",
			edits: []edit{{"app/commands/storage.go", "how.LockDataDir = s.MySQLDSN == \"\"", "how.LockDataDir = false"}},
			in:    "app/commands", tests: []string{"TestStorage_lockedDirectoryWithoutAServerIsAnError"},
		},
		{
			name:  "a stalled client does not delay the shut-down",
			edits: []edit{{"app/commands/server.go", "		_ = socket.SetDeadline(time.Now().Add(cancelledTimeout))\n", ""}},
			in:    "app/commands", tests: []string{"TestServer_stalledTerminalDoesNotDelayTheShutdown"},
		},
		{
			name:  "every commit of the embedded engine is flushed",
			edits: []edit{{"database/sqlite/sqlite.go", "_pragma=synchronous(FULL)", "_pragma=synchronous(NORMAL)"}},
			in:    "database", tests: []string{"TestEmbedded_everyCommitIsFlushed"},
		},
		{
			name:  "what is answered Success was flushed (embedded)",
			edits: []edit{{"database/sqlite/sqlite.go", "_pragma=synchronous(FULL)", "_pragma=synchronous(NORMAL)"}},
			in:    "e2e", tests: []string{"TestPowerCut_losesNothingAnswered"},
		},
		{
			name:  "a commit that failed with an I/O error is in doubt",
			edits: []edit{{"database/transaction.go", "uncertain = err", "uncertain = nil"}},
			in:    "e2e", tests: []string{"TestCommit_flushErrorIsAnsweredAsUnknown"},
		},
		{
			name:  "READ COMMITTED, whatever the server's default",
			edits: []edit{{"database/mysql/mysql.go", `"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, " + access`, `"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, " + access`}},
			in:    "database", tests: []string{"TestMySQL_setsWhatTheSQLReliesOn"},
		},
		{
			name:  "JSON has nothing after it",
			edits: []edit{{"app/api/object.go", "if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {", "if false {"}},
			in:    "app/api", tests: []string{"TestParseAddToCart_invalidBodyNamesFieldAndReason"},
		},
		{
			name:  "JSON has each field once",
			edits: []edit{{"app/api/object.go", "jsontext.NewDecoder(bytes.NewBuffer(body))", "jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true))"}},
			in:    "app/api", tests: []string{"TestParseAddToCart_invalidBodyNamesFieldAndReason"},
		},
		{
			name:  "JSON has no lone surrogates",
			edits: []edit{{"app/api/object.go", "jsontext.NewDecoder(bytes.NewBuffer(body))", "jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowInvalidUTF8(true))"}},
			in:    "app/api", tests: []string{"TestParseAddToCart_invalidBodyNamesFieldAndReason"},
		},
	}
}
