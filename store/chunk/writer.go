package chunk

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/aether-lan/aether/store"
)

// ErrClosed reports the use of a Writer or Reader after its end.
var ErrClosed = errors.New("chunk: closed")

const (
	firstBlock = 64 << 10 // a small file needs no more memory than this
	wholeBlock = 2 << 20
	stride     = 256 << 10 // bytes taken in between two looks for a cut
	// depth is how many chunks a processor may wait to be sealed.
	depth = 16
	// After so many chunks in a row that did not shrink, only every eighth is
	// tried until one shrinks.
	dullAfter = 8
	dullTry   = 8
)

// Writer cuts what is written to it and hands the sealed chunks to put. Cutting is
// done where Write is called, all else by one goroutine a processor, which starts
// with the second chunk and ends with Close or Abort. Memory is bounded by 16 chunks
// a processor, typically a megabyte for files below a GiB and 16 for those over
// 8 GiB. A Writer is not safe for concurrent use.
//
// Chunks of data are put from several goroutines at once and in any order; a list
// is put after everything it lists, in the goroutine that writes.
type Writer struct {
	k    *Keys
	g    *generation // what is sealed under
	put  func(Sealed) error
	have func(store.Ref) bool

	block *block // holds what is not yet cut: block.b[start:]
	start int
	size  int64 // bytes cut
	tree  tree

	jobs  chan *job
	queue []*job // handed out, in the order of the file
	wg    sync.WaitGroup
	dull  atomic.Int64 // chunks in a row that did not shrink
	err   error        // first error, or ErrClosed
}

// block is memory that chunks in work share; it is used again when nobody does.
type block struct {
	b    []byte
	refs atomic.Int32
}

var (
	blocks      = sync.Pool{New: func() any { return &block{b: make([]byte, 0, wholeBlock)} }}
	firstBlocks = sync.Pool{New: func() any { return &block{b: make([]byte, 0, firstBlock)} }}
)

func (b *block) release() {
	if b.refs.Add(-1) != 0 {
		return
	}
	switch cap(b.b) {
	case wholeBlock:
		blocks.Put(b)
	case firstBlock:
		firstBlocks.Put(b)
	}
}

// bodies keeps the memory of bodies that put has done with.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// job is a chunk of data on its way: plain goes to a worker, ref or err comes back.
type job struct {
	plain []byte
	block *block
	ref   store.Ref
	err   error
	done  chan struct{}
}

// NewWriter returns a Writer that hands chunks to put. A chunk for which have
// returns true is neither sealed nor put; nil means that nothing is there. Both
// must be safe for concurrent use. The body is put's until put returns; its memory
// is then used again. The caller ends the Writer with Close or Abort.
func (k *Keys) NewWriter(put func(Sealed) error, have func(store.Ref) bool) *Writer {
	if have == nil {
		have = func(store.Ref) bool { return false }
	}
	w := &Writer{k: k, g: k.current(), put: put, have: have}
	w.tree.write, w.tree.under = w.writeList, w.g.number
	return w
}

// Write takes p, and returns the first error that put has returned so far.
func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) && w.err == nil {
		room := w.room()
		m := copy(room, p[n:])
		n += m
		w.wrote(m)
	}
	return n, w.err
}

// ReadFrom reads r to its end, without the copy that Write makes.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for idle := 0; w.err == nil; idle++ {
		m, err := r.Read(w.room())
		if m > 0 {
			idle = 0
		}
		n += int64(m)
		w.wrote(m)
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
		if idle == 100 {
			return n, io.ErrNoProgress
		}
	}
	return n, w.err
}

// wrote takes in n bytes that have been put into room and cuts where it can: the
// longest possible chunk has to be there.
func (w *Writer) wrote(n int) {
	w.block.b = w.block.b[:len(w.block.b)+n]
	for s := sizesAt(w.size); w.err == nil && w.waiting() >= s.max; s = sizesAt(w.size) {
		w.send(w.k.gear.cut(w.block.b[w.start:], s))
	}
}

func (w *Writer) waiting() int {
	if w.block == nil {
		return 0
	}
	return len(w.block.b) - w.start
}

// room returns the free end of the block, after making some.
func (w *Writer) room() []byte {
	if w.block == nil {
		w.block = firstBlocks.Get().(*block)
		w.block.b = w.block.b[:0]
		w.block.refs.Store(1)
	}
	if len(w.block.b) == cap(w.block.b) {
		w.grow()
	}
	b := w.block.b
	return b[len(b):min(cap(b), len(b)+stride)]
}

// grow moves what is not yet cut to a block with room behind it.
func (w *Writer) grow() {
	old, rest := w.block, w.block.b[w.start:]
	var next *block
	switch need := len(rest) + sizesAt(w.size).max; {
	case w.start == 0 && cap(old.b) < wholeBlock:
		next = &block{b: make([]byte, 0, 2*cap(old.b))}
	case need <= wholeBlock:
		next = blocks.Get().(*block)
	default:
		next = &block{b: make([]byte, 0, 2*need)}
	}
	next.refs.Store(1)
	next.b = append(next.b[:0], rest...)
	w.block, w.start = next, 0
	old.release()
}

