package node

import (
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// A version whose bytes no machine has any more takes nobody's place: who wants it back
// hears that they are gone, and the file is as it was.
func TestRestore_SaysThatTheBytesAreGone(t *testing.T) {
	secret, dir := pool.NewSecret(), t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), secret)
	a.put(t, "f", []byte("the first version"))
	a.put(t, "d", []byte("another"))
	first := time.Now()
	for time.Now().UnixMilli() == first.UnixMilli() { // stamps tell milliseconds apart
		runtime.Gosched()
	}
	old, err := a.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	a.put(t, "f", []byte("the second version"))
	if err := a.bodies.Delete(old.Version.Content.Root); err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{{}, first} {
		_, err := a.client.Restore(t.Context(), "/f", at)
		if err == nil || !strings.Contains(err.Error(), "are gone") || !errors.Is(err, drive.ErrUnreachable) {
			t.Errorf("restore of %v: %v", at, err)
		}
	}
	if got := a.cat(t, "/f"); string(got) != "the second version" {
		t.Errorf("now it is %q", got)
	}
	a.put(t, "d", []byte("and its second version"))
	if _, err := a.client.Restore(t.Context(), "/d", first); err != nil {
		t.Error(err)
	}
	if got := a.cat(t, "/d"); string(got) != "another" {
		t.Errorf("it came back as %q", got)
	}
	n := 0
	if err := a.drive.History("/f", func(tree.Past) bool { n++; return true }); err != nil || n != 2 {
		t.Errorf("%d versions, %v", n, err)
	}
	if !slices.Contains(a.names(t), "/f") {
		t.Error("the file is gone, too")
	}
}
