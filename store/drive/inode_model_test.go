package drive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func (r *rig) create(t *testing.T, name string) *Inode {
	t.Helper()
	n, err := r.CreateAt(t.Context(), tree.Place{Name: name}, false, tree.Version{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	return r.InodeOf(&n)
}

// A file that is read, written, cut, lengthened and saved at random is like bytes in
// memory, and what was saved is what others see.
func TestInode_AgainstModel(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		r := newRig(t)
		i := r.create(t, "f")
		var model []byte
		grow := func(to int) {
			if to > len(model) {
				model = append(model, make([]byte, to-len(model))...)
			}
		}
		const most = 6 << 20
		sequential := 0
		for step := range 150 {
			var err error
			switch kind := rnd.IntN(12); {
			case kind < 4: // somewhere
				off, n := rnd.IntN(min(most, len(model)+200<<10)), 1+rnd.IntN(1<<rnd.IntN(18))
				p := make([]byte, n)
				for j := range p {
					p[j] = byte(rnd.Uint32())
				}
				_, err = i.WriteAt(p, int64(off))
				grow(off + n)
				copy(model[off:], p)
			case kind < 6 && len(model) < most: // a long run at the end: a stream
				p := bytes.Repeat([]byte{byte(sequential), byte(step), 7}, 1<<19/3)
				sequential++
				for range 3 {
					if _, err = i.WriteAt(p, int64(len(model))); err != nil {
						break
					}
					model = append(model, p...)
				}
			case kind == 6:
				to := rnd.IntN(len(model) + 300<<10)
				err = i.Truncate(int64(to))
				grow(to)
				model = model[:to]
			case kind == 7 && len(model) > 0:
				from := rnd.IntN(len(model))
				to := from + rnd.IntN(len(model)-from+1)
				err = i.Zero(int64(from), int64(to))
				clear(model[from:to])
			case kind == 8:
				err = i.Save(t.Context())
			case kind == 9: // closed by all, and opened again
				id := i.ID()
				err = i.Close()
				if err == nil {
					i, err = r.Inode(id)
				}
			default:
				off := rnd.IntN(len(model) + 1)
				p := make([]byte, rnd.IntN(400<<10))
				n, rerr := i.ReadAt(p, int64(off))
				if rerr != nil && rerr != io.EOF {
					err = rerr
				}
				if want := min(len(p), len(model)-off); err == nil && n != want || !bytes.Equal(p[:n], model[off:off+n]) {
					t.Fatalf("seed %d step %d: read %d bytes at %d, want %d, or others", seed, step, n, off, want)
				}
			}
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if size, _ := i.Size(); size != int64(len(model)) {
				t.Fatalf("seed %d step %d: %d bytes, want %d", seed, step, size, len(model))
			}
			if err := extents(i, model); err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
		}
		if err := i.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.read(t, "/f"); !bytes.Equal(got, model) {
			t.Fatalf("seed %d: %d bytes were saved, want %d, or others", seed, len(got), len(model))
		}
		// Canonical: the same bytes put at once are the same chunks.
		if e := r.put(t, "/g", model); e.Version.Content != r.entry(t, "/f").Version.Content {
			t.Errorf("seed %d: equal bytes have two contents", seed)
		}
		if err := i.Close(); err != nil {
			t.Fatal(err)
		}
		if r.staged.Load() != 0 || len(r.sessions) != 0 || len(r.inodes) != 0 {
			t.Errorf("seed %d: %d bytes, %d sessions, %d inodes are left", seed, r.staged.Load(), len(r.sessions), len(r.inodes))
		}
		// Nothing that is shown is garbage.
		if _, err := r.Collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := r.read(t, "/f"); !bytes.Equal(got, model) {
			t.Errorf("seed %d: after collecting garbage %d bytes, want %d, or others", seed, len(got), len(model))
		}
	}
}

// extents checks that data and holes cover the file once, and that no hole has
// anything in it.
func extents(i *Inode, model []byte) error {
	for off := int64(0); ; {
		data, end, err := i.Extent(off)
		switch {
		case err == io.EOF && off == int64(len(model)):
			return nil
		case err != nil || end <= off || end > int64(len(model)):
			return fmt.Errorf("extent at %d of %d bytes: up to %d, %w", off, len(model), end, err)
		case !data && len(bytes.Trim(model[off:end], "\x00")) > 0:
			return fmt.Errorf("the hole from %d to %d has something in it", off, end)
		}
		off = end
	}
}

func (r *rig) entry(t *testing.T, p string) tree.Entry {
	t.Helper()
	e, err := r.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A file whose name is removed while it is open is read and written on, and gone when
// it is closed.
func TestInode_Removed(t *testing.T) {
	r := newRig(t)
	i := r.create(t, "f")
	if _, err := i.WriteAt([]byte("before"), 0); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveAt(t.Context(), tree.Place{Name: "f"}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.WriteAt([]byte(" and after"), 6); err != nil {
		t.Fatal(err)
	}
	if err := i.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	if n, err := i.ReadAt(p, 0); err != io.EOF || string(p[:n]) != "before and after" {
		t.Errorf("%q, %v", p[:n], err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Stat("/f"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the file is there again: %v", err)
	}
}

// On a full disk a writer hears of it, the version before stays, and a file with a
// hole where bytes were lost is never saved. Removing something makes room.
func TestInode_FullDisk(t *testing.T) {
	r := newRig(t)
	i := r.create(t, "f")
	defer i.Close()
	if _, err := i.WriteAt([]byte("whole"), 0); err != nil {
		t.Fatal(err)
	}
	if err := i.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put(t, "/other", randomBytes(1, 8<<20))
	big := randomBytes(2, 40<<20)
	var err error
	for off := 0; off < len(big) && err == nil; off += 1 << 20 {
		_, err = i.WriteAt(big[off:off+1<<20], int64(off))
	}
	if err == nil {
		err = i.Sync(t.Context())
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("40 MiB in 24: %v", err)
	}
	if err := i.Sync(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("saving what is not whole: %v", err)
	}
	if got := r.read(t, "/f"); string(got) != "whole" {
		t.Errorf("the file has %d bytes", len(got))
	}
	if err := r.Remove(t.Context(), "/other", false); err != nil {
		t.Fatal(err)
	}
	if err := i.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := i.WriteAt(big[:10<<20], 0); err != nil { // at the cost of what was removed
		t.Fatal(err)
	}
	if err := i.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.read(t, "/f"); !bytes.Equal(got, big[:10<<20]) {
		t.Errorf("the file has %d bytes", len(got))
	}
}

// A clock that is set back by ten years does not make new versions old ones.
func TestPut_ClockSetBack(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("first"))
	r.now = r.now.AddDate(-10, 0, 0)
	r.put(t, "/f", []byte("second"))
	if got := r.read(t, "/f"); string(got) != "second" {
		t.Errorf("the file is %q", got)
	}
	if got, err := r.Restore(t.Context(), "/f", time.Time{}); err != nil || got != "/f" || string(r.read(t, "/f")) != "first" {
		t.Errorf("undo: %q, %v, %q", got, err, r.read(t, "/f"))
	}
}
