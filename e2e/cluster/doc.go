// Package cluster tests Cartwheel on database clusters of three nodes: three instances, a load
// balancer before them and one before the nodes, a payment service with a ledger, and clients that
// go on while nodes and instances fail. Run with -args -soak for all faults; `make cluster-test`
// does.
package cluster
