package segment

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

const (
	// blockSize is how many bytes of a segment are gathered in memory and written at
	// once, if segments are not smaller.
	blockSize = 4 << 20
	// pageSize is what direct writes are aligned to, in the file and in memory.
	pageSize = 4 << 10
	// directMin is the length below which a write goes through the page cache.
	directMin = 64 << 10
	// waiting bounds the blocks that are complete and wait for the disk.
	waiting = 4
	// writers bounds the goroutines that write them. One would leave the disk idle
	// while it waits for a processor.
	writers = 4
)

// behind writes records behind the back of Put: they are gathered in blocks of the
// file, and complete blocks are written by a few goroutines, past the page cache where
// that is possible. Whoever stores a large file seldom reads it back at once, and a
// copy into memory that was never touched costs more than the disk. Room on the disk
// is taken before Put returns, so a full disk is Put's error. What flush has not
// written is in memory only; it is read from there.
type behind struct {
	files  *handles
	size   int64                           // bytes of a block
	limit  int64                           // where a segment ends, but for its last record
	failed func(segment uint32, err error) // a write failed: what was put there is lost

	mu      sync.Mutex
	moved   sync.Cond // a block was filled or written
	blocks  map[blockKey]*block
	spare   []byte // for the next block; nil: none, or segments are small
	queue   []*block
	writers int  // goroutines that write what is queued
	full    bool // the disk was when a block was to be written; who puts or syncs tries again
	wg      sync.WaitGroup
}

type blockKey struct {
	segment uint32
	index   int64 // offset in the file divided by the size of a block
}

// block is the memory of one block of a file. What lies before written is in the
// file, and before used given out to records.
type block struct {
	blockKey
	buf           []byte // aligned to a page
	used, written int64  // offsets in the file
	lost          []span // given out to records for which no room was had
	filling       int    // records that are being copied in
	busy          bool   // in the queue or being written
	err           error  // it could not be written

	room    sync.Mutex // held while room is taken
	hasRoom bool
}

// span is from and to, offsets in a file.
type span [2]int64

func (b *block) start() int64 { return b.index * int64(len(b.buf)) }
func (b *block) end() int64   { return b.start() + int64(len(b.buf)) }

// part returns the bytes from up to to, offsets in the file.
func (b *block) part(from, to int64) []byte { return b.buf[from-b.start() : to-b.start()] }

var buffers = sync.Pool{New: func() any {
	b := newBuffer(blockSize)
	return &b
}}

func newBuffer(size int64) []byte {
	b := make([]byte, size+pageSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % pageSize
	return b[skip:][:size]
}

func newBehind(files *handles, segmentSize int64, failed func(uint32, error)) *behind {
	w := &behind{files: files, size: blockSize, limit: segmentSize, failed: failed, blocks: map[blockKey]*block{}}
	for w.size > pageSize && w.size/2 >= segmentSize {
		w.size /= 2
	}
	w.moved.L = &w.mu
	return w
}

// buffer returns memory for a block. The caller holds mu.
func (w *behind) buffer() []byte {
	if w.size < blockSize {
		return newBuffer(w.size)
	}
	if b := w.spare; b != nil {
		w.spare = nil
		return b
	}
	return *buffers.Get().(*[]byte)
}

// prepare has memory ready for the next block. Whoever takes it holds locks that readers
// wait for, and Go may take milliseconds to find so much.
func (w *behind) prepare() {
	w.mu.Lock()
	wants := w.spare == nil && w.size == blockSize
	w.mu.Unlock()
	if !wants {
		return
	}
	b := *buffers.Get().(*[]byte)
	w.mu.Lock()
	if w.spare == nil {
		w.spare, b = b, nil
	}
	w.mu.Unlock()
	if b != nil {
		buffers.Put(&b)
	}
}

// each calls f for the blocks on which [from, to) of segment lies, with the part of
// it that lies there.
func (w *behind) each(segment uint32, from, to int64, f func(k blockKey, from, to int64)) {
	for from < to {
		k := blockKey{segment, from / w.size}
		upTo := min(to, (k.index+1)*w.size)
		f(k, from, upTo)
		from = upTo
	}
}

// admit waits until the disk has caught up. While the disk is full it fails.
func (w *behind) admit() error {
	w.prepare()
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.full || len(w.queue) >= waiting {
		b := w.complete()
		switch {
		case !w.full:
			w.moved.Wait()
		case b == nil:
			w.full = false
		default:
			b.busy = true
			if err := w.write(b, b.end()); err != nil {
				return err
			}
		}
	}
	return nil
}

// complete returns a block that can be written and is not queued; the caller holds mu.
func (w *behind) complete() *block {
	for _, b := range w.blocks {
		if !b.busy && b.filling == 0 && b.used == b.end() && b.written < b.end() && b.err == nil {
			return b
		}
	}
	return nil
}

// reserve gives p, the next place of its segment, memory. The caller fills it.
func (w *behind) reserve(p place) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each(p.segment, int64(p.offset), int64(p.offset)+p.size(), func(k blockKey, from, to int64) {
		b := w.blocks[k]
		if b == nil {
			b = &block{blockKey: k, buf: w.buffer(), used: from, written: from}
			w.blocks[k] = b
		}
		b.used = to
		b.filling++
	})
}

