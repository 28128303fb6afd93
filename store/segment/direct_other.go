//go:build !linux

package segment

import (
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// preallocation is not had here: a full disk is noticed by writes alone.
const preallocation = false

func openDirect(vfs.File, string) *os.File { return nil }

func refusesDirect(error) bool { return false }

func (*handle) uncache(int64, int64) {}

func (*handle) remembered(int64, int64) bool { return true }

func (*handle) readAhead(bool) {}
