package mount

import (
	"io"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// opened is a file that a program has open.
type opened struct {
	inode  *drive.Inode // nil for a conflict copy
	copy   *drive.File
	writes bool // it was opened to be written to
}

// open answers with a handle of f. n is what the drive knows of it, or nil.
func (k *kernelFS) open(f file, n *tree.Node, flags uint32, out *fuse.OpenOut) fuse.Status {
	h := &opened{writes: flags&syscall.O_ACCMODE != syscall.O_RDONLY}
	if f.copy != nil {
		if h.writes {
			return fuse.EACCES // rename it first: then it is a file of its own
		}
		h.copy = k.d.OpenVersion(k.ctx, f.copy.version)
	} else {
		var err error
		if n != nil {
			h.inode = k.d.InodeOf(n)
		} else if h.inode, err = k.d.Inode(f.id); err != nil {
			return k.status("open", err)
		}
		if flags&syscall.O_TRUNC != 0 {
			if err := h.inode.Truncate(0); err != nil {
				_ = h.inode.CloseFor(k.ctx)
				return k.status("truncate", err)
			}
		}
	}
	k.writers.opened(h, +1)
	out.Fh = k.handles.add(h)
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	return fuse.OK
}

// Open implements open(2) of a file that exists.
func (k *kernelFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f, ok := k.nodes.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	if in.Mode&fuse.OPEN_KILL_SUIDGID != 0 {
		k.dropSetID(f, &in.InHeader)
	}
	return k.open(f, nil, in.Flags, out)
}

// Create implements open(2) of a file that does not.
func (k *kernelFS) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	f, n, st := k.created(&in.InHeader, name, in.Mode&0o7777|syscall.S_IFREG)
	if st == fuse.Status(syscall.EEXIST) && in.Flags&syscall.O_EXCL == 0 {
		// Somebody else has made it since the kernel looked.
		at, _ := k.place(in.NodeId, name)
		var err error
		if f, n, err = k.found(at); err != nil {
			return k.status("create", err)
		}
		st = fuse.OK
	}
	if st != fuse.OK {
		return st
	}
	if st = k.entered(f, &n, &out.EntryOut); st != fuse.OK {
		return st
	}
	if st = k.open(f, &n, in.Flags&^syscall.O_TRUNC, &out.OpenOut); st != fuse.OK {
		k.nodes.forget(out.NodeId, 1)
	}
	return st
}

// Tmpfile implements open(2) with O_TMPFILE: a file without a name, which link(2) can
// give one.
func (k *kernelFS) Tmpfile(_ <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	dir, ok := k.nodes.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	v, st := k.belongs(&in.InHeader, tree.Place{Dir: dir.id}, in.Mode&0o7777|syscall.S_IFREG)
	if st != fuse.OK {
		return st
	}
	n, err := k.d.CreateNameless(k.ctx, dir.id, v)
	if err != nil {
		return k.status("create", err)
	}
	if st = k.entered(file{id: n.ID}, &n, &out.EntryOut); st != fuse.OK {
		return st
	}
	if st = k.open(file{id: n.ID}, &n, in.Flags&^syscall.O_TRUNC, &out.OpenOut); st != fuse.OK {
		k.nodes.forget(out.NodeId, 1)
	}
	return st
}

func (k *kernelFS) handle(fh uint64) (*opened, bool) {
	h, ok := k.handles.get(fh).(*opened)
	return h, ok
}

// Read implements read(2) of what the kernel has not cached.
func (k *kernelFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h, ok := k.handle(in.Fh)
	if !ok {
		return nil, fuse.EBADF
	}
	var r io.ReaderAt = h.inode
	if h.inode == nil {
		r = h.copy
	}
	n, err := r.ReadAt(buf[:min(len(buf), int(in.Size))], int64(in.Offset))
	if err != nil && err != io.EOF {
		return nil, k.status("read", err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Write takes what the kernel writes back.
func (k *kernelFS) Write(_ <-chan struct{}, in *fuse.WriteIn, p []byte) (uint32, fuse.Status) {
	h, ok := k.handle(in.Fh)
	if !ok || h.inode == nil {
		return 0, fuse.EBADF
	}
	if in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0 {
		k.dropSetID(file{id: h.inode.ID()}, &in.InHeader)
	}
	k.changed()
	n, err := h.inode.WriteAt(p, int64(in.Offset))
	return uint32(n), k.status("write", err)
}

// dropSetID takes the bits off that give a program the rights of the file's owner:
// somebody else has written it.
func (k *kernelFS) dropSetID(f file, by *fuse.InHeader) {
	if mode := k.withoutSetID(f.id, by); mode != nil {
		_ = k.d.SetNode(k.ctx, f.id, tree.AttributeChange{Mode: mode})
	}
}

// Flush is called when a program closes a file. What it has written is on the disk
// when it returns.
func (k *kernelFS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	h, ok := k.handle(in.Fh)
	if !ok || h.inode == nil || !h.inode.Unsaved() {
		return fuse.OK
	}
	return k.status("close", h.inode.Sync(k.ctx))
}

// Fsync implements fsync(2).
func (k *kernelFS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h, ok := k.handle(in.Fh)
	if !ok || h.inode == nil {
		return fuse.OK
	}
	return k.status("fsync", h.inode.Sync(k.ctx))
}

// Release is called when nobody has a file open any more.
func (k *kernelFS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h, ok := k.handles.take(in.Fh).(*opened); ok {
		k.close(h)
	}
}

// close ends the use of a file. Pages that a program had mapped may have come after
// its last close.
func (k *kernelFS) close(h *opened) {
	if h.inode == nil {
		_ = h.copy.Close()
		return
	}
	if h.inode.Unsaved() {
		k.changed()
	}
	k.writers.opened(h, -1)
	if err := h.inode.CloseFor(k.ctx); err != nil {
		k.status("release", err)
	}
}

// Fallocate implements fallocate(2): files are longer without being written, and have
// holes punched. Space is not promised.
func (k *kernelFS) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h, ok := k.handle(in.Fh)
	if !ok || h.inode == nil {
		return fuse.EBADF
	}
	from, to := int64(in.Offset), int64(in.Offset+in.Length)
	if from < 0 || to < from {
		return fuse.EINVAL
	}
	keep := in.Mode&unix.FALLOC_FL_KEEP_SIZE != 0
	var err error
	switch mode := in.Mode &^ unix.FALLOC_FL_KEEP_SIZE; {
	case mode == 0:
	case mode == unix.FALLOC_FL_PUNCH_HOLE && keep, mode == unix.FALLOC_FL_ZERO_RANGE:
		err = h.inode.Zero(from, to)
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if in.Uid != 0 { // the kernel leaves it to us to see who that is
		k.dropSetID(file{id: h.inode.ID()}, &in.InHeader)
	}
	if size, _ := h.inode.Size(); err == nil && !keep && to > size {
		err = h.inode.Truncate(to)
	}
	k.changed()
	return k.status("fallocate", err)
}

// Readlink implements readlink(2).
func (k *kernelFS) Readlink(_ <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	f, ok := k.nodes.get(h.NodeId)
	if !ok {
		return nil, fuse.Status(syscall.ESTALE)
	}
	n, err := k.node(f)
	if err != nil {
		return nil, k.status("readlink", err)
	}
	r := k.d.OpenVersion(k.ctx, n.Version)
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, syscall.PathMax))
	return target, k.status("readlink", err)
}
