package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errTimeout ends a command that took longer than its --timeout.
var errTimeout = errors.New("gave up: the time is over")

func contextWithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w (--timeout %v)", errTimeout, d))
}

// withCause replaces an error that only says that ctx has ended by why it has.
func withCause(ctx context.Context, err error) error {
	if errors.Is(err, errTimeout) {
		return context.Cause(ctx)
	}
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
			return cause
		}
		return &statusError{statusSignal, errors.New("interrupted")}
	}
	return err
}

// noMachine says that dir has no machine, and what to do.
func noMachine(dir string) error {
	return fmt.Errorf("no machine in %s; make one with: aether store init --dir %s", dir, dir)
}
