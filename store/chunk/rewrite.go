package chunk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/aether-lan/aether/store"
)

// Span is the bytes [From, To) of a file.
type Span struct{ From, To int64 }

// Change says how a file differs from another one.
type Change struct {
	// Base is the file before.
	Base store.Content
	// Size is the length of the file after.
	Size int64
	// Dirty are the bytes that may differ from Base: sorted, disjoint, none empty.
	// What lies behind the end of Base and in no span of Dirty or Zero is zero.
	Dirty []Span
	// Zero are bytes of the new file that are zero, sorted and disjoint. They are not
	// read.
	Zero []Span
	// ReadAt fills p with the bytes of the new file from off on, changed or not. It is
	// called by one goroutine, with offsets that ascend but for what is read twice.
	ReadAt func(p []byte, off int64) error
}

// Rewrite returns the Content of a file that differs from another in places, as a
// Writer would that is given all of it: where chunks end depends on what they hold
// and where they begin, and where lists end on what they list. So whatever lies in
// unchanged bytes and begins where something of Base begins is taken over unread:
// chunks, and with them whole lists. The cost is that of what changed, but for a few
// lists. put and have are those of [Keys.NewWriter], get that of [Keys.NewReader].
func (k *Keys) Rewrite(ctx context.Context, ch Change, get func(context.Context, store.Ref) ([]byte, error), put func(Sealed) error, have func(store.Ref) bool) (store.Content, error) {
	w := k.NewWriter(put, have)
	r := &rewriter{w: w, ch: ch, base: k.NewReader(ctx, ch.Base, get)}
	defer r.base.Close()
	for w.err == nil && w.size < ch.Size {
		if ctx.Err() != nil {
			w.Abort()
			return store.Content{}, context.Cause(ctx)
		}
		kept, err := r.keep()
		if err == nil && !kept {
			err = r.cut()
		}
		if err != nil {
			w.Abort()
			return store.Content{}, fmt.Errorf("chunk: rewrite: %w", err)
		}
	}
	return w.Close()
}

// NewAppender returns a Writer that goes on behind the end of base. Its Content is
// that of the bytes of base and all that is written to it. See [Keys.Rewrite] for get,
// put and have.
func (k *Keys) NewAppender(ctx context.Context, base store.Content, get func(context.Context, store.Ref) ([]byte, error), put func(Sealed) error, have func(store.Ref) bool) (*Writer, error) {
	w := k.NewWriter(put, have)
	r := &rewriter{w: w, ch: Change{Base: base, Size: base.Size + MaxSize + 1}, base: k.NewReader(ctx, base, get)}
	defer r.base.Close()
	for {
		kept, err := r.keep()
		if err == nil && kept {
			continue
		}
		if err == nil {
			if _, err = r.base.Seek(w.size, io.SeekStart); err == nil {
				_, err = io.Copy(struct{ io.Writer }{w}, r.base)
			}
		}
		if err != nil {
			w.Abort()
			return nil, fmt.Errorf("chunk: append: %w", err)
		}
		return w, nil
	}
}

// rewriter makes a changed file from another one; w.size is how far it has come.
type rewriter struct {
	w     *Writer
	ch    Change
	base  *Reader
	zeros map[*sizes]bool // whether the hole of that part has been put
}

// keep takes over the largest part of Base that can stand here, or a chunk of zeros.
// It reports whether there was one.
func (r *rewriter) keep() (bool, error) {
	off := r.w.size
	if e, err := r.zero(off); err != nil || e.size > 0 {
		return err == nil, r.take(0, e, err)
	}
	if off >= r.ch.Base.Size || within(r.ch.Dirty, off) {
		return false, nil
	}
	p, _ := Root(r.ch.Base)
	for {
		if p.Offset == off && r.stands(p) {
			return true, r.take(int(p.Depth), entry{p.Ref, p.Size, p.Oldest}, nil)
		}
		if p.Depth == 0 {
			return false, nil
		}
		parts, err := r.base.list(p)
		if err != nil {
			return false, err
		}
		i := sort.Search(len(parts), func(i int) bool { return parts[i].Offset+parts[i].Size > off-p.Offset })
		q := parts[i]
		q.Offset += p.Offset
		p = q
	}
}

