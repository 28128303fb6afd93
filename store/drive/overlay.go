package drive

import (
	"sync"
)

// page is how many bytes of a file overlay keeps in one piece of memory.
const page = 128 << 10

var pages = sync.Pool{New: func() any { return new([page]byte) }}

// overlay is what has been written to a file and lies in no chunk yet. It is in
// memory alone, in the clear as any program's memory, and never reaches the disk:
// see Inode.settle for what bounds it.
type overlay struct {
	data  spans // written bytes
	zero  spans // bytes made zero, without memory
	pages map[int64]*[page]byte
}

func (o *overlay) empty() bool { return len(o.data) == 0 && len(o.zero) == 0 }

// size returns the bytes of memory in use.
func (o *overlay) size() int64 { return int64(len(o.pages)) * page }

// write keeps p at off.
func (o *overlay) write(p []byte, off int64) {
	if o.pages == nil {
		o.pages = map[int64]*[page]byte{}
	}
	o.data = o.data.add(off, off+int64(len(p)))
	o.zero = o.zero.remove(off, off+int64(len(p)))
	for len(p) > 0 {
		i := off / page
		b := o.pages[i]
		if b == nil {
			b = pages.Get().(*[page]byte)
			o.pages[i] = b
		}
		n := copy(b[off-i*page:], p)
		p, off = p[n:], off+int64(n)
	}
}

// read fills p, all of which has been written, from off on.
func (o *overlay) read(p []byte, off int64) {
	for len(p) > 0 {
		i := off / page
		n := copy(p, o.pages[i][off-i*page:])
		p, off = p[n:], off+int64(n)
	}
}

// clear makes [from, to) zero.
func (o *overlay) clear(from, to int64) {
	o.drop(from, to)
	o.zero = o.zero.add(from, to)
}

// drop forgets [from, to).
func (o *overlay) drop(from, to int64) {
	o.data = o.data.remove(from, to)
	o.zero = o.zero.remove(from, to)
	for i := range o.pages {
		if in, end := o.data.run(i*page, (i+1)*page); !in && end == (i+1)*page {
			pages.Put(o.pages[i])
			delete(o.pages, i)
		}
	}
}

// reset forgets everything.
func (o *overlay) reset() {
	for _, b := range o.pages {
		pages.Put(b)
	}
	*o = overlay{}
}

// dirty returns all that differs from what lies below.
func (o *overlay) dirty() spans {
	all := append(spans(nil), o.data...)
	for _, z := range o.zero {
		all = all.add(z.From, z.To)
	}
	return all
}

// each calls f with the first size bytes, all of which have been written.
func (o *overlay) each(size int64, f func(p []byte) error) error {
	for at := int64(0); at < size; at += page {
		if err := f(o.pages[at/page][:min(page, size-at)]); err != nil {
			return err
		}
	}
	return nil
}

// taken moves the written bytes from off on, as far as there are any, to f.
func (o *overlay) taken(off int64, f func(p []byte) error) (int64, error) {
	in, end := o.data.run(off, 1<<62)
	if !in {
		return off, nil
	}
	for at := off; at < end; {
		i := at / page
		to := min(end, (i+1)*page)
		if err := f(o.pages[i][at-i*page : to-i*page]); err != nil {
			return at, err
		}
		at = to
	}
	o.drop(off, end)
	return end, nil
}
