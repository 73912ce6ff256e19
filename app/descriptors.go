package app

import (
	"fmt"
	"log/slog"

	"cartwheel/app/api"
)

const (
	// reservedDescriptors is the number of open files kept free of API connections and payment
	// calls: database, admin listener, probes, refusals and the runtime's own.
	reservedDescriptors = 96
	// minConnections is the minimum number of API connections that a server is started with.
	minConnections = 8
)

// descriptorLimits divides the process's open files between API connections and payment calls, two
// to one. It logs a warning when they are fewer than wanted.
//
// Errors: when not even minConnections are left.
func descriptorLimits(available uint64, calls int, log *slog.Logger) (connections, paymentCalls int, err error) {
	wanted := uint64(api.MaxConnections+calls) + reservedDescriptors //nolint:gosec // small positive numbers
	if available >= wanted {
		return api.MaxConnections, calls, nil
	}
	free := int(available) - reservedDescriptors //nolint:gosec // below wanted
	connections = min(api.MaxConnections, free*2/3)
	paymentCalls = max(1, min(calls, free/3))
	if connections < minConnections {
		return 0, 0, fmt.Errorf("the limit of open files is %d: expected %d or more (ulimit -n, LimitNOFILE=)",
			available, reservedDescriptors+2*minConnections)
	}
	log.Warn("the limit of open files allows fewer connections than usual (ulimit -n, LimitNOFILE=)",
		"open_files", available, "wanted", wanted, "connections", connections, "payment_calls", paymentCalls)
	return connections, paymentCalls, nil
}
