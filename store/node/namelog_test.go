package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// everything returns path, kind and bytes of all that the drive shows.
func everything(t *testing.T, m *Machine) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		got[e.Path] = fmt.Sprint(e.Dir, e.Version.Mode, e.Version.ModTime.UnixNano(), e.Version.Content)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A machine whose index was removed has all its files, under their names, from what
// lies in the segments.
func TestOpen_IndexLost(t *testing.T) {
	dir := t.TempDir()
	if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	open := func() *Machine {
		m, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	m := open()
	d := m.Drive()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		must(d.MkdirAll(t.Context(), fmt.Sprintf("/d%d/e", i%3)))
		_, err := d.Put(t.Context(), fmt.Sprintf("/d%d/e/f%d", i%3, i), strings.NewReader(strings.Repeat("x", i*1000)), drive.Attributes{})
		must(err)
	}
	must(d.Rename(t.Context(), "/d0/e", "/moved"))
	must(d.Remove(t.Context(), "/d1", true))
	must(d.SetXattr(t.Context(), "/moved", "user.x", []byte("y")))
	want := everything(t, m)
	must(m.Close())

	must(os.RemoveAll(filepath.Join(dir, indexName)))
	m = open()
	if diff := cmp.Diff(want, everything(t, m)); diff != "" {
		t.Errorf("(-before +rebuilt):\n%s", diff)
	}
	if v, err := m.Drive().Xattr("/moved", "user.x"); err != nil || string(v) != "y" {
		t.Errorf("attribute %q, %v", v, err)
	}
	err := m.Verify(t.Context(), "/", func(c Checked) {
		if c.Error != "" {
			t.Errorf("%s: %s", c.Path, c.Error)
		}
	})
	must(err)
	// It goes on where it was.
	_, err = m.Drive().Put(t.Context(), "/new", strings.NewReader("new"), drive.Attributes{})
	must(err)
	want = everything(t, m)
	must(m.Close())
	m = open()
	if diff := cmp.Diff(want, everything(t, m)); diff != "" {
		t.Errorf("(-before +reopened):\n%s", diff)
	}
}

// Garbage is collected, and nothing else: what was removed can be brought back as long
// as it is kept, and no longer.
func TestCollect(t *testing.T) {
	a := alone(t)
	d := a.drive
	big := strings.NewReader(string(randomBytes(7, 8<<20)))
	if _, err := d.Put(t.Context(), "/big", big, drive.Attributes{}); err != nil {
		t.Fatal(err)
	}
	a.put(t, "keep", randomBytes(8, 3<<20))
	want := everything(t, a.Machine)
	if err := d.Remove(t.Context(), "/big", false); err != nil {
		t.Fatal(err)
	}
	if c, err := a.client.Collect(t.Context(), -1); err != nil || c.Removed != 0 {
		t.Fatalf("what may be wanted back was removed: %+v, %v", c, err)
	}
	got, err := a.client.Restore(t.Context(), "/big", time.Time{})
	if err != nil || got != "/big" {
		t.Fatalf("Restore = %q, %v", got, err)
	}
	if diff := cmp.Diff(want, everything(t, a.Machine)); diff != "" {
		t.Errorf("(-before +restored):\n%s", diff)
	}
	if err := d.Remove(t.Context(), "/big", false); err != nil {
		t.Fatal(err)
	}
	used := a.bodies.Usage().Replicas
	c, err := a.client.Collect(t.Context(), 0)
	if err != nil || c.Bytes < 8<<20 || c.Forgotten == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if now := a.bodies.Usage().Replicas; used-now < 8<<20 {
		t.Errorf("%d bytes in use, before %d", now, used)
	}
	if err := a.Verify(t.Context(), "/", func(c Checked) {
		if c.Error != "" {
			t.Errorf("%s: %s", c.Path, c.Error)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
