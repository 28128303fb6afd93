package failstop_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/internal/failstop"
)

// unsyncable is a file system on which no sync of a file works.
func unsyncable() vfs.FS {
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync {
			return fmt.Errorf("sync %s: %w", op.Path, syscall.EIO)
		}
		return nil
	}))
}

// attached returns a disk over fs, and the file system and logger that Pebble sees.
func attached(fs vfs.FS) (*failstop.Disk, *pebble.Options) {
	d, o := failstop.New(fs), &pebble.Options{}
	d.Attach(o)
	return d, o
}

func syncFile(fs vfs.FS) error {
	f, err := fs.Create("file", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func TestDisk_StopsAtTheFirstFailedWrite(t *testing.T) {
	d, o := attached(unsyncable())
	if err := d.Do(func() error { return nil }); err != nil || d.Err() != nil {
		t.Fatal(err)
	}
	wentOn := make(chan bool, 1)
	err := d.Do(func() error {
		err := syncFile(o.FS)
		wentOn <- true
		return err
	})
	if !errors.Is(err, failstop.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Do: %v", err)
	}
	<-d.Failed()
	select {
	case <-wentOn:
		t.Error("what met the failure went on")
	default:
	}
	called := func() error { t.Error("called on a disk that failed"); return nil }
	if again := d.Do(called); again == nil || again.Error() != err.Error() {
		t.Errorf("Do again: %v", again)
	}
	if closed := d.Close(called); !errors.Is(closed, failstop.ErrFailed) {
		t.Errorf("Close: %v", closed)
	}
}

// What Close waits for has to end, whatever the disk says.
func TestDisk_WhileClosingErrorsAreReturned(t *testing.T) {
	d, o := attached(unsyncable())
	err := d.Close(func() error { return syncFile(o.FS) })
	if !errors.Is(err, syscall.EIO) || errors.Is(err, failstop.ErrFailed) || d.Err() != nil {
		t.Errorf("Close: %v; %v", err, d.Err())
	}
}

func TestDisk_FatalIsAFailure(t *testing.T) {
	d, o := attached(vfs.NewMem())
	err := d.Do(func() error {
		o.Logger.Fatalf("commit: %s", syscall.ENOSPC)
		return nil
	})
	if !errors.Is(err, failstop.ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v", err)
	}
}
