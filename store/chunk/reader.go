package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/aether-lan/aether/store"
)

const (
	keptLists = 32 // about a megabyte
	// readAhead is how many bytes are fetched and opened while reading goes forward,
	// in at least so many chunks.
	readAhead      = 2 << 20
	leastReadAhead = 3
	// keptChunks is how many chunks of data are kept that have been read.
	keptChunks = 8
	// fetchers bounds the goroutines that fetch ahead.
	fetchers = 4
	// window is how far from where reading has come to a read may be and still be
	// reading forward: a kernel's read-ahead asks from several threads, out of order.
	window = 2 << 20
)

// aheadAt returns how many chunks are read ahead behind an offset.
func aheadAt(off int64) int { return max(leastReadAhead, readAhead/sizesAt(off).normal) }

// Reader reads a Content. ReadAt is safe for concurrent use, Read and Seek are not
// with one another. It keeps a few chunks, and while reading goes forward fetches
// some ahead in goroutines that end with Close. It implements [io.ReaderAt],
// [io.ReadSeekCloser] and [io.WriterTo].
type Reader struct {
	k      *Keys
	c      store.Content
	get    func(context.Context, store.Ref) ([]byte, error)
	ctx    context.Context
	cancel context.CancelFunc
	once   context.Context // ctx, for chunks that are read once; see ReadOnce
	inside bool            // bodies are opened in their own memory

	offset int64 // of Read and Seek

	mu       sync.Mutex
	next     int64 // the end of the last chunk read: reading on from there is forward
	near     int   // reads in a row that were near next
	reached  int64 // the end of what has been fetched ahead
	fetching int   // goroutines that fetch ahead
	lists    cache[[]Part]
	chunks   cache[[]byte] // what has been read
	waiting  cache[[]byte] // what was fetched ahead and has not been read
	wg       sync.WaitGroup
}

type onceKey struct{}

// ReadOnce reports whether the Reader that asks for a chunk with ctx goes through a file
// from front to back, and so will not ask for the same chunk soon.
func ReadOnce(ctx context.Context) bool { return ctx.Value(onceKey{}) != nil }

// NewReader returns a Reader of c whose bodies come from get, which may be called
// concurrently and must keep to its context. The caller ends it with Close.
func (k *Keys) NewReader(ctx context.Context, c store.Content, get func(context.Context, store.Ref) ([]byte, error)) *Reader {
	r := &Reader{k: k, c: c, get: get}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.once = context.WithValue(r.ctx, onceKey{}, true)
	r.lists.limit, r.chunks.limit = keptLists, keptChunks
	return r
}

// TakeBodies makes the bodies that get returns the Reader's: they are opened where they
// lie, without memory for a second copy. Nobody else may use them. It is called before
// the first read, and returns the Reader.
func (r *Reader) TakeBodies() *Reader {
	r.inside = true
	return r
}

// Size returns the length of the file in bytes.
func (r *Reader) Size() int64 { return r.c.Size }

// Close ends calls in progress and waits for what was being fetched ahead.
func (r *Reader) Close() error {
	r.mu.Lock()
	r.cancel() // start looks at ctx under the lock
	r.mu.Unlock()
	r.wg.Wait()
	return nil
}

// Read reads from where the last Read or Seek ended.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.read(p, r.offset)
	r.offset += int64(n)
	return n, err
}

// Seek sets where the next Read begins; it may be behind the end.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.offset
	case io.SeekEnd:
		offset += r.c.Size
	default:
		return 0, fmt.Errorf("chunk: seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("chunk: seek: before the start")
	}
	r.offset = offset
	return offset, nil
}

// WriteTo writes the rest of the file to w, chunk by chunk.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	for r.offset < r.c.Size {
		b, err := r.at(r.offset)
		if err != nil {
			return n, err
		}
		m, err := w.Write(b)
		n, r.offset = n+int64(m), r.offset+int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// ReadAt implements [io.ReaderAt]. Errors are those of get, and [ErrCorrupt] for a
// body that is not what it should be.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.read(p[n:], off+int64(n))
		n += m
	}
	return n, err
}

// read reads from one chunk.
func (r *Reader) read(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("chunk: read: before the start")
	}
	if off >= r.c.Size {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.at(off)
	return copy(p, b), err
}

