package segment_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// reserveKV is a KV on a disk that is full: it lets in what leads to more room.
type reserveKV struct {
	store.KV
	full bool
}

type reserveTxn struct {
	store.Txn
	kv      *reserveKV
	changes int
	freeing bool
}

func (k *reserveKV) Begin() store.Txn { return &reserveTxn{Txn: k.KV.Begin(), kv: k} }

func (t *reserveTxn) Freeing() { t.freeing = true }

func (t *reserveTxn) Set(k, v []byte) error { t.changes++; return t.Txn.Set(k, v) }

func (t *reserveTxn) Delete(k []byte) error { t.changes++; return t.Txn.Delete(k) }

func (t *reserveTxn) Commit(sync bool) error {
	if t.kv.full && t.changes > 0 && !t.freeing {
		t.Discard()
		return errIndexFull
	}
	return t.Txn.Commit(sync)
}

// A full disk keeps nobody from giving its room back: deleting, compacting and
// evicting work there.
func TestStore_RoomComesBackOnAFullDisk(t *testing.T) {
	fsys, kv := vfs.NewMem(), &reserveKV{KV: index.NewMemory()}
	s, err := segment.Open(fsys, "s", kv, segment.Config{Space: 1 << 20, SegmentSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := func(i int) (r store.Ref) { copy(r[:], fmt.Sprintf("%032d", i)); return r }
	for i := range 200 {
		if err := s.Put(ref(i), make([]byte, 1000), segment.Replica); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	kv.full = true
	// The disk was asked when this was put, so the index takes it.
	if err := errors.Join(s.Put(ref(1000), []byte("more"), segment.Replica), s.Sync()); err != nil {
		t.Fatalf("what was let in: %v", err)
	}
	for i := range 1001 {
		if i%10 > 0 || i == 1000 {
			if err := s.Delete(ref(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	dead := s.Usage().Dead
	for more := true; more; {
		if _, more, err = s.CompactSome(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if now := s.Usage().Dead; now > dead/10 {
		t.Errorf("of %d dead bytes %d are left", dead, now)
	}
	for i := 0; i < 200; i += 10 {
		if _, err := s.Get(ref(i)); err != nil {
			t.Error(err)
		}
	}
}

// A segment that is gone, and the note of that lost in a crash, keeps nobody from
// opening a store on a full disk.
func TestOpen_SegmentMissingOnAFullDisk(t *testing.T) {
	fsys, kv := vfs.NewMem(), &reserveKV{KV: index.NewMemory()}
	s, err := segment.Open(fsys, "s", kv, segment.Config{Space: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Put(store.Ref{1}, []byte("one"), segment.Replica), s.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := fsys.List("s")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := fsys.Remove(fsys.PathJoin("s", name)); err != nil {
			t.Fatal(err)
		}
	}
	kv.full = true
	if s, err = segment.Open(fsys, "s", kv, segment.Config{Space: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Has(store.Ref{1}) {
		t.Error("it has what is gone")
	}
}
