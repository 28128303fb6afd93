//go:build linux

package mount_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Names that are no UTF-8 text cannot go to other machines, so they are refused where
// something is made, clearly, and are nowhere to be found.
func TestNames_NoUTF8(t *testing.T) {
	if local() {
		t.Skip("the local file system takes any bytes")
	}
	dir := mounted(t)
	if err := os.WriteFile(dir+"/f", []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"\xff", "caf\xe9.txt", "a\xc3", "\xed\xa0\x80", "\xc0\xaf"} {
		bad := dir + "/" + name
		for what, err := range map[string]error{
			"create":  os.WriteFile(bad, nil, 0o644),
			"mkdir":   os.Mkdir(bad, 0o755),
			"symlink": os.Symlink("x", bad),
			"link":    os.Link(dir+"/f", bad),
			"rename":  os.Rename(dir+"/f", bad),
		} {
			if !errors.Is(err, unix.EILSEQ) {
				t.Errorf("%s %q: %v, want EILSEQ", what, name, err)
			}
		}
		if _, err := os.Lstat(bad); !errors.Is(err, unix.ENOENT) {
			t.Errorf("stat %q: %v, want ENOENT", name, err)
		}
		if err := os.Remove(bad); !errors.Is(err, unix.ENOENT) {
			t.Errorf("remove %q: %v, want ENOENT", name, err)
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != "f" {
		t.Errorf("%v, %v", list, err)
	}
}
