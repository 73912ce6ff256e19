//go:build race

package checkout_test

import "time"

// histories is how many histories the state machine goes through: few, because the race detector
// makes each slow.
const histories = "20"

// recoveryTime is within what thousands of open checkouts are recovered; the race detector makes
// everything slow.
const recoveryTime = 15 * time.Second
