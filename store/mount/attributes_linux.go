package mount

import (
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// fill writes what the drive knows of a file in the kernel's form.
func (k *kernelFS) fill(f file, n *tree.Node, out *fuse.Attr) {
	v := &n.Version
	out.Ino = f.ino()
	mode := v.Mode & 0o7777
	if f.id == tree.Root && mode == 0 {
		mode = 0o755 // nobody has set it yet
	}
	out.Mode = typeOf(n.Dir, v.Mode) | mode
	out.Nlink = uint32(n.Links)
	if n.Dir {
		out.Nlink = 2
	}
	out.Size = uint64(v.Content.Size)
	out.Blocks = (uint64(k.d.Allocated(n)) + 511) / 512
	out.Blksize = 128 << 10
	out.Owner = k.owner
	if v.UID != 0 {
		out.Uid = v.UID - 1
	}
	if v.GID != 0 {
		out.Gid = v.GID - 1
	}
	changed := n.Changed
	if changed.Before(v.ModTime) && time.Until(v.ModTime) <= 0 {
		changed = v.ModTime
	}
	setTime(&out.Mtime, &out.Mtimensec, v.ModTime)
	setTime(&out.Atime, &out.Atimensec, v.ModTime)
	setTime(&out.Ctime, &out.Ctimensec, changed)
}

// setTime writes an instant; the zero time, which the tree has for none and for the
// beginning of 1970, is the beginning of 1970.
func setTime(sec *uint64, nsec *uint32, t time.Time) {
	if !t.IsZero() {
		*sec, *nsec = uint64(t.Unix()), uint32(t.Nanosecond())
	}
}

// typeOf returns the bits of a mode that say what a file is.
func typeOf(dir bool, mode uint32) uint32 {
	switch t := mode & syscall.S_IFMT; {
	case dir:
		return syscall.S_IFDIR
	case t == 0:
		return syscall.S_IFREG
	default:
		return t
	}
}

// node returns what the drive knows of a file.
func (k *kernelFS) node(f file) (tree.Node, error) {
	if f.copy != nil {
		return tree.Node{ID: f.id, Version: f.copy.version, Changed: f.copy.version.ModTime, Links: 1}, nil
	}
	return k.d.Node(f.id)
}

// GetAttr implements stat(2).
func (k *kernelFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	f, ok := k.nodes.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	n, err := k.node(f)
	if err != nil {
		return k.status("stat", err)
	}
	k.fill(f, &n, &out.Attr)
	out.SetTimeout(valid)
	if n.Dir {
		k.nodes.note(in.NodeId, n.Version.Mode&syscall.S_ISGID != 0)
	}
	return fuse.OK
}

// SetAttr implements chmod, chown, utimensat and truncate(2).
func (k *kernelFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	f, ok := k.nodes.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	if f.copy != nil {
		return fuse.Status(syscall.EACCES)
	}
	if size, ok := in.GetSize(); ok {
		if err := k.truncate(f.id, int64(size)); err != nil {
			return k.status("truncate", err)
		}
	}
	a, any := k.asked(f, in)
	if any {
		if err := k.d.SetNode(k.ctx, f.id, a); err != nil {
			return k.status("set attributes", err)
		}
		k.changed()
	}
	n, err := k.d.Node(f.id)
	if err != nil {
		return k.status("set attributes", err)
	}
	k.fill(f, &n, &out.Attr)
	out.SetTimeout(valid)
	if n.Dir {
		k.nodes.note(in.NodeId, n.Version.Mode&syscall.S_ISGID != 0)
	}
	return fuse.OK
}

// asked returns the attributes that a request changes. The time of what is being
// written goes with it.
func (k *kernelFS) asked(f file, in *fuse.SetAttrIn) (a tree.AttributeChange, any bool) {
	if mode, ok := in.GetMode(); ok {
		a.Mode, any = &mode, true
	} else if in.Valid&fuse.FATTR_KILL_SUIDGID != 0 || in.Valid&^fuse.FATTR_FH == fuse.FATTR_CTIME {
		// That the time of change alone is set is how a chown comes that names neither
		// owner nor group. It takes the bits off like any other.
		a.Mode = k.withoutSetID(f.id, &in.InHeader)
		any = a.Mode != nil
	}
	if uid, ok := in.GetUID(); ok {
		a.UID, any = &uid, true
	}
	if gid, ok := in.GetGID(); ok {
		a.GID, any = &gid, true
	}
	if t, ok := in.GetMTime(); ok && !k.touch(f.id, t) && !k.sameTime(f.id, t) {
		a.ModTime, any = &t, true
	}
	return a, any
}

// sameTime reports whether a file has a modification time already. The kernel, which
// keeps the times of files that it writes, sends it after each rename.
func (k *kernelFS) sameTime(id store.FileID, t time.Time) bool {
	n, err := k.d.Node(id)
	return err == nil && n.Version.ModTime.Equal(t)
}

// touch sets the time of a file that is being written; it reports whether it is.
func (k *kernelFS) touch(id store.FileID, t time.Time) bool {
	i := k.d.Opened(id)
	if i == nil {
		return false
	}
	defer func() { _ = i.CloseFor(k.ctx) }()
	return i.Touch(t)
}

// withoutSetID returns the mode without the bits that give a program the rights of
// the file's owner or group; nil when it has none of them. Where the group may not
// run the file its bit means something else, and stays for who is in the group.
func (k *kernelFS) withoutSetID(id store.FileID, by *fuse.InHeader) *uint32 {
	n, err := k.d.Node(id)
	if err != nil {
		return nil
	}
	gid := k.owner.Gid
	if n.Version.GID != 0 {
		gid = n.Version.GID - 1
	}
	m := n.Version.Mode &^ syscall.S_ISUID
	if m&syscall.S_IXGRP != 0 || by.Uid != 0 && by.Gid != gid {
		m &^= syscall.S_ISGID
	}
	if m == n.Version.Mode {
		return nil
	}
	return &m
}

func (k *kernelFS) truncate(id store.FileID, size int64) error {
	i, err := k.d.Inode(id)
	if err != nil {
		return err
	}
	err = i.Truncate(size)
	k.changed()
	return errors.Join(err, i.CloseFor(k.ctx))
}

// xattrMax is the longest name of an extended attribute in bytes: XATTR_NAME_MAX.
const xattrMax = 255

// GetXAttr implements getxattr(2).
func (k *kernelFS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	f, ok := k.nodes.get(h.NodeId)
	if !ok || f.copy != nil {
		return 0, fuse.ENODATA
	}
	v, err := k.d.NodeXattr(f.id, name)
	if errors.Is(err, store.ErrNotFound) {
		return 0, fuse.ENODATA
	}
	if err != nil {
		return 0, k.status("getxattr", err)
	}
	return answer(v, dest)
}

func answer(v, dest []byte) (uint32, fuse.Status) {
	if len(v) > len(dest) {
		return uint32(len(v)), fuse.ERANGE
	}
	return uint32(copy(dest, v)), fuse.OK
}

// ListXAttr implements listxattr(2).
func (k *kernelFS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	f, ok := k.nodes.get(h.NodeId)
	if !ok || f.copy != nil {
		return 0, fuse.OK
	}
	names, err := k.d.NodeXattrs(f.id)
	if err != nil {
		return 0, k.status("listxattr", err)
	}
	var all []byte
	for _, n := range names {
		if visible(n) {
			all = append(append(all, n...), 0)
		}
	}
	return answer(all, dest)
}

// visible leaves out the attributes of other faces of the drive, whose names have no
// place among the kernel's namespaces.
func visible(name string) bool {
	for _, space := range []string{"user.", "trusted.", "security."} {
		if len(name) > len(space) && name[:len(space)] == space {
			return true
		}
	}
	return false
}

// SetXAttr implements setxattr(2).
func (k *kernelFS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, value []byte) fuse.Status {
	f, ok := k.nodes.get(in.NodeId)
	switch {
	case !ok:
		return fuse.Status(syscall.ESTALE)
	case f.copy != nil:
		return fuse.EACCES
	case name == "user." || name == "trusted." || name == "security.":
		return fuse.EINVAL
	case !visible(name):
		return fuse.Status(syscall.EOPNOTSUPP)
	case len(name) > xattrMax:
		return fuse.ERANGE
	}
	_, err := k.d.NodeXattr(f.id, name)
	there := err == nil
	switch {
	case in.Flags&xattrCreate != 0 && there:
		return fuse.Status(syscall.EEXIST)
	case in.Flags&xattrReplace != 0 && !there:
		return fuse.ENODATA
	}
	err = k.d.SetNodeXattr(k.ctx, f.id, name, append([]byte{}, value...))
	k.changed()
	return k.status("setxattr", err)
}

// The flags of setxattr(2).
const (
	xattrCreate  = 1
	xattrReplace = 2
)

// RemoveXAttr implements removexattr(2).
func (k *kernelFS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	f, ok := k.nodes.get(h.NodeId)
	if !ok || f.copy != nil {
		return fuse.EACCES
	}
	err := k.d.RemoveNodeXattr(k.ctx, f.id, name)
	if errors.Is(err, store.ErrNotFound) {
		return fuse.ENODATA
	}
	k.changed()
	return k.status("removexattr", err)
}
