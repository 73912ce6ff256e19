//go:build !race

package checkout_test

import "time"

// histories is how many histories the state machine goes through.
const histories = "50"

// recoveryTime is within what thousands of open checkouts are recovered.
const recoveryTime = 2 * time.Second
