package node

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
)

// write puts a file into the drive without the control socket.
func (h *host) write(t *testing.T, path string) error {
	t.Helper()
	_, err := h.drive.Put(t.Context(), path, strings.NewReader(path), drive.Attributes{})
	return err
}

// A machine that has lost its index and the log of names uses no number twice: it
// waits until others have given its own operations back.
func TestServe_LostIndexComesBackFromOthers(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, dir+"/a", secret)
	b := serve(t, dir+"/b", secret, a.addr)
	for _, name := range []string{"/one", "/two", "/three"} {
		if err := a.write(t, name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "b has them", func() bool { _, err := b.drive.Stat("/three"); return err == nil })
	b.stop()
	a.stop()
	for _, name := range []string{indexName, segmentsName} {
		if err := os.RemoveAll(filepath.Join(dir, "a", name)); err != nil {
			t.Fatal(err)
		}
	}
	a = serve(t, dir+"/a", secret)
	if err := a.write(t, "/four"); !errors.Is(err, errIndexLost) {
		t.Fatal(err)
	}
	a.stop()
	a = serve(t, dir+"/a", secret) // it remembers its doubt
	if err := a.write(t, "/four"); !errors.Is(err, errIndexLost) {
		t.Fatal(err)
	}
	b = serve(t, dir+"/b", secret, a.addr)
	eventually(t, "a can write again", func() bool { return a.write(t, "/four") == nil })
	for _, h := range []*host{a, b} {
		for _, name := range []string{"/one", "/two", "/three", "/four"} {
			eventually(t, h.Name()+" has "+name, func() bool { _, err := h.drive.Stat(name); return err == nil })
		}
		all, _ := h.alarms.list(time.Now())
		if slices.ContainsFunc(all, func(al Alarm) bool { return al.Kind == AlarmForked || al.Kind == AlarmRelapsed }) {
			t.Errorf("%s: %+v", h.Name(), all)
		}
	}
}

// A machine that has lost its index may have told its last changes to somebody other than
// the first that it meets: it waits for the others for a while.
func TestServe_LostIndexWaitsForTheOthers(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, dir+"/a", secret)
	b := serve(t, dir+"/b", secret, a.addr)
	c := serve(t, dir+"/c", secret, a.addr, b.addr)
	if err := a.write(t, "/one"); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{b, c} {
		eventually(t, "they know all", func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.Machines) == 3 && slices.Contains(h.names(t), "/one")
		})
	}
	b.stop()
	if err := a.write(t, "/two"); err != nil { // which b has not
		t.Fatal(err)
	}
	eventually(t, "c has it", func() bool { return slices.Contains(c.names(t), "/two") })
	c.stop()
	a.stop()
	for _, name := range []string{indexName, segmentsName} {
		if err := os.RemoveAll(filepath.Join(dir, "a", name)); err != nil {
			t.Fatal(err)
		}
	}
	a = serve(t, dir+"/a", secret)
	b = serve(t, dir+"/b", secret, a.addr)
	eventually(t, "a has what b had", func() bool { return slices.Contains(a.names(t), "/one") })
	if err := a.write(t, "/three"); !errors.Is(err, errIndexLost) {
		t.Errorf("with one of two others: %v", err)
	}
	c = serve(t, dir+"/c", secret, a.addr, b.addr)
	eventually(t, "a can write again", func() bool { return a.write(t, "/three") == nil })
	for _, h := range []*host{a, b, c} {
		eventually(t, h.Name()+" has all", func() bool { return len(h.names(t)) == 3 })
		all, _ := h.alarms.list(time.Now())
		if slices.ContainsFunc(all, func(al Alarm) bool { return al.Kind == AlarmForked }) {
			t.Errorf("%s: %+v", h.Name(), all)
		}
	}
}

// A copy of a machine's directory that is put back has an older log. When it has met
// others it goes on where they know it to be.
func TestServe_DirectoryPutBack(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, dir+"/a", secret)
	if err := a.write(t, "/one"); err != nil {
		t.Fatal(err)
	}
	a.stop()
	if err := os.CopyFS(dir+"/saved", os.DirFS(dir+"/a")); err != nil {
		t.Fatal(err)
	}
	a = serve(t, dir+"/a", secret)
	b := serve(t, dir+"/b", secret, a.addr)
	if err := a.write(t, "/two"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has it", func() bool { _, err := b.drive.Stat("/two"); return err == nil })
	a.stop()
	if err := errors.Join(os.RemoveAll(dir+"/a"), os.Rename(dir+"/saved", dir+"/a"), private(dir+"/a")); err != nil {
		t.Fatal(err)
	}
	a = serve(t, dir+"/a", secret, b.addr)
	eventually(t, "a has what it had lost", func() bool { _, err := a.drive.Stat("/two"); return err == nil })
	if err := a.write(t, "/three"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has what came later", func() bool { _, err := b.drive.Stat("/three"); return err == nil })
}

// private takes the rights of others from the files of dir, which a copy gave them.
func private(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.Chmod(path, 0o600)
	})
}

// A copy that is used beside the original, or before it meets anybody, forks: nobody
// takes more of it, and status says so everywhere.
func TestServe_DirectoryPutBackAndUsed(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, dir+"/a", secret)
	a.stop()
	if err := os.CopyFS(dir+"/saved", os.DirFS(dir+"/a")); err != nil {
		t.Fatal(err)
	}
	a = serve(t, dir+"/a", secret)
	b := serve(t, dir+"/b", secret, a.addr)
	if err := a.write(t, "/two"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has it", func() bool { _, err := b.drive.Stat("/two"); return err == nil })
	a.stop()
	if err := errors.Join(os.RemoveAll(dir+"/a"), os.Rename(dir+"/saved", dir+"/a"), private(dir+"/a")); err != nil {
		t.Fatal(err)
	}
	a = serve(t, dir+"/a", secret)
	if err := a.write(t, "/other"); err != nil {
		t.Fatal(err)
	}
	a.stop()
	a = serve(t, dir+"/a", secret, b.addr)
	for _, h := range []*host{a, b} {
		eventually(t, h.Name()+" says so", func() bool {
			all, _ := h.alarms.list(time.Now())
			return slices.ContainsFunc(all, func(al Alarm) bool { return al.Kind == AlarmForked && al.Machine == a.ID().String() })
		})
	}
	if err := a.write(t, "/more"); err == nil || writable(err) {
		t.Error(err)
	}
	if err := b.write(t, "/of b"); err != nil {
		t.Error(err)
	}
	eventually(t, "a hears of b", func() bool { _, err := a.drive.Stat("/of b"); return err == nil })
}
