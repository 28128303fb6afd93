package peer

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

// database is Pebble, whose failures are errors of whoever called, or come from broken:
// it would end the process, or try again at once and without end. After one nobody
// knows what the disk holds.
type database struct {
	*pebble.DB
	broken chan error // has room for the first failure of Pebble's own goroutines

	mu      sync.Mutex
	failed  bool
	closing bool
}

func openDatabase(fsys vfs.FS, dir string) (*database, error) {
	d := &database{broken: make(chan error, 1)}
	opened := make(chan error, 1)
	go func() {
		err := errors.New("its database ended while it was opened") // unless something else is said
		defer func() { opened <- err }()
		defer d.caught(&err)
		err = d.open(fsys, dir)
	}()
	select {
	case err := <-opened:
		if err != nil {
			return nil, named(err)
		}
		return d, nil
	case err := <-d.broken: // what waits within Pebble waits for good
		return nil, named(err)
	}
}

func (d *database) open(fsys vfs.FS, dir string) (err error) {
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	d.DB, err = pebble.Open(dir, &pebble.Options{
		FS: fsys, Cache: cache, Logger: d, MemTableSize: 16 << 20, MaxOpenFiles: 256,
		EventListener: &pebble.EventListener{
			DataCorruption:  func(pebble.DataCorruptionInfo) {},
			BackgroundError: d.background,
		},
		FormatMajorVersion: pebble.FormatTableFormatV6,
	})
	return err
}

// background hears of a flush or a compaction that failed, in the goroutine that did
// it, which ends: else Pebble would have it try again.
func (d *database) background(err error) {
	if errors.Is(err, pebble.ErrClosed) || errors.Is(err, pebble.ErrCancelledCompaction) || errors.Is(err, context.Canceled) {
		return
	}
	d.mu.Lock()
	closing := d.closing
	d.failed = d.failed || !closing
	d.mu.Unlock()
	if closing { // Close waits for the goroutine, and it tries no more
		return
	}
	select {
	case d.broken <- err:
	default: // another one was first
	}
	runtime.Goexit()
}

// commit makes a batch durable.
func (d *database) commit(b *pebble.Batch, o *pebble.WriteOptions) (err error) {
	defer d.caught(&err)
	return named(b.Commit(o))
}

// set makes one value durable.
func (d *database) set(key, value []byte, o *pebble.WriteOptions) error {
	b := d.NewBatch()
	defer b.Close()
	if err := b.Set(key, value, nil); err != nil {
		return err
	}
	return d.commit(b, o)
}

// caught turns what Fatalf throws into an error.
func (d *database) caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		d.mu.Lock()
		d.failed = true
		d.mu.Unlock()
		*err = named(p)
	default:
		panic(p)
	}
}

// Close closes the database. One that failed stays as it is: what waits within Pebble
// waits for good.
func (d *database) Close() (err error) {
	d.mu.Lock()
	failed := d.failed
	d.closing = !failed
	d.mu.Unlock()
	if failed {
		return nil
	}
	defer d.caught(&err)
	return named(d.DB.Close())
}

// Infof implements pebble.Logger.
func (*database) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (*database) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger: it unwinds the call of ours that is under way, or
// ends the goroutine of Pebble.
func (d *database) Fatalf(format string, args ...any) {
	f := failure{text: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			f.cause = err
		}
	}
	if oursIsUnderWay() {
		panic(f)
	}
	d.background(f)
	runtime.Goexit()
}

// failure is what Fatalf throws.
type failure struct {
	text  string
	cause error
}

func (f failure) Error() string { return f.text }
func (f failure) Unwrap() error { return f.cause }

// oursIsUnderWay reports whether a method of database called this goroutine.
func oursIsUnderWay() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		for _, name := range []string{"open", "commit", "Close"} {
			if strings.HasSuffix(f.Function, "/dht/peer.(*database)."+name) {
				return true
			}
		}
		if !more {
			return false
		}
	}
}

// named gives an error of Pebble the name that callers look for.
func named(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, ErrDiskFull):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case vfs.IsNoSpaceError(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
