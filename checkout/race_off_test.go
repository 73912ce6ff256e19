//go:build !race

package checkout_test

// histories is how many histories the state machine goes through.
const histories = "50"
