//go:build !linux

package main

import (
	"context"
	"errors"
)

func (offer) take(context.Context) (*taking, error) {
	return nil, errors.New("load that does not wait for answers is made on Linux only: leave these rows out with -only")
}
