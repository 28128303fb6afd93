package mount

import (
	"errors"
	"syscall"
	"unicode/utf8"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// checkName says which names the drive cannot have. The kernel has taken care of
// slashes, "." and "..".
func checkName(name string) fuse.Status {
	switch {
	case len(name) > 255:
		return fuse.Status(syscall.ENAMETOOLONG)
	case !utf8.ValidString(name):
		return fuse.Status(syscall.EILSEQ)
	}
	return fuse.OK
}

// place returns the place that a request names.
func (k *kernelFS) place(dir uint64, name string) (tree.Place, fuse.Status) {
	f, ok := k.nodes.get(dir)
	if !ok {
		return tree.Place{}, fuse.Status(syscall.ESTALE)
	}
	return tree.Place{Dir: f.id, Name: name}, checkName(name)
}

// entered answers with a file that is under a name.
func (k *kernelFS) entered(f file, n *tree.Node, out *fuse.EntryOut) fuse.Status {
	if out.NodeId = k.nodes.hold(f); out.NodeId == 0 {
		return fuse.EIO
	}
	out.Generation = 1
	k.fill(f, n, &out.Attr)
	if n.Dir {
		k.nodes.note(out.NodeId, n.Version.Mode&syscall.S_ISGID != 0)
	}
	out.SetEntryTimeout(valid)
	out.SetAttrTimeout(valid)
	return fuse.OK
}

// fileOf returns what an entry of a directory stands for.
func fileOf(e *tree.Entry, n *tree.Node) file {
	if e.Dir || e.Version.Dot == n.Version.Dot {
		return file{id: e.ID}
	}
	return file{id: e.ID, copy: &conflict{dot: e.Version.Dot, version: e.Version}}
}

// found looks a name up.
func (k *kernelFS) found(at tree.Place) (file, tree.Node, error) {
	e, err := k.d.Child(at.Dir, at.Name)
	if err != nil {
		return file{}, tree.Node{}, err
	}
	return k.foundEntry(&e)
}

func (k *kernelFS) foundEntry(e *tree.Entry) (file, tree.Node, error) {
	n, err := k.d.Node(e.ID)
	if err != nil {
		return file{}, n, err
	}
	f := fileOf(e, &n)
	if f.copy != nil {
		n, err = k.node(f)
	}
	return f, n, err
}

// Lookup implements the step from a directory to what lies in it.
func (k *kernelFS) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	at, st := k.place(h.NodeId, name)
	if st == fuse.Status(syscall.EILSEQ) {
		return fuse.ENOENT
	}
	if st != fuse.OK {
		return st
	}
	f, n, err := k.found(at)
	if errors.Is(err, store.ErrNotFound) {
		out.SetEntryTimeout(valid) // that there is nothing is kept too
		return fuse.OK
	}
	if err != nil {
		return k.status("lookup", err)
	}
	return k.entered(f, &n, out)
}

// Forget takes lookups back.
func (k *kernelFS) Forget(number, lookups uint64) { k.nodes.forget(number, lookups) }

// created makes a file or directory for the caller of a request.
func (k *kernelFS) created(h *fuse.InHeader, name string, mode uint32) (file, tree.Node, fuse.Status) {
	at, st := k.place(h.NodeId, name)
	if st != fuse.OK {
		return file{}, tree.Node{}, st
	}
	v, st := k.belongs(h, at, mode)
	if st != fuse.OK {
		return file{}, tree.Node{}, st
	}
	dir := mode&syscall.S_IFMT == syscall.S_IFDIR
	n, err := k.d.CreateAt(k.ctx, at, dir, v)
	if err != nil {
		return file{}, n, k.status("create", err)
	}
	k.changed()
	return file{id: n.ID}, n, fuse.OK
}

