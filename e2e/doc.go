// Package e2e attacks the real binary from outside: real processes, real signals, a real MariaDB, a
// payment service with books of its own. It is a module apart, so that what it needs stays out of
// the product.
package e2e
