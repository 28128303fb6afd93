package mount

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ErrUnsupported reports a system on which the drive cannot be mounted. WebDAV is
// the way there.
var ErrUnsupported = fmt.Errorf("mount: %w on this system: use the WebDAV face, which file managers can mount", errors.ErrUnsupported)

// ErrBusy reports a directory that cannot be unmounted while programs use it.
var ErrBusy = errors.New("mount: in use: a program has a file open or its working directory there")

// Config says how to mount. Its zero value works.
type Config struct {
	// AllowOther lets other users of the machine in. Without it only the user that
	// mounts gets in, not even root.
	AllowOther bool
	// ReadOnly refuses all changes.
	ReadOnly bool
	// Name is what df and the list of mounts show; empty means "aether".
	Name string
	// Logger hears of what goes wrong; nil is silent.
	Logger *slog.Logger
	// Sync is how long names that were changed may wait for the disk; 0 means 2 s.
	Sync time.Duration
}