// belongs returns the attributes of a new file: the caller's, but for the group of a
// directory that hands its own down. What belongs to whoever mounts the drive has no
// owner: numbers of users mean nothing on other machines.
func (k *kernelFS) belongs(h *fuse.InHeader, at tree.Place, mode uint32) (v tree.Version, st fuse.Status) {
	v.Mode = mode & 0o7777
	if t := mode & syscall.S_IFMT; t != syscall.S_IFREG && t != syscall.S_IFDIR {
		v.Mode |= t
	}
	if h.Uid != k.owner.Uid {
		v.UID = h.Uid + 1
	}
	if h.Gid != k.owner.Gid {
		v.GID = h.Gid + 1
	}
	if !k.nodes.handsDown(h.NodeId) {
		return v, fuse.OK
	}
	parent, err := k.d.Node(at.Dir)
	switch {
	case err != nil:
		return v, k.status("create", err)
	case parent.Version.Mode&syscall.S_ISGID == 0:
		return v, fuse.OK
	}
	v.GID = parent.Version.GID
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		v.Mode |= syscall.S_ISGID
	}
	return v, fuse.OK
}

// Mkdir implements mkdir(2).
func (k *kernelFS) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	f, n, st := k.created(&in.InHeader, name, in.Mode&0o7777|syscall.S_IFDIR)
	if st != fuse.OK {
		return st
	}
	return k.entered(f, &n, out)
}

// Mknod makes files, pipes and sockets.
func (k *kernelFS) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	mode := in.Mode
	switch mode & syscall.S_IFMT {
	case 0:
		mode |= syscall.S_IFREG
	case syscall.S_IFREG, syscall.S_IFIFO, syscall.S_IFSOCK:
	default:
		return fuse.EPERM
	}
	f, n, st := k.created(&in.InHeader, name, mode)
	if st != fuse.OK {
		return st
	}
	return k.entered(f, &n, out)
}

// Symlink implements symlink(2).
func (k *kernelFS) Symlink(_ <-chan struct{}, h *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	at, st := k.place(h.NodeId, name)
	if st != fuse.OK {
		return st
	}
	v, st := k.belongs(h, at, syscall.S_IFLNK|0o777)
	if st != fuse.OK {
		return st
	}
	n, err := k.d.SymlinkAt(k.ctx, at, target, v)
	if err != nil {
		return k.status("symlink", err)
	}
	k.changed()
	return k.entered(file{id: n.ID}, &n, out)
}

// Link implements link(2).
func (k *kernelFS) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	at, st := k.place(in.NodeId, name)
	if st != fuse.OK {
		return st
	}
	f, ok := k.nodes.get(in.Oldnodeid)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	if f.copy != nil {
		return fuse.EPERM
	}
	n, err := k.d.Node(f.id)
	switch {
	case err != nil:
		return k.status("link", err)
	case n.Links == 0: // the kernel lets only those pass that were made without a name
		err = k.d.NameAt(k.ctx, f.id, at)
	default:
		err = k.d.LinkAt(k.ctx, f.id, at)
	}
	if errors.Is(err, tree.ErrIsDir) {
		return fuse.EPERM
	}
	if err != nil {
		return k.status("link", err)
	}
	k.changed()
	if n, err = k.d.Node(f.id); err != nil {
		return k.status("link", err)
	}
	return k.entered(f, &n, out)
}

// Unlink implements unlink(2).
func (k *kernelFS) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return k.remove(h, name)
}

// Rmdir implements rmdir(2).
func (k *kernelFS) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return k.remove(h, name)
}

func (k *kernelFS) remove(h *fuse.InHeader, name string) fuse.Status {
	at, st := k.place(h.NodeId, name)
	if st != fuse.OK {
		return st
	}
	err := k.d.RemoveAt(k.ctx, at)
	if err == nil {
		k.changed()
	}
	return k.status("remove", err)
}

// Rename implements renameat2(2).
func (k *kernelFS) Rename(_ <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	from, st := k.place(in.NodeId, oldName)
	if st != fuse.OK {
		return st
	}
	to, st := k.place(in.Newdir, newName)
	if st != fuse.OK {
		return st
	}
	how := tree.Replace
	switch in.Flags {
	case 0:
	case unix.RENAME_NOREPLACE:
		how = tree.NoReplace
	case unix.RENAME_EXCHANGE:
		how = tree.Exchange
	default:
		return fuse.EINVAL
	}
	err := k.d.RenameAt(k.ctx, from, to, how)
	if err == nil {
		k.changed()
	}
	return k.status("rename", err)
}
