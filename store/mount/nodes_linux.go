package mount

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// file is what a number of the kernel's stands for: a node of the tree, or one of
// its losing versions, shown as a conflict copy.
type file struct {
	id   store.FileID
	copy *conflict // nil for a node itself
}

// conflict is a conflict copy that is a losing version. It is read, renamed and
// removed, but not written to in place.
type conflict struct {
	dot     store.Dot
	version tree.Version
}

// nodes gives files the 64-bit numbers by which the kernel knows them, and keeps
// them until the kernel forgets. What the kernel has cached of a number is believed
// to be right for ever: its write-back cache takes neither size nor time from us. A
// file that somebody else has written therefore gets another number, and the old one
// is only good for those who have it open.
type nodes struct {
	mu    sync.Mutex
	known map[uint64]*known
}

type known struct {
	file
	lookups uint64
	stale   bool
	setgid  bool // a directory that hands its group down
}

func newNodes() *nodes { return &nodes{known: map[uint64]*known{}} }

// ino is the inode number that programs see. It comes from the ID, so that it is the
// same on all machines and after a restart.
func (f file) ino() uint64 {
	if f.id == tree.Root {
		return fuse.FUSE_ROOT_ID
	}
	id := f.id
	if f.copy != nil {
		h := sha256.New()
		h.Write(f.id[:])
		h.Write(f.copy.dot.Machine[:])
		h.Write(binary.BigEndian.AppendUint64(nil, f.copy.dot.Seq))
		copy(id[:], h.Sum(nil))
	}
	return max(binary.BigEndian.Uint64(id[:]), fuse.FUSE_ROOT_ID+1)
}

// numbers returns the numbers that a file may have, the preferred one first.
func (f file) numbers() (n [4]uint64) {
	for i := range n {
		const golden = 0x9e3779b97f4a7c15
		n[i] = max(f.ino()+uint64(i)*golden, fuse.FUSE_ROOT_ID+1) // 0 is no number, 1 the root's
	}
	return n
}

func (f file) same(o file) bool {
	return f.id == o.id && (f.copy == nil) == (o.copy == nil) && (f.copy == nil || f.copy.dot == o.copy.dot)
}

// hold returns the file's number and counts one more lookup of it, which the kernel
// will take back with Forget. 0 means that there is none left.
func (n *nodes) hold(f file) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	var free, old uint64
	for _, k := range f.numbers() {
		h := n.known[k]
		switch {
		case h == nil && free == 0:
			free = k
		case h != nil && h.same(f) && !h.stale:
			h.file = f // its version, where it is a conflict copy
			h.lookups++
			return k
		case h != nil && h.same(f):
			old = k
		}
	}
	if free == 0 && old != 0 { // changed by others so often: it has to do
		n.known[old].lookups++
		return old
	}
	if free != 0 {
		n.known[free] = &known{file: f, lookups: 1}
	}
	return free
}

// get returns the file of a number.
func (n *nodes) get(number uint64) (file, bool) {
	if number == fuse.FUSE_ROOT_ID {
		return file{id: tree.Root}, true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[number]
	if k == nil {
		return file{}, false
	}
	return k.file, true
}

// note remembers what making files in a directory depends on.
func (n *nodes) note(number uint64, setgid bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.known[number]; k != nil {
		k.setgid = setgid
	}
}

// handsDown reports whether a directory may hand its group down to what is made in it.
func (n *nodes) handsDown(number uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[number]
	return k == nil || k.setgid
}

// forget takes lookups back.
func (n *nodes) forget(number, lookups uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := n.known[number]
	if k == nil {
		return
	}
	if k.lookups -= min(lookups, k.lookups); k.lookups == 0 {
		delete(n.known, number)
	}
}

// held returns the number of a file or directory that the kernel knows.
func (n *nodes) held(id store.FileID) (number uint64, ok bool) {
	if id == tree.Root {
		return fuse.FUSE_ROOT_ID, true
	}
	f := file{id: id}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range f.numbers() {
		if h := n.known[k]; h != nil && h.same(f) && !h.stale {
			return k, true
		}
	}
	return 0, false
}

// outdate says that a number is good only for those who have it open.
func (n *nodes) outdate(number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := n.known[number]; k != nil {
		k.stale = true
	}
}