func (r *rewriter) take(depth int, e entry, err error) error {
	if err == nil {
		err = r.w.keep(depth, e)
	}
	return err
}

// stands reports whether p, which begins where the new file has come to, is a part of
// the new file as it is.
func (r *rewriter) stands(p Part) bool {
	end := p.Offset + p.Size
	switch {
	case end > r.ch.Size || dirty(r.ch.Dirty, p.Offset, end):
		return false
	case end == r.ch.Base.Size && end != r.ch.Size:
		return false // it ended only because the file did
	}
	return r.w.aligned(int(p.Depth))
}

// zero returns the chunk of zeros that begins at off, if there is one.
func (r *rewriter) zero(off int64) (entry, error) {
	i := sort.Search(len(r.ch.Zero), func(i int) bool { return r.ch.Zero[i].To > off })
	if i == len(r.ch.Zero) || r.ch.Zero[i].From > off {
		return entry{}, nil
	}
	s := sizesAt(off)
	run := min(r.ch.Zero[i].To, r.ch.Size) - off
	if run < int64(s.min) {
		return entry{}, nil
	}
	e := r.w.k.hole(r.w.g, s)
	if run < e.size {
		return entry{}, nil
	}
	if !r.zeros[s] {
		if !r.w.have(e.ref) {
			zeros := make([]byte, e.size)
			sealed := r.w.g.seal(nil, data, e.ref, zeros, r.w.k.pack(zeros))
			if err := r.w.put(sealed); err != nil {
				return entry{}, err
			}
		}
		if r.zeros == nil {
			r.zeros = map[*sizes]bool{}
		}
		r.zeros[s] = true
	}
	return e, nil
}

// cut reads on and cuts one chunk. What was read behind it is kept for the next.
func (r *rewriter) cut() error {
	w := r.w
	want := min(int64(sizesAt(w.size).max), r.ch.Size-w.size)
	for int64(w.waiting()) < want {
		room := w.room()
		room = room[:min(int64(len(room)), want-int64(w.waiting()))]
		if err := r.read(room, w.size+int64(w.waiting())); err != nil {
			return err
		}
		w.block.b = w.block.b[:len(w.block.b)+len(room)]
	}
	w.send(w.k.gear.cut(w.block.b[w.start:], sizesAt(w.size)))
	return w.err
}

// read fills p with bytes of the new file.
func (r *rewriter) read(p []byte, off int64) error {
	for len(p) > 0 {
		zeros := r.ch.Zero
		i := sort.Search(len(zeros), func(i int) bool { return zeros[i].To > off })
		n := int64(len(p))
		switch {
		case i == len(zeros) || zeros[i].From >= off+n:
		case zeros[i].From > off:
			n = zeros[i].From - off
		default:
			n = min(n, zeros[i].To-off)
			clear(p[:n])
			p, off = p[n:], off+n
			continue
		}
		if err := r.ch.ReadAt(p[:n], off); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// keep lists a part that is there already. Bytes that wait behind the last cut are
// dropped: they are part of it.
func (w *Writer) keep(depth int, e entry) error {
	for len(w.queue) > 0 {
		w.collect()
	}
	if w.block != nil {
		w.start = len(w.block.b)
	}
	if w.err == nil {
		w.err = w.tree.add(depth, e)
	}
	w.size += e.size
	return w.err
}

// aligned reports whether a list of the given depth would begin here. For chunks of
// data that is always so.
func (w *Writer) aligned(depth int) bool {
	if depth == 0 {
		return true
	}
	for len(w.queue) > 0 {
		w.collect()
	}
	for d := range min(depth, len(w.tree.levels)) {
		if len(w.tree.levels[d]) > 0 {
			return false
		}
	}
	return true
}

// within reports whether off lies in one of spans.
func within(spans []Span, off int64) bool { return dirty(spans, off, off+1) }

// dirty reports whether one of spans has a byte of [from, to).
func dirty(spans []Span, from, to int64) bool {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].To > from })
	return i < len(spans) && spans[i].From < to
}
