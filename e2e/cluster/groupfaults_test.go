package cluster

import (
	"slices"
	"strings"
	"testing"
)

//nolint:paralleltest // it needs the whole machine
func TestGroupReplication_guaranteesHoldBehindRouter(t *testing.T) {
	runFaults(t, newGroup(t, singlePrimary, newRouter), withOneWriter(faults))
}

//nolint:paralleltest // it needs the whole machine
func TestGroupReplication_guaranteesHoldBehindHAProxy(t *testing.T) {
	runFaults(t, newGroup(t, singlePrimary, newGroupBalancer), withOneWriter(faults))
}

// withOneWriter leaves out the faults of nodes that all take writes.
func withOneWriter(faults []fault) []fault {
	return slices.DeleteFunc(slices.Clone(faults), fault.onAllNodes)
}

func (f fault) onAllNodes() bool {
	return strings.Contains(f.name, "different nodes") || strings.Contains(f.name, "each node")
}
