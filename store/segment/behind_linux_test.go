package segment

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBehind_FilesHoldWhatWasPut writes places of all sizes with flushes in between,
// from an offset in the middle of a page, and compares memory and file.
func TestBehind_FilesHoldWhatWasPut(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 9))
		dir := t.TempDir()
		files := newHandles(vfs.Default, dir)
		h, err := files.get(1, true)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 1000+rng.IntN(9000))
		if _, err := h.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		w := newBehind(files, 64<<20, func(n uint32, err error) { t.Errorf("segment %d: %v", n, err) })
		for range 40 {
			body := make([]byte, rng.IntN(1<<rng.IntN(20)))
			for i := range body {
				body[i] = byte(rng.Uint32())
			}
			p := place{segment: 1, offset: uint32(len(want)), length: uint32(len(body))}
			if err := w.admit(); err != nil {
				t.Fatal(err)
			}
			w.reserve(p)
			if _, err := w.fill(p, [32]byte{1}, body); err != nil {
				t.Fatal(err)
			}
			want = append(append(want, recordHead([32]byte{1}, 0, 0, body)...), body...)
			got := make([]byte, len(want))
			if err := w.readAt(h, got, 0); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("seed %d: read after %d bytes: %v", seed, len(want), err)
			}
			if rng.IntN(4) == 0 {
				if err := w.flush(1, true); err != nil {
					t.Fatal(err)
				}
				onDisk(t, seed, filepath.Join(dir, "00000001.seg"), want)
			}
		}
		if err := w.flush(1, false); err != nil {
			t.Fatal(err)
		}
		if len(w.blocks) > 0 {
			t.Errorf("seed %d: %d blocks are kept for a segment that is complete", seed, len(w.blocks))
		}
		w.close()
		onDisk(t, seed, filepath.Join(dir, "00000001.seg"), want)
		files.put(h)
		files.close()
	}
}

// TestBehind_CloseWaitsForWhoFills closes while places that were given out are filled.
func TestBehind_CloseWaitsForWhoFills(t *testing.T) {
	files := newHandles(vfs.NewMem(), "/")
	h, err := files.get(1, true)
	if err != nil {
		t.Fatal(err)
	}
	defer files.put(h)
	for range 200 {
		w := newBehind(files, 1<<20, func(n uint32, err error) { t.Errorf("segment %d: %v", n, err) })
		p := place{segment: 1, length: 3 << 19}
		w.reserve(p)
		filled := make(chan error, 1)
		go func() {
			_, err := w.fill(p, [32]byte{1}, make([]byte, 3<<19))
			filled <- err
		}()
		w.close()
		if err := <-filled; err != nil {
			t.Fatal(err)
		}
	}
}

func onDisk(t *testing.T, seed uint64, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("seed %d: the file has %d bytes, want %d equal ones: %v", seed, len(got), len(want), err)
	}
}
