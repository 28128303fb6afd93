package bulk

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// fetching is what a receiver does by TCP.
type fetching struct {
	sources []netip.AddrPort
	under   map[int]bool
	bytes   uint64 // of this session
}

func (f *fetching) stop() { f.sources, f.under = nil, nil }

// Want is a section that a receiver would fetch by TCP.
type Want struct {
	Section int
	// Blocks has bit i, lowest bit of a byte first, for each block wanted.
	Blocks [SectionBlocks / 8]byte
	// Sources may have it, the best first.
	Sources []netip.AddrPort
}

// Piece is what a source gave for a Want.
type Piece struct {
	Section int
	// Blocks that Content holds one after the other: those wanted.
	Blocks  [SectionBlocks / 8]byte
	Content []byte
	Proof   [][32]byte
}

func (r *Receiver) handlePull(now time.Time, m Pull) {
	if !r.asked(now, m.Session) {
		return
	}
	if m.Station != r.cur.number || m.Token != r.cur.token {
		r.stats.NotAuthentic++
		return
	}
	r.heard(now)
	f := &r.cur.pull
	first := f.under == nil
	f.sources = m.Sources
	if first {
		f.under = make(map[int]bool)
		r.say(PullWanted{Reason: m.Reason})
	}
}

// Want returns a section to fetch, at random so that receivers that fetch from each
// other have different ones; ok is false when there is none.
func (r *Receiver) Want() (w Want, ok bool) {
	t := &r.cur
	if r.state != receiving || t.pull.under == nil || len(t.pull.sources) == 0 || t.left == 0 {
		return w, false
	}
	n := t.offer.Sections()
	from := r.cfg.Rand.IntN(n)
	for i := range n {
		s := (from + i) % n
		if t.have.has(s) || t.pull.under[s] {
			continue
		}
		t.pull.under[s] = true
		w = Want{Section: s, Sources: t.pull.sources}
		for b := range t.offer.Blocks(s) {
			if c := t.sections[s]; c == nil || !c.have.has(b) {
				w.Blocks[b/8] |= 1 << (b % 8)
			}
		}
		return w, true
	}
	return w, false
}

// ErrLied says that what a source gave is not what was offered.
var ErrLied = errors.New("a source gave what was not offered")

// NotPulled says that a Want got no answer: it will be wanted again.
func (r *Receiver) NotPulled(section int) { delete(r.cur.pull.under, section) }

// Pulled takes what was fetched. It fails with [ErrLied] when the section, after
// that, is not the one offered; the source should not be asked again.
func (r *Receiver) Pulled(now time.Time, p Piece) error {
	t := &r.cur
	if r.state != receiving || !t.pull.under[p.Section] {
		return nil
	}
	delete(t.pull.under, p.Section)
	r.stats.Pulled += uint64(len(p.Content))
	t.pull.bytes += uint64(len(p.Content))
	if t.have.has(p.Section) {
		return nil
	}
	if err := r.merge(p); err != nil {
		if errors.Is(err, ErrLied) {
			return err
		}
		r.fail(now, err)
		return nil
	}
	poisoned := r.stats.Poisoned
	if err := r.settle(p.Section); err != nil {
		r.fail(now, err)
	}
	// With blocks of others beside them nobody knows whose were wrong; all are
	// wanted again, and from one source.
	if r.stats.Poisoned > poisoned && bitmap(p.Blocks[:]).count() == t.offer.Blocks(p.Section) {
		return fmt.Errorf("bulk: section %d: %w", p.Section, ErrLied)
	}
	return nil
}

// merge puts fetched blocks into their section.
func (r *Receiver) merge(p Piece) error {
	o := &r.cur.offer.Object
	total := 0
	for b := range SectionBlocks {
		if p.Blocks[b/8]>>(b%8)&1 == 1 {
			total += o.BlockLength(p.Section, b)
		}
	}
	if total != len(p.Content) {
		return fmt.Errorf("bulk: section %d: %d bytes instead of %d: %w", p.Section, len(p.Content), total, ErrLied)
	}
	c := r.at(p.Section)
	c.proof, c.proven = p.Proof, true
	content := p.Content
	for b := range o.Blocks(p.Section) {
		if p.Blocks[b/8]>>(b%8)&1 == 0 {
			continue
		}
		n := o.BlockLength(p.Section, b)
		if err := r.addBlock(p.Section, b, content[:n]); err != nil {
			return err
		}
		content = content[n:]
	}
	return nil
}
