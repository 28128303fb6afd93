package mount

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// errnos pairs what the drive says with what programs understand.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{store.ErrNotFound, syscall.ENOENT},
	{tree.ErrExist, syscall.EEXIST},
	{tree.ErrNotDir, syscall.ENOTDIR},
	{tree.ErrIsDir, syscall.EISDIR},
	{tree.ErrNotEmpty, syscall.ENOTEMPTY},
	{tree.ErrCycle, syscall.EINVAL},
	{tree.ErrRoot, syscall.EBUSY},
	{tree.ErrTooLarge, syscall.ENOSPC},
	{drive.ErrInvalid, syscall.EINVAL},
	{store.ErrFull, syscall.ENOSPC},
	{drive.ErrUnreachable, syscall.EHOSTUNREACH},
	{fs.ErrPermission, syscall.EACCES},
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{context.Canceled, syscall.EIO}, // the node is ending
}

// status turns an error into an errno. What programs cannot know by one is EIO, and
// told to the log.
func (k *kernelFS) status(op string, err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			if e.errno == syscall.EIO || e.errno == syscall.ENOSPC || e.errno == syscall.EHOSTUNREACH {
				k.cfg.Logger.Warn("mount", "operation", op, "error", err)
			}
			return fuse.Status(e.errno)
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && (errno == syscall.ENOSPC || errno == syscall.EDQUOT || errno == syscall.EROFS) {
		return fuse.Status(errno)
	}
	k.cfg.Logger.Error("mount", "operation", op, "error", err)
	return fuse.EIO
}
