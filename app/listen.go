package app

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// cannotListen says what to do about an address that could not be listened on. flag names where it
// came from.
func cannotListen(flag string, err error) error {
	advice := "expected host:port with a free port, such as :5003 or 127.0.0.1:5003"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "another program listens there: stop it, or choose another port"
	case errors.Is(err, fs.ErrPermission):
		advice = "ports below 1024 are for root: choose another one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "this machine does not have that address"
	}
	return fmt.Errorf("%s: %w (%s)", flag, err, advice)
}
