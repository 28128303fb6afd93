package segment_test

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// narrow is a disk that has room for so many bytes more, and a sync that can be made
// to fail.
type narrow struct {
	vfs.FS
	mu     sync.Mutex
	left   int
	taken  map[string]int64 // by file, the length that has room
	broken bool
}

type narrowFile struct {
	vfs.File
	fs   *narrow
	name string
}

// take takes room for a file up to an offset.
func (f narrowFile) take(upTo int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	more := max(0, upTo-f.fs.taken[f.name])
	if more > int64(f.fs.left) {
		return &os.PathError{Op: "write", Path: "segment", Err: syscall.ENOSPC}
	}
	f.fs.left -= int(more)
	f.fs.taken[f.name] += more
	return nil
}

func (f narrowFile) Preallocate(offset, length int64) error { return f.take(offset + length) }

func (n *narrow) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := n.FS.OpenReadWrite(name, c, o...)
	return narrowFile{f, n, name}, err
}

func (f narrowFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.take(off + int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f narrowFile) SyncData() error {
	if f.fs.broken {
		return syscall.EIO
	}
	return f.File.SyncData()
}

func TestStore_FullDiskLeavesNothingHalfVisible(t *testing.T) {
	fs := &narrow{FS: vfs.NewMem(), left: 10000, taken: map[string]int64{}}
	kv := index.NewMemory()
	s, err := segment.Open(fs, "/chunks", kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for err == nil {
		if err = s.Put(refOf(kept), bodyOf(kept), segment.Replica); err == nil {
			kept++
		}
	}
	if !errors.Is(err, segment.ErrFull) || s.Has(refOf(kept)) {
		t.Errorf("Put = %v, want ErrFull; visible: %v", err, s.Has(refOf(kept)))
	}
	fs.left = 1 << 20
	if err := errors.Join(s.Put(refOf(99), bodyOf(99), segment.Replica), s.Close()); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	s, err = segment.Open(fs, "/chunks", kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range kept {
		if _, err := s.Get(refOf(n)); err != nil {
			t.Error(err)
		}
	}
	s.Put(refOf(100), bodyOf(100), segment.Replica)
	fs.broken = true
	if err := s.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync = %v, want EIO", err)
	}
	fs.broken = false
	if err := s.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("a Sync after a failed one = %v: it cannot know what was lost", err)
	}
	if _, err := s.Get(refOf(0)); err != nil {
		t.Errorf("reading goes on: %v", err)
	}
	s.Close()
}

// fullKV is a KV whose commits fail while full is set.
type fullKV struct {
	store.KV
	full bool
}

type fullTxn struct {
	store.Txn
	kv *fullKV
}

var errIndexFull = errors.New("index full")

func (k *fullKV) Begin() store.Txn { return fullTxn{k.KV.Begin(), k} }

func (t fullTxn) Commit(sync bool) error {
	if t.kv.full {
		t.Discard()
		return errIndexFull
	}
	return t.Txn.Commit(sync)
}

// A store whose index takes nothing can be opened and read, also what was put and
// not synced before, which the next Sync that can makes durable.
func TestOpen_IndexFull(t *testing.T) {
	fsys, kv := vfs.NewMem(), &fullKV{KV: index.NewMemory()}
	s, err := segment.Open(fsys, "s", kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(store.Ref{1}, []byte("one"), segment.Replica), s.Sync()); err != nil {
		t.Fatal(err)
	}
	kv.full = true
	if err := s.Put(store.Ref{2}, []byte("two"), segment.Replica); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); !errors.Is(err, errIndexFull) {
		t.Errorf("Sync = %v", err)
	}
	_ = s.Close() // it cannot sync
	if s, err = segment.Open(fsys, "s", kv, segment.Config{}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two"} {
		if b, err := s.Get(store.Ref{byte(i + 1)}); err != nil || string(b) != want {
			t.Errorf("%d: %q, %v", i+1, b, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after reading: %v", err)
	}
	if s, err = segment.Open(fsys, "s", kv, segment.Config{}); err != nil {
		t.Fatal(err)
	}
	kv.full = false
	if err := errors.Join(s.Put(store.Ref{3}, []byte("three"), segment.Replica), s.Sync(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if n := len(refsOf(t, kv)); n != 3 {
		t.Errorf("%d bodies in the index", n)
	}
}

func refsOf(t *testing.T, kv store.Reader) (refs []store.Ref) {
	t.Helper()
	err := kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		refs = append(refs, store.Ref(k[2:]))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return refs
}
