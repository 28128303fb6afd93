package index_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/store/index"
)

// broken is a disk that fails writes to files whose names end so, from an instant on.
type broken struct {
	now   atomic.Bool
	ends  string
	errno syscall.Errno
}

func (b *broken) MaybeError(op errorfs.Op) error {
	writes := op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
	if b.now.Load() && writes && strings.HasSuffix(op.Path, b.ends) {
		return fmt.Errorf("write %s: %w", op.Path, b.errno)
	}
	return nil
}

func (b *broken) String() string { return "broken for " + b.ends }

// A disk that fails writes, whichever files it is that it fails, is an error for all
// that commit: nobody hangs, nothing panics, what was committed can be read, and it is
// there when the index is opened on a sound disk again.
func TestPebble_FailedWritesAreErrorsForAll(t *testing.T) {
	for _, ends := range []string{".log", ".sst", "MANIFEST-000001", ""} {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			t.Run(fmt.Sprintf("%s %v", ends, errno), func(t *testing.T) {
				disk := &broken{ends: ends, errno: errno}
				mem := vfs.NewCrashableMem()
				p, err := index.Open(errorfs.Wrap(mem, disk), "/kv", index.Config{Reserve: -1})
				if err != nil {
					t.Fatal(err)
				}
				set(t, p, true, "first", "value")
				disk.now.Store(true)
				kept := commitUntilItFails(t, p, errno)
				if v, err := p.Get([]byte("first")); err != nil || string(v) != "value" {
					t.Errorf("reading what was committed before: %q, %v", v, err)
				}
				txn := p.Begin()
				txn.Set([]byte("later"), []byte("value"))
				if err := txn.Commit(false); !errors.Is(err, index.ErrFailed) {
					t.Errorf("a commit after that: %v", err)
				}
				if err := p.Close(); !errors.Is(err, index.ErrFailed) {
					t.Errorf("Close: %v", err)
				}
				crashed := mem.CrashClone(vfs.CrashCloneCfg{})
				if again, err := index.Open(errorfs.Wrap(crashed, disk), "/kv", index.Config{Reserve: -1}); err == nil {
					_ = again.Close()
				} else if !errors.Is(err, errno) || errors.Is(err, index.ErrDamaged) {
					t.Errorf("opening on the broken disk: %v", err)
				}
				again, err := index.Open(crashed.CrashClone(vfs.CrashCloneCfg{}), "/kv", index.Config{Reserve: -1})
				if err != nil {
					t.Fatalf("opening on a sound disk: %v", err)
				}
				defer again.Close()
				for key := range kept {
					if v, err := again.Get([]byte(key)); err != nil || len(v) != len(large) {
						t.Fatalf("%s: %d bytes, %v", key, len(v), err)
					}
				}
			})
		}
	}
}

// failing is a disk that fails its n-th write, once or from then on.
type failing struct {
	calls, at atomic.Int64
	once      bool
}

func (f *failing) MaybeError(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpLink:
	default:
		return nil
	}
	if n, at := f.calls.Add(1), f.at.Load(); n == at || n > at && !f.once {
		return fmt.Errorf("%s: %w", op.Path, syscall.EIO)
	}
	return nil
}

func (f *failing) String() string { return "failing" }

// Whichever write it is that fails, once or for good, while the index is opened or
// used, nobody hangs, nothing panics, and nothing is lost that was said to be kept.
func TestPebble_FailsAtEveryWrite(t *testing.T) {
	t.Parallel()
	value := bytes.Repeat([]byte{3}, 4<<10) // small: an index that failed keeps its memory
	for _, once := range []bool{false, true} {
		for at, whole := int64(1), false; !whole; at++ {
			disk := &failing{once: once}
			disk.at.Store(at)
			mem := vfs.NewCrashableMem()
			var kept int
			p, err := index.Open(errorfs.Wrap(mem, disk), "/kv", index.Config{Reserve: -1, Key: indexKey})
			for n := 0; n < 18 && err == nil; n++ { // two tables and a little
				txn := p.Begin()
				txn.Set(fmt.Appendf(nil, "key %d", n), value)
				if err = txn.Commit(true); err == nil {
					kept++
				}
				if err == nil && n%7 == 6 {
					err = index.Flush(p)
				}
			}
			if p != nil {
				err = errors.Join(err, p.Close())
			}
			if whole = disk.calls.Load() < at; whole && err != nil || err != nil && !errors.Is(err, syscall.EIO) {
				t.Fatalf("write %d of %d fails (once: %v): %v", at, disk.calls.Load(), once, err)
			}
			p, err = index.Open(mem.CrashClone(vfs.CrashCloneCfg{}), "/kv", index.Config{Reserve: -1, Key: indexKey})
			if err != nil {
				t.Fatalf("after write %d failed (once: %v), with %d kept: %v", at, once, kept, err)
			}
			for n := range kept {
				if v, err := p.Get(fmt.Appendf(nil, "key %d", n)); err != nil || len(v) != len(value) {
					t.Fatalf("after write %d failed (once: %v): key %d of %d: %d bytes, %v", at, once, n, kept, len(v), err)
				}
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if at > 2000 {
				t.Fatal("there is no end")
			}
			if whole {
				t.Logf("%d writes, each failed in its turn (once: %v)", disk.calls.Load(), once)
			}
		}
	}
}

var large = bytes.Repeat([]byte{7}, 64<<10)

// commitUntilItFails commits large values, four at a time, and returns the keys of
// those that were said to be on the disk.
func commitUntilItFails(t *testing.T, p *index.Pebble, errno syscall.Errno) map[string]bool {
	t.Helper()
	var mu sync.Mutex
	kept := map[string]bool{}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for n := range 1000 { // 64 MiB, a table is written every 4
				key := fmt.Sprintf("key %d %d", w, n)
				txn := p.Begin()
				txn.Set([]byte(key), large)
				err := txn.Commit(true)
				if err != nil {
					if !errors.Is(err, index.ErrFailed) || !errors.Is(err, errno) {
						t.Errorf("%s: %v", key, err)
					}
					return
				}
				mu.Lock()
				kept[key] = true
				mu.Unlock()
			}
			t.Errorf("no commit of %d failed", w)
		})
	}
	wg.Wait()
	return kept
}
