//go:build linux

package mount_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// What go-fuse asks of every file system, but for one test that no local file system
// passes either: it wants flock and fcntl locks to exclude each other. Another is
// about servers that open files of the host by their path.
func TestPosixtest(t *testing.T) {
	root := mounted(t)
	links := hasLinks(t, root)
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if name == "FcntlFlockLocksFile" {
			continue
		}
		if name == "OpenSymlinkRace" && local() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "Link") && !links {
				t.Skip("the drive has no hard links")
			}
			dir := filepath.Join(root, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			posixtest.All[name](t, dir)
		})
	}
}
