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
		i.reader = i.d.cfg.Keys.NewReader(i.d.cfg.Context, i.base, i.get)
	}
	return i.reader
}

// get brings the body of a chunk. Another machine that does not answer makes an
// error of it, not a program that hangs.
func (i *Inode) get(ctx context.Context, ref store.Ref) ([]byte, error) {
	b, err := i.d.cfg.Bodies.Get(ref)
	if err == nil {
		i.d.activity.read(b)
		return b, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	return i.d.Body(ctx, ref, i.holders)
}

// fetchTime bounds how long a reader waits for a chunk that is on other machines.
const fetchTime = 30 * time.Second

// WriteAt writes p at off. What lies between the end of the file and off becomes
// zero. It fails where the disk is full or broken. What a stream had taken is then
// lost, and the same error is the answer to all that follows until the file is
// truncated to nothing or closed by all: a file with a hole in it is never saved.
func (i *Inode) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > maxSize-int64(len(p)) {
		return 0, ErrInvalid
	}
	if len(p) == 0 {
		return 0, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	defer i.account()
	if err := i.begin(off); err != nil {
		return 0, err
	}
	i.size = max(i.size, off+int64(len(p)))
	if i.stream != nil && off == i.written && i.over.empty() {
		return i.append(p)
	}
	i.over.write(p, off)
	if i.stream != nil || i.runs() {
		if err := i.pour(); err != nil {
			return 0, err
		}
	}
	if i.over.size() > overlayMax || i.account() > overlaysMax && i.over.size() > streamFrom/4 {
		if err := i.settle(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// append writes p to the stream. The caller holds the lock.
func (i *Inode) append(p []byte) (int, error) {
	n, err := i.stream.Write(p)
	if err != nil {
		i.lose(err)
		return 0, err
	}
	i.written += int64(n)
	return n, nil
}

// begin prepares for a change of the bytes from off on; the caller holds the lock.
func (i *Inode) begin(off int64) error {
	if i.failed != nil {
		return i.failed
	}
	if i.stream != nil && off < i.written {
		if err := i.closeStream(); err != nil {
			return err
		}
	}
	i.changed, i.modTime = true, time.Time{}
	if i.session == nil {
		i.session = i.d.begin()
	}
	return nil
}

// account brings the drive's count of bytes in overlays up to date and returns it.
func (i *Inode) account() int64 {
	by := i.over.size() - i.counted
	i.counted += by
	return i.d.staged.Add(by)
}

// runs reports that what has been written is a long run at the end of the file.
func (i *Inode) runs() bool {
	if i.valid != i.base.Size || i.over.size() < streamFrom {
		return false
	}
	in, end := i.over.data.run(i.base.Size, i.size)
	return in && end-i.base.Size >= streamFrom
}

// pour lets what has been written at the end of the stream into it, and begins the
// stream where there is none. The caller holds the lock.
func (i *Inode) pour() (err error) {
	if i.stream == nil {
		if i.base.Size == 0 {
			i.stream = i.d.cfg.Keys.NewWriter(i.session.put, i.session.have)
		} else if i.stream, err = i.d.cfg.Keys.NewAppender(i.d.cfg.Context, i.base, i.get, i.session.put, i.session.have); err != nil {
			i.stream = nil
			return err
		}
		i.written = i.base.Size
	}
	i.written, err = i.over.taken(i.written, func(p []byte) error {
		_, err := i.stream.Write(p)
		return err
	})
	if err != nil {
		i.lose(err)
	}
	return err
}

// lose gives up a stream that cannot go on, as on a full disk: what it had taken is
// gone, and the file is what was saved last.
func (i *Inode) lose(why error) {
	i.stream.Abort()
	i.stream = nil
	i.over.reset()
	v := tree.Version{Content: i.base, Dot: i.dot, Holders: i.holders}
	if n, err := i.d.cfg.Tree.Node(i.d.cfg.KV, i.id); err == nil {
		v = n.Version
	}
	i.rest(v)
	i.failed = why
}

// endStream makes the bytes of the stream readable.
func (i *Inode) endStream() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closeStream()
}

// closeStream makes the stream the base; the caller holds the lock.
func (i *Inode) closeStream() error {
	if i.stream == nil {
		return nil
	}
	c, err := i.stream.Close()
	if err != nil {
		i.lose(err)
		return err
	}
	i.stream = nil
	i.look(c)
	return nil
}

// Truncate makes the file size bytes long; what is new is zero.
func (i *Inode) Truncate(size int64) error {
	if size < 0 || size > maxSize {
		return ErrInvalid
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	defer i.account()
	if size == 0 {
		i.failed = nil
	}
	if err := i.begin(size); err != nil {
		return err
	}
	i.over.drop(size, maxSize)
	i.valid = min(i.valid, size)
	i.size = size
	if size == 0 && i.stream == nil {
		i.look(store.Content{})
	}
	return nil
}

// Zero makes [from, to) zero, without making the file longer.
func (i *Inode) Zero(from, to int64) error {
	if from < 0 || to < from {
		return ErrInvalid
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	defer i.account()
	if to = min(to, i.size); from >= to {
		return nil
	}
	if err := i.begin(from); err != nil {
		return err
	}
	i.over.clear(from, to)
	return nil
}

// Touch sets the modification time of a file that has been written to. It reports
// whether it did: that of another is an attribute of the file.
func (i *Inode) Touch(t time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed {
		i.modTime = t
	}
	return i.changed
}

// settle makes all that has been written part of base, as chunks on the disk. The
// caller holds the lock.
func (i *Inode) settle() error {
	if i.failed != nil {
		return i.failed
	}
	if i.stream != nil {
		if err := i.pour(); err != nil {
			return err
		}
		if err := i.closeStream(); err != nil {
			return err
		}
	}
	if i.over.empty() && i.size == i.base.Size && i.valid == i.size {
		return nil
	}
	if in, end := i.over.data.run(0, i.size); i.base.Size == 0 && in && end == i.size {
		return i.settleNew()
	}
	dirty, zero := i.over.dirty(), append(spans(nil), i.over.zero...)
	// What base has behind valid was cut off once: where the file is longer again it
	// is zero, but for what was written.
	for off := i.valid; off < min(i.size, i.base.Size); {
		in, end := dirty.run(off, min(i.size, i.base.Size))
		if !in {
			zero = zero.add(off, end)
		}
		off = end
	}
	dirty = dirty.add(i.valid, min(i.size, i.base.Size))
	// Behind base all that was not written is zero.
	for off := i.base.Size; off < i.size; {
		in, end := i.over.data.run(off, i.size)
		if !in {
			zero = zero.add(off, end)
		}
		off = end
	}
	c, err := i.d.cfg.Keys.Rewrite(i.d.cfg.Context, chunk.Change{
		Base: i.base, Size: i.size, Dirty: dirty, Zero: zero, ReadAt: i.read,
	}, i.get, i.session.put, i.session.have)
	if err != nil {
		return err
	}
	i.over.reset()
	i.look(c)
	return nil
}

// settleNew is settle for a file that is all in the overlay.
func (i *Inode) settleNew() error {
	w := i.d.cfg.Keys.NewWriter(i.session.put, i.session.have)
	err := i.over.each(i.size, func(p []byte) error {
		_, err := w.Write(p)
		return err
	})
	if err != nil {
		w.Abort()
		return err
	}
	c, err := w.Close()
	if err != nil {
		return err
	}
	i.over.reset()
	i.look(c)
	return nil
}

// Save makes what has been written a new version of the file, which all see. It is
// on the disk after the next Sync of anything. A file without a name keeps its bytes
// and gets no version.
func (i *Inode) Save(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.save(ctx)
}

func (i *Inode) save(ctx context.Context) error {
	if i.failed != nil {
		return i.failed
	}
	if !i.changed {
		return nil
	}
	defer i.account()
	if err := i.settle(); err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	if err := i.d.cfg.Bodies.Sync(); err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	var now tree.Version
	gone := false
	err := i.d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, at time.Time) ([]tree.Op, []tree.Event, error) {
		n, err := t.Node(tx, i.id)
		if err != nil {
			return nil, nil, err
		}
		if gone = n.Links == 0; gone {
			return nil, nil, nil
		}
		v := tree.Version{Content: i.base, ModTime: i.modTime, Holders: i.d.chosen(n.Version, i.base)}
		if v.ModTime.IsZero() {
			v.ModTime = at
		}
		ops, events, err := t.WriteNode(tx, i.id, i.dot, v, at)
		if err != nil {
			return nil, nil, err
		}
		if n, err = t.Node(tx, i.id); err == nil {
			now = n.Version
		}
		return ops, events, err
	})
	if err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	if gone {
		return nil
	}
	i.session.forget()
	if now.Content == i.base {
		i.dot, i.holders = now.Dot, now.Holders
	} else { // somebody else's version won: ours is a conflict copy now
		i.rest(now)
	}
	i.changed, i.modTime, i.behind = false, time.Time{}, true
	return nil
}

// Unsaved reports whether something was written that Sync has not brought to the
// disk.
func (i *Inode) Unsaved() bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.changed || i.behind || i.failed != nil
}

// Sync is Save, and returns when the version is on the disk.
func (i *Inode) Sync(ctx context.Context) error {
	i.mu.Lock()
	err := i.save(ctx)
	i.behind = false // whoever saves meanwhile sets it again
	i.mu.Unlock()
	if err == nil {
		err = i.d.Sync(ctx)
	}
	if err != nil {
		i.mu.Lock()
		i.behind = true
		i.mu.Unlock()
	}
	return err
}

// refresh takes in a version that came from elsewhere, unless something was written
// here. It reports whether the bytes are others now.
func (i *Inode) refresh() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed || i.failed != nil {
		return false
	}
	n, err := i.d.cfg.Tree.Node(i.d.cfg.KV, i.id)
	if err != nil || n.Links == 0 || n.Version.Dot == i.dot {
		return false
	}
	i.rest(n.Version)
	return true
}
