package drive

import (
	"context"
	"io"
	"sync"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Extent says whether there is data at off or a hole, and how far that goes, at
// least. At the end of the file and behind it it returns io.EOF. A hole is what was
// never written, or made zero; runs of zeros that were written can be one too.
func (i *Inode) Extent(off int64) (data bool, end int64, err error) {
	if off < 0 {
		return false, off, ErrInvalid
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	if off >= i.size {
		return false, off, io.EOF
	}
	in, end := i.over.data.run(off, i.size)
	if in {
		return true, end, nil
	}
	if i.stream != nil && off >= i.base.Size && off < i.written {
		return true, min(end, i.written), nil
	}
	zero, to := i.over.zero.run(off, end)
	if zero || off >= i.valid {
		return false, to, nil
	}
	end = min(to, i.valid)
	hole, to, err := i.chunks().Hole(off)
	return !hole, min(end, to), err
}

// allocated returns about how many bytes of a file that is open are data.
func (i *Inode) allocated() (n int64, saved bool) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if !i.changed {
		return 0, true
	}
	n = i.d.dense(i.base)
	if i.stream != nil {
		n += i.written - i.base.Size
	}
	for _, s := range i.over.data {
		n += s.To - s.From
	}
	return min(n, i.size), false
}

const (
	// sparseFrom is the size from which it is worth knowing how much of a file is
	// holes.
	sparseFrom = 16 << 20
	// sparseLists bounds the lists that are read for it.
	sparseLists = 64
	// sparseKept bounds the contents of which it is remembered.
	sparseKept = 4096
)

// sparse remembers how many bytes of large contents are data.
type sparse struct {
	mu    sync.Mutex
	dense map[store.Ref]int64 // at most sparseKept; by Content.Root
}

// Allocated returns how many bytes of a file are no holes, as far as that can be
// told from a few lists that are on this machine: what is not known is data.
func (d *Drive) Allocated(n *tree.Node) int64 {
	if n.Version.Content.Size < sparseFrom {
		return n.Version.Content.Size
	}
	if i := d.inode(n.ID); i != nil && !n.Dir {
		if size, saved := i.allocated(); !saved {
			return size
		}
	}
	return d.dense(n.Version.Content)
}

func (d *Drive) dense(c store.Content) int64 {
	if c.Size < sparseFrom {
		return c.Size
	}
	s := &d.sparse
	s.mu.Lock()
	n, ok := s.dense[c.Root]
	s.mu.Unlock()
	if ok {
		return n
	}
	r := d.cfg.Keys.NewReader(d.cfg.Context, c, func(_ context.Context, ref store.Ref) ([]byte, error) {
		return d.cfg.Bodies.Get(ref)
	})
	defer func() { _ = r.Close() }()
	holes, err := r.Holes(sparseLists)
	if err != nil {
		return c.Size // not remembered: the lists may come
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dense == nil || len(s.dense) >= sparseKept {
		s.dense = map[store.Ref]int64{}
	}
	s.dense[c.Root] = c.Size - holes
	return c.Size - holes
}
