package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/aether-lan/aether/store"
)

// Get brings the body of a chunk.
type Get func(ctx context.Context, r store.Ref) ([]byte, error)

// Reader reads the bytes of a Content. ReadAt may be called from several
// goroutines at once; Read and Seek are for one.
type Reader struct {
	k   *Keys
	ctx context.Context
	c   store.Content
	get Get
	off int64

	mu    sync.Mutex
	lists [maxDepth + 1]openedList // by depth: the list read last
	data  openedData               // the chunk of data read last
	ahead *fetched                 // the chunk of data that comes next
}

// openedList is a list and where in the file what it names begins.
type openedList struct {
	ref     store.Ref
	entries []entry
}

// openedData is a chunk of data.
type openedData struct {
	ref   store.Ref
	plain []byte
}

// fetched is a chunk of data being read ahead of need.
type fetched struct {
	ref   store.Ref
	done  chan struct{}
	plain []byte
	err   error
}

// ErrNegative reports a negative offset.
var ErrNegative = errors.New("chunk: negative offset")

// NewReader returns a Reader of c whose bodies come from get. ctx bounds all calls
// of get; get is called from several goroutines.
func (k *Keys) NewReader(ctx context.Context, c store.Content, get Get) *Reader {
	return &Reader{k: k, ctx: ctx, c: c, get: get}
}

// Size returns the number of bytes.
func (r *Reader) Size() int64 { return r.c.Size }

// Read implements io.Reader.
func (r *Reader) Read(b []byte) (int, error) {
	n, err := r.ReadAt(b, r.off)
	r.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.c.Size
	}
	if offset < 0 {
		return 0, ErrNegative
	}
	r.off = offset
	return offset, nil
}

// WriteTo implements io.WriterTo: it writes what is behind the current offset, a
// chunk at a time.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for r.off < r.c.Size {
		p, err := r.at(r.off)
		if err != nil {
			return n, err
		}
		m, err := w.Write(p)
		n += int64(m)
		r.off += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(b []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, ErrNegative
	}
	for n < len(b) && off+int64(n) < r.c.Size {
		p, err := r.at(off + int64(n))
		if err != nil {
			return n, err
		}
		n += copy(b[n:], p)
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// at returns the bytes of the chunk of data that holds offset off, from off on.
// off lies inside the file.
func (r *Reader) at(off int64) ([]byte, error) {
	e, begin, next, err := r.find(off)
	if err != nil {
		return nil, err
	}
	plain, err := r.load(e, next)
	if err != nil {
		return nil, err
	}
	return plain[off-begin:], nil
}

// find descends to the chunk of data that holds off: its entry, where it begins,
// and the entry behind it in the same list, if any.
func (r *Reader) find(off int64) (e entry, begin int64, next *entry, err error) {
	if r.c.Depth > maxDepth {
		return e, 0, nil, fmt.Errorf("%w: depth %d", ErrCorrupt, r.c.Depth)
	}
	e = entry{ref: r.c.Root, size: r.c.Size}
	for depth := r.c.Depth; depth > 0; depth-- {
		entries, err := r.list(depth, e)
		if err != nil {
			return e, 0, nil, err
		}
		next = nil
		for i := range entries {
			if off < begin+entries[i].size {
				e = entries[i]
				if i+1 < len(entries) {
					next = &entries[i+1]
				}
				break
			}
			begin += entries[i].size
		}
	}
	return e, begin, next, nil
}

// list returns the entries of the list e.
func (r *Reader) list(depth uint8, e entry) ([]entry, error) {
	r.mu.Lock()
	l := r.lists[depth]
	r.mu.Unlock()
	if l.ref == e.ref && l.entries != nil {
		return l.entries, nil
	}
	body, err := r.get(r.ctx, e.ref)
	if err != nil {
		return nil, err
	}
	entries, err := r.k.openList(e.ref, body, depth, e.size)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.lists[depth] = openedList{e.ref, entries}
	r.mu.Unlock()
	return entries, nil
}

// load returns the plain bytes of the chunk of data e and begins to read next.
func (r *Reader) load(e entry, next *entry) ([]byte, error) {
	r.mu.Lock()
	if r.data.ref == e.ref && r.data.plain != nil {
		p := r.data.plain
		r.mu.Unlock()
		return p, nil
	}
	f := r.ahead
	if f == nil || f.ref != e.ref {
		f = nil
	}
	if next != nil && next.ref != e.ref {
		r.ahead = r.fetch(*next)
	}
	r.mu.Unlock()
	if f == nil {
		f = &fetched{}
		f.plain, f.err = r.openData(e)
	} else {
		<-f.done
	}
	if f.err != nil {
		return nil, f.err
	}
	r.mu.Lock()
	r.data = openedData{e.ref, f.plain}
	r.mu.Unlock()
	return f.plain, nil
}

// fetch begins to read the chunk e.
func (r *Reader) fetch(e entry) *fetched {
	f := &fetched{ref: e.ref, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.plain, f.err = r.openData(e)
	}()
	return f
}

// openData brings and unseals the chunk of data e.
func (r *Reader) openData(e entry) ([]byte, error) {
	body, err := r.get(r.ctx, e.ref)
	if err != nil {
		return nil, err
	}
	plain, as, err := r.k.open(e.ref, body)
	if err != nil {
		return nil, err
	}
	if as != kindData || int64(len(plain)) != e.size || len(plain) == 0 {
		return nil, fmt.Errorf("%w: %.8s: %d bytes where %d of data belong", ErrCorrupt, e.ref, len(plain), e.size)
	}
	return plain, nil
}
