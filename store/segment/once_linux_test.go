package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

// TestStore_GetOnce reads bodies of all sizes from memory, from the system's cache and
// past it, and one that the disk has damaged.
func TestStore_GetOnce(t *testing.T) {
	s, err := Open(vfs.Default, t.TempDir(), index.NewMemory(), Config{Space: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	bodies := map[store.Ref][]byte{}
	for n := range 60 {
		b := make([]byte, rng.IntN(1<<(4+n%16)))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		ref := store.Ref{0: byte(n), 31: 1}
		if err := s.Put(ref, b, Replica); err != nil {
			t.Fatal(err)
		}
		bodies[ref] = b
	}
	same := func(when string) {
		t.Helper()
		for ref, want := range bodies {
			if got, err := s.GetOnce(ref); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes of %d, %v", when, len(got), len(want), err)
			}
		}
	}
	same("in memory")
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	same("after a sync")
	h, err := s.files.get(1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.files.put(h)
	past := 0
	for ref, want := range bodies {
		h.uncache(0, 0)
		p, err := indexed(s.kv, ref)
		if err != nil {
			t.Fatal(err)
		}
		if h.directly() != nil && p.size() >= directMin && h.remembered(int64(p.offset), p.size()) {
			t.Errorf("the system remembers %d bytes that it was told to forget", p.size())
		}
		if b := h.readPast(int64(p.offset), int64(p.offset)+p.size()); b != nil {
			past++
			if got, err := bodyOf(ref, p, b, nil); err != nil || !bytes.Equal(got, want) {
				t.Errorf("past the cache: %d bytes of %d, %v", len(got), len(want), err)
			}
		}
	}
	if past == 0 {
		t.Log("the file system of the temporary directory refuses O_DIRECT: set TMPDIR to one that does not")
	}
	same("past the cache")
	damaged(t, s, h, bodies)
}

// damaged changes a byte of the largest body on the disk.
func damaged(t *testing.T, s *Store, h *handle, bodies map[store.Ref][]byte) {
	var ref store.Ref
	for r, b := range bodies {
		if len(b) > len(bodies[ref]) {
			ref = r
		}
	}
	p, err := indexed(s.kv, ref)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(h.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{^bodies[ref][len(bodies[ref])/2]}, int64(p.offset)+p.size()-int64(len(bodies[ref])-len(bodies[ref])/2)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	h.uncache(0, 0)
	if _, err := s.GetOnce(ref); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged body: %v, want ErrCorrupt", err)
	}
}
