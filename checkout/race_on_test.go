//go:build race

package checkout_test

// histories is how many histories the state machine goes through: few, because the race detector
// makes each slow.
const histories = "20"
