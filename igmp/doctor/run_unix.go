//go:build unix

package doctor

import (
	"errors"
	"syscall"
)

// isRefused reports whether err says that nobody is bound to the peer's port.
func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
