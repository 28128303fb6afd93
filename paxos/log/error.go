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

// heard is named, and sees to it that damage is not forgotten when the process ends:
// the log takes no more, and the directory does not open again.
func (l *Log) heard(op string, err error) error {
	err = named(op, err)
	var d *DamagedError
	if errors.As(err, &d) && !l.closed.Swap(true) {
		markDamaged(l.fs, l.cfg.Dir, d)
	}
	return err
}

// markDamaged writes down that the directory is damaged. If even that fails, it will
// be found again.
func markDamaged(fsys vfs.FS, dir string, what error) {
	_ = writeFile(fsys, dir, "damaged", []byte(what.Error()+"\n"))
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
	once    sync.Once
	mark    func(error) // called with damage
	mu      sync.Mutex
	opening chan error // while Open waits, with room for one
	damaged error      // met meanwhile
	over    bool       // it failed
}

// opened ends the time in which failures are those of Open, and returns one. Then
// nobody needs to hear of another.
func (e *ending) opened() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.opening
	e.opening = nil
	err := e.damaged
	select {
	case err = <-c:
	default:
	}
	e.over = err != nil
	return err
}

// noted reports whether Open will tell of damage, or did. Nothing waits for what met it.
func (e *ending) noted(err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.opening != nil && pebble.IsCorruptionError(err) {
		e.damaged = err
		return true
	}
	return e.over
}

// told reports whether Open is told of err.
func (e *ending) told(err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	select {
	case e.opening <- err:
	default: // another one was first, or nobody waits
	}
	return e.opening != nil || e.over
}

// meets ends the goroutine, and the process, or Open.
func (e *ending) meets(err error) {
	if !e.told(err) {
		e.end(err)
	}
	runtime.Goexit()
}

// end ends the process.
func (e *ending) end(err error) {
	if pebble.IsCorruptionError(err) {
		e.mark(err)
	}
	if e.fatal == nil {
		panic(named("disk", err))
	}
	e.once.Do(func() { e.fatal(named("disk", err)) })
}

// background hears of a flush or a compaction that failed. Pebble tries again at once,
// without end: the disk that failed is not to be trusted, and one that is full is not
// emptied by that. Damage may be found by what Close waits for, and does not spin.
func (e *ending) background(err error) {
	switch {
	case errors.Is(err, pebble.ErrClosed), errors.Is(err, pebble.ErrCancelledCompaction), errors.Is(err, context.Canceled), e.noted(err):
	case pebble.IsCorruptionError(err):
		e.end(fmt.Errorf("in the background: %w", err))
	default:
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
