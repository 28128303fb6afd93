package doctor

import (
	"errors"
	"syscall"
)

// wsaConnReset is what Windows reports when nobody is bound to the peer's port.
const wsaConnReset = syscall.Errno(10054)

func isRefused(err error) bool { return errors.Is(err, wsaConnReset) }
