//go:build unix

package index

import (
	"errors"
	"syscall"
)

// isReadOnly reports whether err says that the file system is mounted read-only,
// which fs.ErrPermission does not cover.
func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }
