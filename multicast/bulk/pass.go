package bulk

import (
	"fmt"
	"io"
	"time"
)

// task is what a pass sends of one section.
type task struct {
	section int
	all     bool   // every block, and parity as is usual now
	blocks  []int  // or these
	rows    []span // and these rows of parity
}

// span is rows from up to, but without, to of a group's parity.
type span struct{ group, from, to int }

// pass is one way through a window of sections.
type pass struct {
	number  uint16
	window  int // the first section of the window
	size    int // sections of a window at most
	tasks   []task
	next    int           // the task after the one being sent
	used    map[int][]int // rows of parity used up, by section and group
	records map[uint32]*record
	usual   int // rows of parity that go along with a section in a first pass
	cur     current
	poll    polling
}

// current is the section being sent.
type current struct {
	section int
	content []byte // whole blocks, zeros behind the end
	buffer  []byte
	queue   []Block // what is left of it
	sent    int     // packets in this pass
	bytes   int
	began   time.Time
	rate    float64
	asked   time.Time // the last Solicit
	active  bool
	parity  *parity
}

// record is what was sent when a Solicit asked about it.
type record struct {
	section int
	pass    uint16
	sent    int
	at      time.Time
	partial bool
	judged  bool
	epoch   float64 // the rate when the section began
	round   round
	heard   map[uint16]bool
}

// maxRecords bounds the questions whose answers still count.
const maxRecords = 32

func newPass(o Object) *pass {
	return &pass{size: windowSections, records: make(map[uint32]*record), used: make(map[int][]int), cur: current{parity: newParity(o.Block)}}
}

// startPass begins the first pass over the window that starts at section first,
// leaving out what all have.
func (s *Sender) startPass(now time.Time, first int) {
	p := s.pass
	p.number++
	p.window, p.next, p.tasks = first, 0, p.tasks[:0]
	p.poll = polling{first: true, began: now}
	clear(p.used)
	members := s.roster.in(active)
	for _, m := range members {
		clear(m.reports)
	}
	for i := first; i < min(first+p.size, s.offer.Sections()); i++ {
		for _, m := range members {
			if !m.have.has(i) {
				p.tasks = append(p.tasks, task{section: i, all: true})
				break
			}
		}
	}
	s.state, s.clock.act = sending, now
}

// open makes the next task current. It reads the section and checks that it is what
// was offered: a file that changes would otherwise be sealed twice under one nonce.
func (s *Sender) open(now time.Time) (bool, error) {
	p := s.pass
	c := &p.cur
	if p.next >= len(p.tasks) {
		return false, nil
	}
	t := &p.tasks[p.next]
	p.next++
	if err := s.read(t.section); err != nil {
		return false, err
	}
	c.section, c.queue, c.sent, c.bytes, c.active = t.section, c.queue[:0], 0, 0, true
	c.began, c.asked, c.rate = time.Time{}, now, s.pace.rate
	blocks := t.blocks
	if t.all {
		blocks = make([]int, s.offer.Blocks(t.section))
		for i := range blocks {
			blocks[i] = i
		}
	}
	for _, b := range blocks {
		c.queue = append(c.queue, Block{
			Session: s.offer.Session, Section: uint32(t.section), Index: uint16(b),
			Content: c.content[b*s.offer.Block : b*s.offer.Block+s.offer.BlockLength(t.section, b)],
		})
	}
	rows := t.rows
	if t.all {
		rows = s.usualRows(t.section)
	}
	return true, s.addRows(t.section, rows)
}

func (s *Sender) addRows(section int, rows []span) error {
	c := &s.pass.cur
	for _, r := range rows {
		made, err := c.parity.rows(c.content, r.group, r.from, r.to)
		if err != nil {
			return err
		}
		for i, content := range made {
			c.queue = append(c.queue, Block{
				Session: s.offer.Session, Section: uint32(section), Parity: true,
				Index: uint16(r.group<<8 | (r.from + i)), Content: content,
			})
		}
	}
	return nil
}

func (s *Sender) read(section int) error {
	c := &s.pass.cur
	if c.active && c.section == section {
		return nil
	}
	if c.buffer == nil {
		c.buffer = make([]byte, s.offer.SectionSize())
	}
	n := s.offer.Length(section)
	c.content = c.buffer[:s.offer.Blocks(section)*s.offer.Block]
	clear(c.content[n:])
	if _, err := s.cfg.Content.ReadAt(c.content[:n], s.offer.Offset(section)); err != nil && err != io.EOF {
		return fmt.Errorf("bulk: read section %d: %w", section, err)
	}
	if HashSection(c.content[:n]) != s.cfg.Tree.Leaf(section) {
		return fmt.Errorf("bulk: section %d: %w", section, ErrChanged)
	}
	return nil
}

// ErrChanged says that the file is not what it was when it was offered.
var ErrChanged = fmt.Errorf("the file changed while it was sent")

// usualRows is the parity that goes along in a first pass: as many rows as most
// groups of late have wanted, so that they would have been sent anyway.
func (s *Sender) usualRows(section int) (rows []span) {
	n := s.pass.usual
	if n == 0 {
		return nil
	}
	for g := range min(Groups, s.offer.Blocks(section)) {
		rows = append(rows, s.pass.spend(section, g, n))
	}
	return rows
}

// Bounds of the share of groups that still lack something after the usual rows:
// above the one another row is nearly always wanted, below the other one too many
// are sent. At 1 % loss and 9 receivers that settles at 2 rows for 64 blocks, at 1 %
// and one receiver at none.
const (
	usualMore = 0.6
	usualLess = 0.08
	usualMost = 8
)

// learn takes from the answers about a section sent for the first time how much
// parity is usually wanted.
func (s *Sender) learn(section int) {
	p := s.pass
	groups := min(Groups, s.offer.Blocks(section))
	if u := p.used[section]; u == nil && p.usual != 0 || u != nil && u[0] != p.usual || groups < Groups {
		return // sent before the last change, or too short to tell
	}
	lacking := 0
	for g := range groups {
		for _, m := range s.roster.in(active) {
			if r := m.reports[section]; r != nil && !r.Complete && r.Need[g] > 0 {
				lacking++
				break
			}
		}
	}
	switch share := float64(lacking) / float64(groups); {
	case share >= usualMore && p.usual < usualMost:
		p.usual++
	case share < usualLess && p.usual > 0:
		p.usual--
	}
}

// spend takes n unused rows of a group.
func (p *pass) spend(section, g, n int) span {
	u := p.used[section]
	if u == nil {
		u = make([]int, Groups)
		p.used[section] = u
	}
	from := u[g]
	u[g] += n
	return span{g, from, from + n}
}

// left returns how many rows of a group were never sent.
func (p *pass) left(section, g int) int {
	if u := p.used[section]; u != nil {
		return MaxRows - u[g]
	}
	return MaxRows
}