// fill copies the record of body to p and takes room for it on the disk. Where that
// fails only the first n bytes will be in the file.
func (w *behind) fill(p place, ref store.Ref, body []byte) (n int64, err error) {
	h, err := w.files.get(p.segment, false)
	if err == nil {
		defer w.files.put(h)
	}
	rest := [][]byte{recordHead(ref, p.class, p.order, body), body}
	w.each(p.segment, int64(p.offset), int64(p.offset)+p.size(), func(k blockKey, from, to int64) {
		w.mu.Lock()
		b := w.blocks[k]
		w.mu.Unlock()
		if err == nil {
			err = b.takeRoom(h, from, to, w.limit)
		}
		for dst := b.part(from, to); len(dst) > 0; {
			part := copy(dst, rest[0])
			dst = dst[part:]
			if rest[0] = rest[0][part:]; len(rest[0]) == 0 {
				rest = rest[1:]
			}
		}
		w.filled(b, span{from, to}, err)
		if err == nil {
			n += to - from
		}
	})
	return n, err
}

// takeRoom takes room on the disk for all of the block or, where the disk is almost
// full, or the segment is at limit, for [from, to) alone.
func (b *block) takeRoom(h *handle, from, to, limit int64) error {
	b.room.Lock()
	defer b.room.Unlock()
	if b.hasRoom {
		return nil
	}
	end := b.end()
	if limit < end {
		end = max(limit, to)
	}
	err := h.Preallocate(b.start(), end-b.start())
	if err == nil {
		b.hasRoom = end == b.end()
		return nil
	}
	if vfs.IsNoSpaceError(err) {
		err = h.Preallocate(from, to-from)
	}
	if unsupported(err) {
		return nil
	}
	return err
}

// filled ends one filling of b. Where there was no room for the record its part of
// the block is not written.
func (w *behind) filled(b *block, part span, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.filling--
	if err != nil {
		b.lost = append(b.lost, part)
	}
	w.settle(b)
}

// settle queues b when it is complete, and lets go of it when all is written. The
// caller holds mu.
func (w *behind) settle(b *block) {
	switch {
	case b.busy || b.filling > 0 || b.used < b.end() || b.err != nil || w.full && b.written < b.end():
	case b.written == b.end():
		w.drop(b)
	default:
		b.busy = true
		w.queue = append(w.queue, b)
		if w.writers < writers {
			w.writers++
			w.wg.Go(w.run)
		}
	}
	w.moved.Broadcast()
}

// run writes what is queued and ends when nothing is.
func (w *behind) run() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) > 0 {
		b := w.queue[0]
		w.queue = w.queue[1:]
		_ = w.write(b, b.end()) // it says so itself
	}
	w.writers--
}

// drop lets go of the memory of b; the caller holds mu.
func (w *behind) drop(b *block) {
	delete(w.blocks, b.blockKey)
	if w.size == blockSize {
		buffers.Put(&b.buf)
	}
}

// write writes b up to an offset in the file; the caller holds mu, which is let go
// meanwhile, and has made b busy. Where the disk is full b stays as it is.
func (w *behind) write(b *block, to int64) error {
	from, pieces := b.written, []span{}
	slices.SortFunc(b.lost, func(x, y span) int { return cmp.Compare(x[0], y[0]) })
	for _, gone := range b.lost {
		if from < min(gone[0], to) {
			pieces = append(pieces, span{from, min(gone[0], to)})
		}
		from = max(from, gone[1])
	}
	if from < to {
		pieces = append(pieces, span{from, to})
	}
	w.mu.Unlock()
	h, err := w.files.get(b.segment, false)
	for _, p := range pieces {
		if err == nil {
			err = h.writePast(b.part(p[0], p[1]), p[0])
		}
	}
	if h != nil {
		err = errors.Join(err, w.files.put(h))
	}
	full := vfs.IsNoSpaceError(err)
	if err != nil && !full {
		w.failed(b.segment, err)
	}
	w.mu.Lock()
	b.busy = false
	switch {
	case full:
		w.full = true
		for _, q := range w.queue {
			q.busy = false
		}
		w.queue = nil
	case err != nil:
		b.err = err
	default:
		b.written = to
	}
	w.settle(b)
	return err
}

