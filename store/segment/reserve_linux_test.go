package segment_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// blocksIn returns the bytes of the disk that the files in dir take.
func blocksIn(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && !d.IsDir() {
			err = unix.Stat(path, &st)
			sum += st.Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestConfig_Preallocate looks that the space is taken from the disk, that segments
// come out of it and give it back, and that it is given up when not asked for.
func TestConfig_Preallocate(t *testing.T) {
	dir, kv := t.TempDir(), index.NewMemory()
	const space, size = 32 << 20, 4 << 20
	again := func(preallocate bool) *segment.Store {
		t.Helper()
		s, err := segment.Open(vfs.Default, dir, kv, segment.Config{Space: space, SegmentSize: size, Preallocate: preallocate})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	check := func(s *segment.Store, reserved int64) {
		t.Helper()
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := s.Reserved(); got != reserved {
			t.Errorf("%d MiB reserved, want %d", got>>20, reserved>>20)
		}
		if reserved == 0 {
			return
		}
		if took := blocksIn(t, dir); took < space-2*size || took > space+size {
			t.Errorf("%d MiB of the disk are taken, want %d", took>>20, space>>20)
		}
	}
	s := again(true)
	if s.Reserved() == 0 {
		t.Skipf("the file system of %s takes no room in advance; try TMPDIR on ext4 or tmpfs", dir)
	}
	check(s, space)
	body := make([]byte, 1<<20)
	for n := range 14 {
		if err := s.Put(refOf(n), body, segment.Replica); err != nil {
			t.Fatal(err)
		}
	}
	check(s, space-5*size)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = again(true)
	check(s, space-5*size)
	for n := range 14 {
		if err := s.Delete(refOf(n)); err != nil {
			t.Fatal(err)
		}
	}
	for more := true; more; {
		var err error
		if _, more, err = s.CompactSome(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	check(s, space)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = again(false)
	check(s, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
