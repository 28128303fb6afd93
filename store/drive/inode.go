package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

const (
	// streamFrom is how many bytes in a row make writes a stream, which is cut and
	// sealed while it arrives.
	streamFrom = 4 << 20
	// overlayMax bounds the memory of what is written to one file and in no chunk
	// yet; overlaysMax that of all files.
	overlayMax  = 32 << 20
	overlaysMax = 128 << 20
)

// ErrInvalid reports a size or offset that no file can have.
var ErrInvalid = errors.New("invalid argument")

// maxSize bounds the size of a file.
const maxSize = 1<<62 - 1

// Inode is a file that is open: one for each file, whoever has it open and under
// whatever name. What is written to it is seen at once by all who read through it,
// and becomes a version of the file with Save or Sync. It is safe for concurrent
// use.
//
//	      WriteAt                     settle                    Save
//	bytes ───────► overlay, in memory ──────► chunks, in base ──────► a version
//	                  └── a long run at the end: stream ──┘
//
// Chunks of base that no version leads to are the staging area: sealed like all
// others. A process that dies leaves them as garbage, and the file as it was.
type Inode struct {
	d     *Drive
	id    store.FileID
	refs  int    // of Drive.inodes; under Drive.mu
	opens uint64 // how often it was opened again; under Drive.mu

	mu      sync.RWMutex
	made    atomic.Pointer[store.Content] // base, for who must not wait for the lock
	base    store.Content                 // what the bytes are, up to valid, where overlay and stream say nothing else
	valid   int64                         // how much of base counts
	size    int64
	over    overlay
	stream  *chunk.Writer // of base and all up to written; nil when there is none
	written int64
	changed bool      // the bytes are not those of the version dot
	behind  bool      // the version dot is perhaps not on the disk yet
	dot     store.Dot // the version that base came from
	holders []store.MachineID
	modTime time.Time // of the next version; zero: when it is made
	failed  error     // why what was written is not there; see lose
	counted int64     // bytes of over that Drive.staged knows of
	reader  *chunk.Reader
	session *session
}

// Inode opens the file id. The caller closes it. It fails with store.ErrNotFound or
// tree.ErrIsDir.
func (d *Drive) Inode(id store.FileID) (*Inode, error) {
	d.mu.Lock() // also while the node is read: what it is saved as meanwhile must not be missed
	defer d.mu.Unlock()
	if i := d.inodes[id]; i != nil {
		i.refs, i.opens = i.refs+1, i.opens+1
		return i, nil
	}
	n, err := d.cfg.Tree.Node(d.cfg.KV, id)
	if err == nil && n.Dir {
		err = tree.ErrIsDir
	}
	if err != nil {
		return nil, fmt.Errorf("drive: open %s: %w", id, err)
	}
	return d.inodeLocked(&n), nil
}

// InodeOf opens a file that has just been made.
func (d *Drive) InodeOf(n *tree.Node) *Inode {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inodeLocked(n)
}

func (d *Drive) inodeLocked(n *tree.Node) *Inode {
	if i := d.inodes[n.ID]; i != nil {
		i.refs, i.opens = i.refs+1, i.opens+1
		return i
	}
	i := &Inode{d: d, id: n.ID, refs: 1}
	i.rest(n.Version)
	d.inodes[n.ID] = i
	return i
}

// Opened returns the inode of id when somebody has it open, else nil; the caller
// closes it.
func (d *Drive) Opened(id store.FileID) *Inode {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.inodes[id]
	if i != nil {
		i.refs, i.opens = i.refs+1, i.opens+1
	}
	return i
}

// rest makes v what the file is, with nothing written to it.
func (i *Inode) rest(v tree.Version) {
	i.look(v.Content)
	i.size, i.dot, i.holders = v.Content.Size, v.Dot, v.Holders
	i.changed, i.modTime = false, time.Time{}
}

// look makes c the base. Nobody may be reading.
func (i *Inode) look(c store.Content) {
	if i.reader != nil {
		_ = i.reader.Close()
		i.reader = nil
	}
	i.base, i.valid = c, c.Size
	i.made.Store(&c)
}

