package log

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	// ErrFull reports that the disk has no room left but what is kept for opening the
	// directory again. Nothing was written.
	ErrFull = errors.New("the disk is full")
	// ErrLocked reports a directory that another process, or this one, has open.
	ErrLocked = errors.New("the directory is in use")
	// ErrOther reports a directory of another cluster or another node.
	ErrOther = errors.New("the directory is another node's")
	// ErrVersion reports a directory that a later version of this program wrote.
	ErrVersion = errors.New("the directory is of a later version")
	// ErrSnapshot reports a snapshot that is not what was announced, or is not there.
	ErrSnapshot = errors.New("bad snapshot")
	// ErrClosed reports a Log that was closed, or whose disk failed a write.
	ErrClosed = errors.New("the log is closed")
)

// DamagedError reports records that are not what was written. What the acceptor
// promised is not known any more.
type DamagedError struct{ What string }

// Error tells what is damaged.
func (e *DamagedError) Error() string { return "damaged: " + e.What }

// named gives an error of Pebble the name that callers look for.
func named(op string, err error) error {
	var d *DamagedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &d):
	case pebble.IsCorruptionError(err):
		err = &DamagedError{err.Error()}
	case vfs.IsNoSpaceError(err):
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("paxos/log: %s: %w", op, err)
}

// failed carries a failure that Pebble does not return through the call that met it.
type failed struct {
	text  string
	cause error
}

func (f failed) Error() string { return f.text }
func (f failed) Unwrap() error { return f.cause }

// caught turns such a failure into an error of the call, after which nobody knows
// what the disk holds.
func (l *Log) caught(err *error) {
	if p := recover(); p != nil {
		f, ok := p.(failed)
		if !ok {
			panic(p)
		}
		l.closed.Store(true)
		*err = f
	}
}

// ending is how failures that Pebble meets in goroutines of its own end the log.
type ending struct {
	fatal   func(error)
	mu      sync.Mutex
	opening chan error // while Open waits, with room for one
}

// opened ends the time in which failures are those of Open, and returns one.
func (e *ending) opened() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case err := <-e.opening:
		return err
	default:
		e.opening = nil
		return nil
	}
}

// told reports whether Open is told of err.
func (e *ending) told(err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case e.opening <- err:
	default: // another one was first, or nobody waits
	}
	return e.opening != nil
}

// meets ends the goroutine, and the process, or Open.
func (e *ending) meets(err error) {
	switch {
	case e.told(err):
	case e.fatal != nil:
		e.fatal(named("disk", err))
	default:
		panic(named("disk", err))
	}
	runtime.Goexit()
}

// background hears of a flush or a compaction that failed. Pebble tries again at once,
// without end: the disk that failed is not to be trusted, and one that is full is not
// emptied by that.
func (e *ending) background(err error) {
	if !errors.Is(err, pebble.ErrClosed) && !errors.Is(err, pebble.ErrCancelledCompaction) && !errors.Is(err, context.Canceled) {
		e.meets(fmt.Errorf("in the background: %w", err))
	}
}

// Infof implements pebble.Logger.
func (*ending) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (*ending) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger: it unwinds the call of ours that is under way, if
// this is its goroutine.
func (e *ending) Fatalf(format string, args ...any) {
	f := failed{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			f.cause = err
		}
	}
	if oursIsUnderWay() {
		panic(f)
	}
	e.meets(f)
}

// oursIsUnderWay reports whether this goroutine was called by a method of Log, or opens it.
func oursIsUnderWay() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "/paxos/log.(*Log).") || strings.Contains(f.Function, "/paxos/log.startPebble") {
			return true
		}
		if !more {
			return false
		}
	}
}
