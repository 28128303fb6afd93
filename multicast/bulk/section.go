package bulk

// section is what a receiver has of a section that is not verified yet.
type section struct {
	content []byte // whole blocks; nil while it waits in the store
	have    bitmap
	missing int
	rows    map[int]map[int][]byte // parity not used yet, by group and row
	proof   [][32]byte
	proven  bool // proof is there
	used    uint64
	dirty   bool // content differs from the store's
	poison  int  // how often all blocks were there and wrong
}

func newSection(blocks int) *section {
	return &section{have: newBitmap(blocks), missing: blocks, rows: make(map[int]map[int][]byte)}
}

// missingOf returns the missing blocks of group g.
func (s *section) missingOf(g, blocks int) (list []int) {
	for b := g; b < blocks; b += Groups {
		if !s.have.has(b) {
			list = append(list, b)
		}
	}
	return list
}

// report fills in what the section lacks.
func (s *section) report(p *Report, blocks int) {
	p.Proof = !s.proven
	for b := range blocks {
		if !s.have.has(b) {
			p.Holes[b/8] |= 1 << (b % 8)
			p.Need[b%Groups]++
		}
	}
	for g, rows := range s.rows {
		p.Need[g] -= min(p.Need[g], uint8(len(rows)))
	}
}

// tally counts the packets of one section in one pass, of which the loss and the
// speed of arrival are known.
type tally struct {
	section     int
	count       int
	bytes       int
	first, last int64 // Unix nanoseconds
	head        int   // bytes of the first packet
	burst       burst // since the last Train
	seen        [SectionBlocks/64 + MaxRows*Groups/64]uint64
}

// burst is a run of packets that measures the path.
type burst struct {
	count       int
	first, last int64 // Unix nanoseconds
}

func (t *tally) reset(section int) { *t = tally{section: section} }

// add counts a packet that was not seen before.
func (t *tally) add(index, n int, now int64) {
	if t.seen[index/64]>>(index%64)&1 == 1 {
		return
	}
	t.seen[index/64] |= 1 << (index % 64)
	if t.count == 0 {
		t.first, t.head = now, n
	}
	if t.burst.count == 0 {
		t.burst.first = now
	}
	t.burst.count++
	t.burst.last = now
	t.count++
	t.bytes += n
	t.last = now
}

// arrival returns the bytes a second, 0 when there is too little to tell.
func (t *tally) arrival() float64 {
	if t.count < 16 || t.last <= t.first {
		return 0
	}
	return float64(t.bytes-t.head) / (float64(t.last-t.first) / 1e9)
}

// place is the bit of a block or row in a tally.
func place(b *Block) int {
	if !b.Parity {
		return int(b.Index)
	}
	return SectionBlocks + int(b.Index>>8)*MaxRows + int(b.Index&0xff)
}