// writePast writes p, whose memory is aligned as its offset is: whole pages past the
// page cache and the ends through it. Where that cannot be the disk is told to
// begin at once, so that a sync finds little left to do.
func (h *handle) writePast(p []byte, offset int64) error {
	lead := min(-offset&(pageSize-1), int64(len(p)))
	whole := (int64(len(p)) - lead) &^ (pageSize - 1)
	if whole < directMin {
		_, err := h.WriteAt(p, offset)
		return err
	}
	direct := h.directly()
	if direct != nil {
		_, err := direct.WriteAt(p[lead:lead+whole], offset+lead)
		if err != nil && !refusesDirect(err) {
			return err
		}
		if err != nil {
			direct = nil
		}
	}
	if direct == nil {
		if _, err := h.WriteAt(p, offset); err != nil {
			return err
		}
		_, _ = h.SyncTo(offset + int64(len(p))) // a hint: whether it worked is asked by the sync
		return nil
	}
	if lead > 0 {
		if _, err := h.WriteAt(p[:lead], offset); err != nil {
			return err
		}
	}
	if tail := p[lead+whole:]; len(tail) > 0 {
		if _, err := h.WriteAt(tail, offset+lead+whole); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what has been put into segment, for a sync. A record that is put
// meanwhile may wait for the next one. When the segment grows no more, its memory is
// let go.
func (w *behind) flush(segment uint32, grows bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	upTo := make(map[*block]int64)
	for k, b := range w.blocks {
		if k.segment == segment {
			upTo[b] = b.used
		}
	}
	for b, to := range upTo {
		for b.err == nil && b.written < to {
			if b.busy || b.filling > 0 {
				w.moved.Wait()
				continue
			}
			b.busy = true
			if err := w.write(b, b.used); err != nil {
				return err
			}
		}
		if b.err != nil {
			return b.err
		}
		if !grows && b.filling == 0 && !b.busy && w.blocks[b.blockKey] == b {
			w.drop(b)
		}
	}
	return nil
}

// forget lets go of the memory of a segment that is removed.
func (w *behind) forget(segment uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, b := range w.blocks {
		for k.segment == segment && b.busy {
			w.moved.Wait()
		}
		if k.segment == segment && w.blocks[k] == b {
			w.drop(b)
		}
	}
}

// written reports whether all of [from, to) of segment is in the file.
func (w *behind) written(segment uint32, from, to int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := true
	w.each(segment, from, to, func(k blockKey, _, to int64) {
		b := w.blocks[k]
		all = all && (b == nil || to <= b.written)
	})
	return all
}

// readPast reads [from, to) past the page cache; nil where that cannot be.
func (h *handle) readPast(from, to int64) []byte {
	direct := h.directly()
	if direct == nil {
		return nil
	}
	start := from &^ (pageSize - 1)
	b := newBuffer((to - start + pageSize - 1) &^ (pageSize - 1))
	n, _ := direct.ReadAt(b, start) // the file may end before the page does
	if int64(n) < to-start {
		return nil
	}
	return b[from-start : to-start : to-start]
}

// readAt reads len(p) bytes at offset of a segment, from memory where they have not
// been written.
func (w *behind) readAt(h *handle, p []byte, offset int64) (err error) {
	w.each(h.number, offset, offset+int64(len(p)), func(k blockKey, from, to int64) {
		part := p[from-offset : to-offset]
		w.mu.Lock()
		b := w.blocks[k]
		// The file has what is before written; a block begins in the middle of what
		// an earlier process wrote.
		split := to
		if b != nil {
			split = max(min(b.written, to), from)
			copy(part[split-from:], b.part(split, to))
		}
		w.mu.Unlock()
		if err == nil && split > from {
			_, err = h.ReadAt(part[:split-from], from)
		}
	})
	return err
}

// close waits for those who fill and for the disk, and lets go of all memory. Nobody
// may reserve any more.
func (w *behind) close() {
	w.mu.Lock()
	for _, b := range w.blocks {
		for b.filling > 0 {
			w.moved.Wait()
		}
	}
	w.mu.Unlock()
	w.wg.Wait()
	clear(w.blocks)
}
