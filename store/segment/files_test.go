package segment

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// slow is a file system whose directory takes its time: what removes or syncs waits.
type slow struct {
	vfs.FS
	began, goOn chan struct{}
}

func (s *slow) wait() {
	s.began <- struct{}{}
	<-s.goOn
}

func (s *slow) Remove(name string) error {
	s.wait()
	return s.FS.Remove(name)
}

func (s *slow) OpenDir(name string) (vfs.File, error) {
	s.wait()
	return s.FS.OpenDir(name)
}

// Who reads other segments does not wait while one is removed, which takes 10 ms, nor
// while the directory is synced.
func TestHandles_NobodyWaitsForRemovals(t *testing.T) {
	disk := &slow{vfs.NewMem(), make(chan struct{}), make(chan struct{})}
	files := newHandles(disk, "/")
	for _, n := range []uint32{1, 2} {
		h, err := files.get(n, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := files.put(h); err != nil {
			t.Fatal(err)
		}
	}
	others := func(what string) {
		t.Helper()
		<-disk.began
		read := make(chan error)
		go func() {
			h, err := files.get(2, false)
			if err == nil {
				err = files.put(h)
			}
			read <- err
		}()
		select {
		case err := <-read:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("who reads another segment waits while %s", what)
		}
		disk.goOn <- struct{}{}
	}
	done := make(chan error)
	go func() { done <- files.syncEntries() }()
	others("the entries of new files are synced")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	go func() { done <- files.remove(1) }()
	others("a file is removed")
	others("its removal is synced")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := files.get(1, false); err == nil {
		t.Error("a removed file opens")
	}
	if err := files.close(); err != nil {
		t.Error(err)
	}
	if err := files.syncEntries(); err != nil { // nothing is new
		t.Error(err)
	}
}

// A file that a process made before it died has an entry that is in memory alone; what
// the next process syncs in it must outlive a power cut.
func TestHandles_EntriesOfADeadProcessBecomeDurable(t *testing.T) {
	disk := vfs.NewCrashableMem()
	h, err := newHandles(disk, "/").get(1, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SyncData(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.CrashClone(vfs.CrashCloneCfg{}).Stat("/00000001.seg"); err == nil {
		t.Fatal("this disk keeps entries without a sync of the directory")
	}
	next := newHandles(disk, "/") // after kill -9
	if h, err = next.get(1, false); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.SyncData(), next.syncEntries()); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.CrashClone(vfs.CrashCloneCfg{}).Stat("/00000001.seg"); err != nil {
		t.Errorf("the file is lost: %v", err)
	}
}
