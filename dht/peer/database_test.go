package peer

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"
)

// full fails what would take room in files whose names end so, while it is set.
type full struct {
	now  atomic.Bool
	ends string
}

func (f *full) MaybeError(op errorfs.Op) error {
	takes := op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
	if f.now.Load() && takes && strings.HasSuffix(op.Path, f.ends) {
		return fmt.Errorf("write %s: %w", op.Path, syscall.ENOSPC)
	}
	return nil
}

func (f *full) String() string { return "full for " + f.ends }

// fill commits values of 64 KiB until that fails, at most so many, and returns how many
// were committed.
func fill(d *database, from, most int) (int, error) {
	for n := from; n < from+most; n++ {
		if err := d.set(fillKey(n), bytes.Repeat([]byte{byte(n)}, 64<<10), pebble.Sync); err != nil {
			return n, err
		}
	}
	return from + most, nil
}

func fillKey(n int) []byte { return fmt.Appendf(nil, "rkey%06d", n) }

// A disk that is full, in whatever file that is noticed, ends the database with an
// error: nothing panics, nothing is tried again without end, opening fails while it is
// full, and afterwards all that was committed is there.
func TestDatabase_FullDiskEndsItAndLosesNothing(t *testing.T) {
	goleak.VerifyNone(t)
	defer func() { stuck = append(stuck, goleak.IgnoreCurrent()) }()
	for _, ends := range []string{".log", ".sst", "", "MANIFEST"} {
		t.Run("in files "+ends, func(t *testing.T) {
			disk := &full{ends: ends}
			if ends == "MANIFEST" {
				disk.ends = "MANIFEST-000001"
			}
			mem := vfs.NewCrashableMem()
			fsys := errorfs.Wrap(mem, disk)
			d, err := openDatabase(fsys, "db")
			if err != nil {
				t.Fatal(err)
			}
			kept, err := fill(d, 0, 20)
			if err != nil {
				t.Fatal(err)
			}
			disk.now.Store(true)
			kept, err = fill(d, kept, 600) // over two of its tables of memory
			if err == nil {
				<-d.disk.Failed()
				err = named(d.disk.Err())
			}
			if !errors.Is(err, ErrDiskFull) {
				t.Errorf("the full disk gave %v", err)
			}
			if err := d.Close(); !errors.Is(err, ErrDiskFull) {
				t.Errorf("close: %v", err)
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{}) // without what was not synced, and without locks
			if again, err := openDatabase(errorfs.Wrap(crashed, disk), "db"); err == nil {
				if err := again.Close(); err != nil && !errors.Is(err, ErrDiskFull) {
					t.Errorf("close of what opened on a full disk: %v", err)
				}
			} else if !errors.Is(err, ErrDiskFull) {
				t.Errorf("opening on a full disk: %v", err)
			}
			disk.now.Store(false)
			again, err := openDatabase(crashed.CrashClone(vfs.CrashCloneCfg{}), "db")
			if err != nil {
				t.Fatalf("opening after room was made: %v", err)
			}
			defer again.Close()
			for n := range kept {
				v, closer, err := again.Get(fillKey(n))
				if err != nil || len(v) != 64<<10 || v[0] != byte(n) {
					t.Fatalf("value %d of %d: %d bytes, %v", n, kept, len(v), err)
				}
				closer.Close()
			}
		})
	}
}