// send hands the next n bytes to a worker and takes in what workers have done.
func (w *Writer) send(n int) {
	j := &job{plain: w.block.b[w.start : w.start+n : w.start+n], block: w.block, done: make(chan struct{})}
	w.block.refs.Add(1)
	w.start += n
	w.size += int64(n)
	workers := processors()
	if w.jobs == nil {
		w.jobs = make(chan *job, depth*workers)
		for range workers {
			w.wg.Go(w.work)
		}
	}
	w.queue = append(w.queue, j)
	w.jobs <- j
	if len(w.queue) >= depth*workers {
		// Half at once, because sleeping and waking for each chunk costs more
		// than the chunk.
		for len(w.queue) > depth*workers/2 {
			w.collect()
		}
	}
}

// processors is how many goroutines that compute can run at once. A process may allow
// itself more than there are, for those that mostly wait.
func processors() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }

func (w *Writer) work() {
	for j := range w.jobs {
		w.do(j)
		close(j.done)
	}
}

func (w *Writer) do(j *job) {
	defer j.block.release()
	j.ref = w.g.ref(data, j.plain)
	if w.have(j.ref) {
		return
	}
	var packed []byte
	if dull := w.dull.Load(); dull < dullAfter || dull%dullTry == 0 {
		var tried bool
		packed, tried = w.k.compress(j.plain)
		if packed != nil {
			w.dull.Store(0)
		} else if tried {
			w.dull.Add(1)
		}
	} else {
		w.dull.Add(1)
	}
	buf := bodies.Get().(*[]byte)
	defer bodies.Put(buf)
	s := w.g.seal(*buf, data, j.ref, j.plain, packed)
	*buf = s.Body
	j.err = w.put(s)
}

// collect waits for the oldest job and lists its chunk.
func (w *Writer) collect() {
	j := w.queue[0]
	w.queue = w.queue[1:]
	<-j.done
	if w.err == nil {
		w.err = j.err
	}
	if w.err == nil {
		w.err = w.tree.add(0, entry{j.ref, int64(len(j.plain)), w.g.number})
	}
}

// writeList seals a list of chunks of the given depth. Its Ref depends on the
// entries alone, so a list that is there is not put again.
func (w *Writer) writeList(depth uint8, entries []entry) (store.Ref, error) {
	plain := appendList(nil, depth, w.g.number, entries)
	ref := w.g.ref(list, plain)
	if w.have(ref) {
		return ref, nil
	}
	return ref, w.put(w.g.seal(nil, list, ref, plain, nil)) // hashes do not shrink
}

// Close cuts what is left, waits until everything has been put, and returns what
// leads to it. It returns the first error of put; the Content is then zero.
func (w *Writer) Close() (store.Content, error) {
	if w.err == nil {
		w.finish()
	}
	root, depth := entry{}, uint8(0)
	w.stop()
	if w.err == nil && w.size > 0 {
		root, depth, w.err = w.tree.root()
	}
	if w.err != nil {
		return store.Content{}, w.err
	}
	w.err = ErrClosed
	return store.Content{Size: w.size, Root: root.ref, Depth: depth, Oldest: root.oldest}, nil
}

// finish cuts and sends the rest. A file of one chunk is done here and now.
func (w *Writer) finish() {
	for w.err == nil && w.waiting() > 0 {
		n := w.k.gear.cut(w.block.b[w.start:], sizesAt(w.size))
		if w.size > 0 || n < w.waiting() {
			w.send(n)
			continue
		}
		j := &job{plain: w.block.b, block: w.block, done: make(chan struct{})}
		w.block.refs.Add(1)
		w.start, w.size = n, int64(n)
		w.do(j)
		close(j.done)
		w.queue = append(w.queue, j)
	}
}

// stop waits for all jobs and ends the workers.
func (w *Writer) stop() {
	for len(w.queue) > 0 {
		w.collect()
	}
	if w.jobs != nil {
		close(w.jobs)
		w.wg.Wait()
		w.jobs = nil
	}
	if w.block != nil {
		w.block.release()
		w.block = nil
	}
}

// Abort ends the Writer. Chunks that have been put stay where put put them. After
// Close it does nothing.
func (w *Writer) Abort() {
	if w.err == nil {
		w.err = ErrClosed
	}
	w.stop()
}

// tree lists chunks as they come: levels[0] holds the chunks of data that are in no
// list yet, levels[1] the lists of them, and so on.
type tree struct {
	write  func(depth uint8, entries []entry) (store.Ref, error)
	under  uint32 // the generation that write seals under
	levels [][]entry
}

func (t *tree) add(depth int, e entry) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: lists of depth %d", ErrTooLarge, depth)
	}
	for depth >= len(t.levels) {
		t.levels = append(t.levels, nil)
	}
	t.levels[depth] = append(t.levels[depth], e)
	if !endsList(len(t.levels[depth]), e) {
		return nil
	}
	return t.flush(depth)
}

// flush makes a list of what waits at depth.
func (t *tree) flush(depth int) error {
	entries := t.levels[depth]
	t.levels[depth] = entries[:0]
	ref, err := t.write(uint8(depth), entries)
	if err != nil {
		return err
	}
	sum := entry{ref: ref, oldest: t.under}
	for _, e := range entries {
		sum.size += e.size
		sum.oldest = min(sum.oldest, e.oldest)
	}
	return t.add(depth+1, sum)
}

// root lists what waits at every level until a single chunk leads to all.
func (t *tree) root() (entry, uint8, error) {
	for depth := 0; ; depth++ {
		waiting := t.levels[depth]
		if depth == len(t.levels)-1 && len(waiting) == 1 {
			return waiting[0], uint8(depth), nil
		}
		if len(waiting) == 0 {
			continue
		}
		if err := t.flush(depth); err != nil {
			return entry{}, 0, err
		}
	}
}
