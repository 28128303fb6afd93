// Package failstop lets a program that keeps its data in Pebble outlive a disk that
// fails. Pebble itself ends the process when its log cannot be written, and tries a
// flush that failed again at once and without end, while whoever commits waits for it.
// A [Disk] stops at the first write that fails: Pebble waits for good in the call that
// met it, callers get the error, and what was read before can still be read. (Fail-stop:
// Schlichting and Schneider, 1983.)
package failstop

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFailed reports a disk that failed a write. What reached it is not known.
var ErrFailed = errors.New("the disk failed, and nothing is written until it is opened again")

// Disk is the file system and the logger of one [pebble.DB], and hears of its
// background errors. It is safe for concurrent use.
type Disk struct {
	fs     vfs.FS
	failed chan struct{}

	mu      sync.Mutex
	err     error
	closing bool
}

// New returns a disk that writes to fs.
func New(fs vfs.FS) *Disk { return &Disk{fs: fs, failed: make(chan struct{})} }

// Attach sets the options of Pebble that a Disk stands behind.
func (d *Disk) Attach(o *pebble.Options) {
	o.FS, o.Logger = watched{d.fs, d}, d
	if o.EventListener == nil {
		o.EventListener = &pebble.EventListener{}
	}
	o.EventListener.BackgroundError = d.background
}

// Failed is closed when the disk has failed.
func (d *Disk) Failed() <-chan struct{} { return d.failed }

// Err returns an error that wraps [ErrFailed] and what the disk said, nil while it did
// not fail.
func (d *Disk) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Do returns what f returns, or the failure of the disk: f may then wait for good, and
// nobody hears what becomes of it. Calls that write go through Do, and [pebble.Open].
func (d *Disk) Do(f func() error) error {
	if err := d.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-d.failed:
		return d.Err()
	}
}

// Close returns what f returns, which closes Pebble, or the failure of the disk if
// there was one: f would wait for good and is not called.
func (d *Disk) Close(f func() error) error {
	d.mu.Lock()
	d.closing = d.err == nil
	d.mu.Unlock()
	return d.Do(f)
}

// stop notes err and does not return, unless Pebble is being closed, which waits for
// whom it has under way: then they go on and return err.
func (d *Disk) stop(err error) {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return
	}
	d.fail(err)
	select {}
}

// fail notes the first failure. The caller holds the lock, and fail releases it.
func (d *Disk) fail(err error) {
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = fmt.Errorf("%w: %w", ErrFailed, err)
		close(d.failed)
	}
}

// background hears of a flush or a compaction that failed other than by a write, in
// the goroutine that did it, which ends: else Pebble would have it try again. Damage
// is for those who read what is damaged.
func (d *Disk) background(err error) {
	if errors.Is(err, pebble.ErrClosed) || errors.Is(err, pebble.ErrCancelledCompaction) || errors.Is(err, context.Canceled) || pebble.IsCorruptionError(err) {
		return
	}
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return
	}
	d.fail(err)
	runtime.Goexit() // not a wait: it holds Pebble's lock, which readers may want
}

// Infof implements pebble.Logger.
func (*Disk) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (*Disk) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger. Pebble expects that it does not return.
func (d *Disk) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
	}
	d.mu.Lock()
	d.fail(err)
	select {}
}
