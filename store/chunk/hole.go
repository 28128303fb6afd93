package chunk

import (
	"io"
	"sort"

	"github.com/aether-lan/aether/store"
)

// A hole is a chunk of data that is what a long run of zeros makes where it begins.
// It is known by its Ref, so holes are found in the lists alone. Zeros that make no
// such chunk, before data or at the end of a file, are data.

// hole returns the chunk that zeros make in a part of a file, sealed under g.
func (k *Keys) hole(g *generation, s *sizes) entry {
	if e, ok := g.holes.Load(s); ok {
		return e.(entry)
	}
	b := make([]byte, s.max)
	n := k.gear.cut(b, s)
	e := entry{g.ref(data, b[:n]), int64(n), g.number}
	g.holes.Store(s, e)
	return e
}

// isHole reports whether p, which is data, is a hole. One of a generation that is not
// here is not known for it.
func (k *Keys) isHole(p Part) bool {
	g, err := k.generation(p.Oldest)
	if err != nil {
		return false
	}
	e := k.hole(g, sizesAt(p.Offset))
	return p.Size == e.size && p.Ref == e.ref
}

// Hole reports whether a hole lies at off, and how far it is the same from there on,
// at least: the end of a list ends what is known. At the end of the file it returns
// io.EOF. It reads lists and no data, and is safe for concurrent use.
func (r *Reader) Hole(off int64) (hole bool, end int64, err error) {
	if off < 0 || off >= r.c.Size {
		return false, off, io.EOF
	}
	p, _ := Root(r.c)
	for p.Depth > 1 {
		parts, err := r.list(p)
		if err != nil {
			return false, off, err
		}
		p = parts[partAt(parts, off-p.Offset)].shifted(p.Offset)
	}
	if p.Depth == 0 {
		return r.k.isHole(p), p.Offset + p.Size, nil
	}
	parts, err := r.list(p)
	if err != nil {
		return false, off, err
	}
	i := partAt(parts, off-p.Offset)
	hole = r.k.isHole(parts[i].shifted(p.Offset))
	for i++; i < len(parts) && r.k.isHole(parts[i].shifted(p.Offset)) == hole; i++ {
	}
	last := parts[i-1]
	return hole, p.Offset + last.Offset + last.Size, nil
}

// partAt returns the index of the part that holds off.
func partAt(parts []Part, off int64) int {
	return sort.Search(len(parts), func(i int) bool { return parts[i].Offset+parts[i].Size > off })
}

// shifted returns p as it is in a list that begins at by.
func (p Part) shifted(by int64) Part {
	p.Offset += by
	return p
}

// Holes returns how many bytes of the file lie in holes, as far as a few lists tell:
// it is for who asks about many files. It reads at most limit lists, and of the
// lowest below the first only those that list more bytes than data does. What it has
// not read counts as data.
func (r *Reader) Holes(limit int) (int64, error) {
	if r.c.Size == 0 {
		return 0, nil
	}
	p, _ := Root(r.c)
	c := holeCount{r: r, left: limit, known: map[store.Ref]int64{}}
	return c.count(p)
}

// holeCount counts bytes in holes; a list that occurs again is not counted again.
type holeCount struct {
	r     *Reader
	left  int
	known map[store.Ref]int64 // by list; bounded by the lists that are read
}

func (c *holeCount) count(p Part) (sum int64, err error) {
	if p.Depth == 0 {
		if c.r.k.isHole(p) {
			return p.Size, nil
		}
		return 0, nil
	}
	// Chunks are larger further back, so a list means the same only within a part.
	same := sizesAt(p.Offset) == sizesAt(p.Offset+p.Size-1)
	if n, ok := c.known[p.Ref]; ok && same {
		return n, nil
	}
	dense := p.Depth == 1 && p.Size < c.r.c.Size && p.Size <= int64(sizesAt(p.Offset).normal)*maxEntries
	if c.left == 0 || dense {
		return 0, nil
	}
	c.left--
	parts, err := c.r.list(p)
	if err != nil {
		return 0, err
	}
	for _, q := range parts {
		n, err := c.count(q.shifted(p.Offset))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	if same {
		c.known[p.Ref] = sum
	}
	return sum, nil
}