// Close ends one use of the inode. The last one saves what has not been saved; what
// cannot be saved then was refused by the Save or Sync before, and is dropped.
func (i *Inode) Close() error { return i.CloseFor(i.d.cfg.Context) }

// CloseFor is Close; what it saves was changed by the origin of ctx.
func (i *Inode) CloseFor(ctx context.Context) error {
	var err error
	i.d.mu.Lock()
	defer i.d.mu.Unlock()
	for i.refs == 1 {
		opens := i.opens
		i.d.mu.Unlock()
		err = i.Save(ctx)
		i.d.mu.Lock()
		if i.opens == opens {
			break // nobody can have written to it since
		}
	}
	if i.refs--; i.refs > 0 {
		return err
	}
	delete(i.d.inodes, i.id)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over.reset()
	i.account()
	if i.stream != nil {
		i.stream.Abort()
		i.stream = nil
	}
	i.look(store.Content{})
	if i.session != nil {
		delete(i.d.sessions, i.session)
		i.d.garbage.changes.Add(1)
		i.session = nil
	}
	return err
}

// ID returns the file's ID.
func (i *Inode) ID() store.FileID { return i.id }

// Size returns the length of the file in bytes, and the modification time of what
// was written and not saved yet; zero when there is nothing such.
func (i *Inode) Size() (size int64, modTime time.Time) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.changed && i.modTime.IsZero() {
		return i.size, time.Now()
	}
	return i.size, i.modTime
}

// ReadAt reads from off on; at the end of the file it returns io.EOF.
func (i *Inode) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, ErrInvalid
	}
	i.mu.RLock()
	if i.stream != nil && off < i.written && off+int64(len(p)) > i.base.Size {
		i.mu.RUnlock()
		if err := i.endStream(); err != nil {
			return 0, err
		}
		i.mu.RLock()
	}
	defer i.mu.RUnlock()
	if off >= i.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > i.size-off {
		p, end = p[:i.size-off], io.EOF
	}
	if err := i.read(p, off); err != nil {
		return 0, err
	}
	return len(p), end
}

// read fills p, which lies within the file; the caller holds the lock.
func (i *Inode) read(p []byte, off int64) error {
	for len(p) > 0 {
		in, end := i.over.data.run(off, off+int64(len(p)))
		part := p[:end-off]
		if in {
			i.over.read(part, off)
		} else if err := i.readBelow(part, off); err != nil {
			return err
		}
		p, off = p[len(part):], end
	}
	return nil
}

// readBelow reads where nothing has been written.
func (i *Inode) readBelow(p []byte, off int64) error {
	for len(p) > 0 {
		zero, end := i.over.zero.run(off, off+int64(len(p)))
		part := p[:end-off]
		switch {
		case zero || off >= i.valid:
			clear(part)
		default:
			if end > i.valid {
				end = i.valid
				part = p[:end-off]
			}
			if _, err := i.chunks().ReadAt(part, off); err != nil && err != io.EOF {
				return err
			}
		}
		p, off = p[len(part):], end
	}
	return nil
}

// chunks returns the reader of base; the caller holds the lock, for reading at
// least.
func (i *Inode) chunks() *chunk.Reader {
	i.d.readers.Lock()
	defer i.d.readers.Unlock()
	if i.reader == nil {
		i.reader = i.d.cfg.Keys.NewReader(i.d.cfg.Context, i.base, i.get).TakeBodies()
	}
	return i.reader
}

// get brings the body of a chunk. Another machine that does not answer makes an
// error of it, not a program that hangs.
func (i *Inode) get(ctx context.Context, ref store.Ref) ([]byte, error) {
	began := time.Now()
	b, err := i.d.body(ctx, ref)
	if err == nil {
		i.d.activity.read(b)
		i.d.activity.disk.since(began)
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return i.d.Body(ctx, ref, i.holders)
}

// fetchTime bounds how long a reader waits for a chunk that is on other machines.
const fetchTime = 30 * time.Second
