package drive

import (
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

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
