package segment_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// smallDisk says that a disk has size bytes, less what its files hold and what somebody
// else has put there.
type smallDisk struct {
	*vfs.MemFS
	t      *testing.T
	size   int64
	others int64
}

func (d *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	left := max(0, d.size-d.others-fileBytes(d.t, d.MemFS))
	return vfs.DiskUsage{AvailBytes: uint64(left), TotalBytes: uint64(d.size)}, nil
}

// Bodies leave the reserve of the disk free, whatever Space says; a Log may go further.
// Cache is given up for replicas, and what was deleted makes room.
func TestPut_LeavesTheReserveFree(t *testing.T) {
	const size, reserve = 1 << 20, 256 << 10
	fs := &smallDisk{MemFS: vfs.NewMem(), t: t, size: size}
	s, err := segment.Open(fs, "/chunks", index.NewMemory(), segment.Config{Space: 1 << 30, SegmentSize: 64 << 10, Reserve: reserve})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body := func(n int) []byte { return make([]byte, 8<<10+n%7) }
	fill := func(from int, class segment.Class) (n int, err error) {
		for n = from; n < from+1000 && err == nil; n++ {
			if err = s.Put(refOf(n), body(n), class); err == nil {
				err = s.Sync()
			}
		}
		return n - 1, err
	}
	left := func() int64 {
		u, _ := fs.GetDiskUsage("")
		return int64(u.AvailBytes)
	}
	cached, _ := fill(0, segment.Cache)
	if cached < 50 {
		t.Fatalf("%d bodies of cache", cached)
	}
	last, err := fill(2000, segment.Replica)
	if !errors.Is(err, segment.ErrFull) {
		t.Fatalf("a full disk: %v", err)
	}
	if n := last - 2000; n < 80 || n > 96 {
		t.Errorf("%d replicas of 8 KiB on 1 MiB less 256 KiB, after %d of cache", n, cached)
	}
	if u := s.Usage(); u.Cache != 0 {
		t.Errorf("cache was kept: %+v", u)
	}
	if l := left(); l < reserve || l > reserve+16<<10 {
		t.Errorf("%d bytes are left of the disk", l)
	}
	if err := s.Put(refOf(5000), body(5000), segment.Log); err != nil {
		t.Errorf("a log: %v", err)
	}
	fs.others = 64 << 10 // somebody else takes more than the reserve leaves
	if err := s.Put(refOf(5001), body(5001), segment.Replica); !errors.Is(err, segment.ErrFull) {
		t.Errorf("a replica: %v", err)
	}
	for n := 2000; n < last; n++ {
		if n%10 != 0 { // every tenth stays, so that no segment is empty
			if err := s.Delete(refOf(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if n, err := fill(6000, segment.Replica); n < 6000+40 || !errors.Is(err, segment.ErrFull) {
		t.Errorf("%d more after deleting, %v", n-6000, err)
	}
	for n := 2000; n < last; n += 10 {
		if _, err := s.Get(refOf(n)); err != nil {
			t.Errorf("body %d: %v", n, err)
		}
	}
}

// A file system that cannot tell what is left is written to until it says no.
func TestPut_UnknownDisk(t *testing.T) {
	fs := vfs.NewMem()
	s, err := segment.Open(fs, "s", index.NewMemory(), segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(refOf(1), bodyOf(1), segment.Replica); err != nil {
		t.Error(err)
	}
}