// at returns the bytes from off to the end of the chunk that holds it. They are
// shared and must not be changed.
func (r *Reader) at(off int64) ([]byte, error) {
	if r.ctx.Err() != nil { // also where the chunk is at hand
		return nil, context.Cause(r.ctx)
	}
	p, err := r.find(off)
	if err != nil {
		return nil, err
	}
	f, mine, ctx := r.start(p)
	if mine {
		r.fetch(ctx, p, f)
	}
	select {
	case <-f.done:
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.value[off-p.Offset:], nil
}

// start returns the fetch of the data p, new or not, and sees to those ahead of it. ctx
// is for the one who has to fetch it.
func (r *Reader) start(p Part) (f *fetch[[]byte], mine bool, ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f = r.waiting.take(p.Ref); f != nil {
		r.chunks.put(p.Ref, f)
	} else {
		f, mine = r.chunks.get(p.Ref)
	}
	if p.Offset+p.Size == r.next || r.ctx.Err() != nil {
		return f, mine, r.ctx // the same chunk again
	}
	forward := p.Offset == r.next
	switch {
	case p.Offset < r.next-window || p.Offset > r.next+window: // a jump: forget what was ahead
		r.reached, r.near, r.next = 0, 0, p.Offset+p.Size
	default:
		r.near++
		forward = forward || r.near > 2
		r.next = max(r.next, p.Offset+p.Size)
	}
	for range 2 { // one for the chunk now used up, one to get further ahead
		if forward && r.fetching < fetchers && r.next < r.c.Size {
			r.fetching++
			r.wg.Go(r.ahead)
		}
	}
	if ctx = r.ctx; forward && r.near > 0 {
		ctx = r.once
	}
	return f, mine, ctx
}

// ahead fetches the first chunk ahead that nobody has fetched. An error is left for
// whoever reads there.
func (r *Reader) ahead() {
	r.mu.Lock()
	defer func() { r.fetching--; r.mu.Unlock() }()
	off := max(r.next, r.reached)
	if off >= r.c.Size || off-r.next > int64(aheadAt(off)*sizesAt(off).normal) {
		return
	}
	r.mu.Unlock()
	p, err := r.find(off)
	r.mu.Lock()
	if err != nil || p.Offset < max(r.next, r.reached) {
		return // it has been read, or is being fetched, meanwhile
	}
	r.reached = p.Offset + p.Size
	if r.chunks.entries[p.Ref] != nil {
		return
	}
	// Twice what is read ahead: only what was jumped over is ever pushed out.
	r.waiting.limit = 2 * aheadAt(off)
	if f, mine := r.waiting.get(p.Ref); mine {
		r.mu.Unlock()
		r.fetch(r.once, p, f)
		r.mu.Lock()
	}
}

// fetch gets and opens the data p.
func (r *Reader) fetch(ctx context.Context, p Part, f *fetch[[]byte]) {
	body, err := r.get(ctx, p.Ref)
	if err == nil {
		var into []byte
		if r.inside && len(body) >= headSize+nonceSize {
			into = body[headSize+nonceSize:]
		}
		f.value, err = r.k.opened(data, p.Ref, body, into)
	}
	if err == nil && int64(len(f.value)) != p.Size {
		err = fmt.Errorf("%w: %s has %d bytes, listed with %d", ErrCorrupt, p.Ref, len(f.value), p.Size)
	}
	if f.err = err; err != nil {
		r.forget(func() { r.chunks.drop(p.Ref, f); r.waiting.drop(p.Ref, f) })
	}
	close(f.done)
}

func (r *Reader) forget(drop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	drop()
}

// find descends to the chunk of data that holds off.
func (r *Reader) find(off int64) (Part, error) {
	p, _ := Root(r.c)
	for p.Depth > 0 {
		parts, err := r.list(p)
		if err != nil {
			return Part{}, err
		}
		i := sort.Search(len(parts), func(i int) bool { return parts[i].Offset+parts[i].Size > off-p.Offset })
		q := parts[i]
		q.Offset += p.Offset
		p = q
	}
	return p, nil
}

// list returns what p lists, with offsets that count from the start of p: the same
// list may occur at several places.
func (r *Reader) list(p Part) ([]Part, error) {
	r.mu.Lock()
	f, mine := r.lists.get(p.Ref)
	r.mu.Unlock()
	if mine {
		body, err := r.get(r.ctx, p.Ref)
		if err == nil {
			q := p
			q.Offset = 0
			f.value, err = r.k.Children(q, body)
		}
		if f.err = err; err != nil {
			r.forget(func() { r.lists.drop(p.Ref, f) })
		}
		close(f.done)
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	}
}

// fetch is a value that is on its way until done is closed.
type fetch[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// cache keeps the limit values used last. Values on their way count too, so that
// nothing is fetched twice at a time. The caller holds the lock.
type cache[T any] struct {
	limit   int
	entries map[store.Ref]*fetch[T]
	order   []store.Ref // the one used last at the end
}

// get returns the value of ref; when it is mine the caller has to fetch it.
func (c *cache[T]) get(ref store.Ref) (f *fetch[T], mine bool) {
	f, ok := c.entries[ref]
	if ok {
		for i, o := range c.order {
			if o == ref {
				copy(c.order[i:], c.order[i+1:])
				c.order[len(c.order)-1] = ref
				break
			}
		}
		return f, false
	}
	f = &fetch[T]{done: make(chan struct{})}
	c.put(ref, f)
	return f, true
}

// put adds f, which the cache does not have.
func (c *cache[T]) put(ref store.Ref, f *fetch[T]) {
	for len(c.order) >= c.limit {
		delete(c.entries, c.order[0])
		c.order = c.order[:copy(c.order, c.order[1:])]
	}
	if c.entries == nil {
		c.entries = map[store.Ref]*fetch[T]{}
	}
	c.entries[ref] = f
	c.order = append(c.order, ref)
}

// take removes the value of ref and returns it, nil when there is none.
func (c *cache[T]) take(ref store.Ref) *fetch[T] {
	f := c.entries[ref]
	if f != nil {
		c.drop(ref, f)
	}
	return f
}

// drop forgets f, so that the next to ask tries again.
func (c *cache[T]) drop(ref store.Ref, f *fetch[T]) {
	if c.entries[ref] != f {
		return
	}
	delete(c.entries, ref)
	for i, o := range c.order {
		if o == ref {
			c.order = append(c.order[:i], c.order[i+1:]...)
			return
		}
	}
}
