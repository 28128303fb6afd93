package bulk

import (
	"fmt"
	"io"
	"time"
)

// handleBlock takes a block or a row of parity.
func (r *Receiver) handleBlock(now time.Time, b *Block) {
	t := &r.cur
	if r.state == lingering && b.Session == t.offer.Session {
		r.heard(now)
		return
	}
	if r.state != receiving && r.state != registering || b.Session != t.offer.Session {
		r.stats.Foreign++
		return
	}
	s := int(b.Section)
	if s >= t.offer.Sections() || !r.fits(b) {
		r.stats.Misplaced++
		return
	}
	r.heard(now)
	r.rep.tally(s).add(place(b), len(b.Content), now.UnixNano())
	if b.Parity {
		r.stats.Parity++
	} else {
		r.stats.Blocks++
	}
	if t.have.has(s) {
		r.stats.Duplicates++
		return
	}
	var err error
	if b.Parity {
		err = r.addRow(s, int(b.Index>>8), int(b.Index&0xff), b.Content)
	} else {
		err = r.addBlock(s, int(b.Index), b.Content)
	}
	if err == nil {
		err = r.settle(s)
	}
	if err != nil {
		r.fail(now, err)
	}
}

// fits reports whether b has a place in its section and the length of that place.
func (r *Receiver) fits(b *Block) bool {
	o := &r.cur.offer.Object
	if b.Parity {
		return b.Index>>8 < Groups && b.Index&0xff < MaxRows && len(b.Content) == o.Block
	}
	return int(b.Index) < o.Blocks(int(b.Section)) && len(b.Content) == o.BlockLength(int(b.Section), int(b.Index))
}

// at returns the section s, a new one if it was not begun.
func (r *Receiver) at(s int) *section {
	t := &r.cur
	c := t.sections[s]
	if c == nil {
		c = newSection(t.offer.Blocks(s))
		t.sections[s] = c
	}
	t.used++
	c.used = t.used
	return c
}

// load makes sure that the content of section s is in memory.
func (r *Receiver) load(s int, c *section) error {
	if c.content != nil {
		return nil
	}
	t := &r.cur
	size := t.offer.SectionSize()
	if n := len(t.free); n > 0 {
		c.content, t.free = t.free[n-1], t.free[:n-1]
	} else {
		c.content = make([]byte, size)
	}
	c.content = c.content[:t.offer.Blocks(s)*t.offer.Block]
	clear(c.content[max(0, len(c.content)-t.offer.Block):]) // the last block may be short: zeros follow
	if c.missing < t.offer.Blocks(s) {
		n := t.offer.Length(s)
		if _, err := t.store.ReadAt(c.content[:n], t.offer.Offset(s)); err != nil && err != io.EOF {
			return fmt.Errorf("bulk: read back section %d: %w", s, err)
		}
	}
	return r.spill(s)
}

// spill writes the sections that were idle longest to the store, until those in
// memory are no more than allowed. keep stays.
func (r *Receiver) spill(keep int) error {
	t := &r.cur
	for {
		loaded, oldest := 0, -1
		for s, c := range t.sections {
			if c.content == nil {
				continue
			}
			loaded++
			if s != keep && (oldest < 0 || c.used < t.sections[oldest].used) {
				oldest = s
			}
		}
		if loaded <= r.cfg.Buffers || oldest < 0 {
			return nil
		}
		c := t.sections[oldest]
		if c.dirty {
			if _, err := t.store.WriteAt(c.content[:t.offer.Length(oldest)], t.offer.Offset(oldest)); err != nil {
				return fmt.Errorf("bulk: write section %d: %w", oldest, err)
			}
			c.dirty = false
		}
		r.release(c)
		r.stats.Spilled++
	}
}

// release takes the buffer of c back.
func (r *Receiver) release(c *section) {
	if c.content != nil && len(r.cur.free) < r.cfg.Buffers {
		r.cur.free = append(r.cur.free, c.content[:0])
	}
	c.content = nil
}

func (r *Receiver) addBlock(s, b int, content []byte) error {
	c := r.at(s)
	if c.have.has(b) {
		r.stats.Duplicates++
		return nil
	}
	if err := r.load(s, c); err != nil {
		return err
	}
	copy(c.content[b*r.cur.offer.Block:], content)
	c.have.set(b)
	c.missing--
	c.dirty = true
	return r.solve(s, c, b%Groups)
}

func (r *Receiver) addRow(s, g, row int, content []byte) error {
	c := r.at(s)
	missing := len(c.missingOf(g, r.cur.offer.Blocks(s)))
	switch {
	case missing == 0 || c.rows[g][row] != nil:
		r.stats.Duplicates++
		return nil
	case r.cur.rows >= rowsLimit:
		r.stats.RowsDropped++
		return nil
	}
	if c.rows[g] == nil {
		c.rows[g] = make(map[int][]byte)
	}
	c.rows[g][row] = content
	r.cur.rows++
	return r.solve(s, c, g)
}

// solve makes the missing blocks of group g when there is parity enough.
func (r *Receiver) solve(s int, c *section, g int) error {
	rows := c.rows[g]
	if len(rows) == 0 {
		return nil
	}
	missing := c.missingOf(g, r.cur.offer.Blocks(s))
	if len(missing) > len(rows) {
		return nil
	}
	if len(missing) > 0 {
		if err := r.load(s, c); err != nil {
			return err
		}
		if err := r.cur.parity.solve(c.content, g, missing, rows); err != nil {
			return err
		}
		for _, b := range missing {
			c.have.set(b)
			c.missing--
		}
		c.dirty = true
		r.stats.Solved += uint64(len(missing))
	}
	r.cur.rows -= len(rows)
	delete(c.rows, g)
	return nil
}

// settle verifies section s once all is there, and puts it into the store.
func (r *Receiver) settle(s int) error {
	t := &r.cur
	c := t.sections[s]
	if c == nil || c.missing > 0 || !c.proven {
		return nil
	}
	if err := r.load(s, c); err != nil {
		return err
	}
	content := c.content[:t.offer.Length(s)]
	if !VerifySection(t.offer.Root, HashSection(content), s, t.offer.Sections(), c.proof) {
		r.poisoned(s, c)
		return nil
	}
	if len(content) > 0 {
		if _, err := t.store.WriteAt(content, t.offer.Offset(s)); err != nil {
			return fmt.Errorf("bulk: write section %d: %w", s, err)
		}
	}
	for _, rows := range c.rows {
		t.rows -= len(rows)
	}
	r.release(c)
	delete(t.sections, s)
	t.have.set(s)
	t.left--
	r.say(SectionDone{Section: s, Proof: c.proof})
	if t.left == 0 && r.state == receiving {
		r.complete()
	}
	return nil
}

// poisoned forgets a section whose blocks are not what was offered: somebody on the
// link has put in a block of an unsealed transfer, or a source of pulled blocks lied.
func (r *Receiver) poisoned(s int, c *section) {
	r.stats.Poisoned++
	blocks := r.cur.offer.Blocks(s)
	for _, rows := range c.rows {
		r.cur.rows -= len(rows)
	}
	fresh := newSection(blocks)
	fresh.proof, fresh.proven, fresh.poison = c.proof, true, c.poison+1
	r.release(c)
	r.cur.sections[s] = fresh
}
