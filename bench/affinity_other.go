//go:build !linux

package main

import "errors"

func keepOff(...int) (free func() error, err error) {
	return nil, errors.New("Linux only: leave these rows out with -only")
}
