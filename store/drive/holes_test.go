package drive

import (
	"testing"

	"github.com/aether-lan/aether/store"
)

// What a sparse file takes is what was written to it, while it is written and after.
func TestAllocated(t *testing.T) {
	r := newRig(t)
	i := r.create(t, "f")
	if err := i.Truncate(1 << 30); err != nil {
		t.Fatal(err)
	}
	if _, err := i.WriteAt(randomBytes(1, 1<<20), 700<<20); err != nil {
		t.Fatal(err)
	}
	allocated := func() int64 {
		t.Helper()
		n, err := r.Node(i.ID())
		if err != nil {
			t.Fatal(err)
		}
		return r.Allocated(&n)
	}
	if got := allocated(); got < 1<<20 || got > 2<<20 {
		t.Errorf("%d bytes while it is written", got)
	}
	if err := i.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := allocated(); got < 1<<20 || got > 2<<20 {
		t.Errorf("%d bytes when it is saved", got)
	}
	if data, end, err := i.Extent(0); data || err != nil || end < 1<<20 {
		t.Errorf("the beginning is data (%v) up to %d, %v", data, end, err)
	}
	if data, _, err := i.Extent(700<<20 + 1<<19); !data || err != nil {
		t.Errorf("what was written is a hole, or %v", err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	e := r.put(t, "/dense", randomBytes(2, 17<<20))
	n, err := r.Node(e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Allocated(&n); got != n.Version.Content.Size {
		t.Errorf("%d bytes of a file of %d", got, n.Version.Content.Size)
	}
	n.Version.Content.Root = store.Ref{1} // whose lists are elsewhere
	if got := r.Allocated(&n); got != n.Version.Content.Size {
		t.Errorf("%d bytes of a file of %d whose lists are not here", got, n.Version.Content.Size)
	}
}
