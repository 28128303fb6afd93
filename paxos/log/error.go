package log

import (
	"errors"
	"fmt"

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

// failed carries a failure of Pebble's own goroutines, which end the process where
// nobody recovers: what reached the disk is not known then.
type failed struct{ text string }

func (f failed) String() string { return "paxos/log: " + f.text }

// silent is Pebble's logger: only what must end the process is heard.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(failed{fmt.Sprintf(format, args...)})
}
