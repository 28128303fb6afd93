package mount

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// listing is a directory that a program reads. Places in it are numbered: 1 and 2 are
// "." and "..", and the entries follow in the order of names. Going on behind an
// entry means behind its name, so that nothing is lost or doubled where entries come
// and go.
type listing struct {
	dir store.FileID

	mu    sync.Mutex
	names []string // of the places from 3 on, as far as they were handed out
	first uint64   // the place of names[0]
}

// namesKept bounds the names that a listing remembers. A program that seeks further
// back than that in a larger directory begins it anew.
const namesKept = 1 << 16

// OpenDir implements opendir(3).
func (k *kernelFS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	f, ok := k.nodes.get(in.NodeId)
	if !ok {
		return fuse.Status(syscall.ESTALE)
	}
	out.Fh = k.handles.add(&listing{dir: f.id, first: 3})
	return fuse.OK
}

// ReleaseDir ends a listing.
func (k *kernelFS) ReleaseDir(in *fuse.ReleaseIn) { k.handles.take(in.Fh) }

// FsyncDir brings names to the disk.
func (k *kernelFS) FsyncDir(_ <-chan struct{}, _ *fuse.FsyncIn) fuse.Status {
	return k.status("fsync", k.d.Sync(k.ctx))
}

// after returns the name behind which the place off lies.
func (l *listing) after(off uint64) (string, bool) {
	switch {
	case off < 3:
		l.names, l.first = l.names[:0], 3
		return "", true
	case off < l.first || off-l.first >= uint64(len(l.names)):
		return "", false
	}
	return l.names[off-l.first], true
}

// handed notes that name was handed out as the place off.
func (l *listing) handed(off uint64, name string) {
	if at := off - l.first; at < uint64(len(l.names)) {
		l.names = l.names[:at]
	}
	if len(l.names) == namesKept {
		half := copy(l.names, l.names[namesKept/2:])
		l.names, l.first = l.names[:half], l.first+namesKept/2
	}
	l.names = append(l.names, name)
}

// ReadDir implements readdir(3) by names alone.
func (k *kernelFS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return k.list(in, func(e fuse.DirEntry, _ *tree.Entry) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus implements readdir(3) with what a stat(2) of each entry would say.
func (k *kernelFS) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return k.list(in, func(e fuse.DirEntry, entry *tree.Entry) bool {
		o := out.AddDirLookupEntry(e)
		if o == nil || entry == nil {
			return o != nil
		}
		if f, n, err := k.foundEntry(entry); err == nil {
			k.entered(f, &n, o)
		}
		return true
	})
}

// list calls add with entries from where the request says on, until it has no room.
func (k *kernelFS) list(in *fuse.ReadIn, add func(fuse.DirEntry, *tree.Entry) bool) fuse.Status {
	l, ok := k.handles.get(in.Fh).(*listing)
	if !ok {
		return fuse.EBADF
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	off := in.Offset
	for ; off < 2; off++ {
		e := fuse.DirEntry{Mode: syscall.S_IFDIR, Name: ".", Ino: file{id: l.dir}.ino(), Off: off + 1}
		if off == 1 {
			parent, err := k.d.Parent(l.dir)
			if err != nil {
				parent = l.dir
			}
			e.Name, e.Ino = "..", file{id: parent}.ino()
		}
		if !add(e, nil) {
			return fuse.OK
		}
	}
	after, ok := l.after(off)
	if !ok {
		return fuse.EINVAL
	}
	err := k.d.Children(l.dir, after, func(e tree.Entry) bool {
		name := e.Name()
		d := fuse.DirEntry{Mode: typeOf(e.Dir, e.Version.Mode), Name: name, Ino: file{id: e.ID}.ino(), Off: off + 1}
		if !add(d, &e) {
			return false
		}
		off++
		l.handed(off, name)
		return true
	})
	return k.status("readdir", err)
}
