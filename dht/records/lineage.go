package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// founding is how the owner of the point 0 begins a lineage, when the first request
// comes and nobody that it sees has heard of one.
type founding struct {
	candidate uint64 // the lineage to be; 0: none is being founded
	asked     map[dht.ID]bool
	due       time.Time
	waiting   []foundWaiter
}

// foundWaiter is a request that waits for it.
type foundWaiter struct {
	q    Request
	from dht.Peer
	till time.Time
}

// foundFor keeps a request until there is a lineage, if it is for this node to begin
// one.
func (e *Engine) foundFor(q Request, from dht.Peer) bool {
	owner, ok := e.view.owner(dht.ID{})
	if !ok || owner.ID != e.cfg.Self.ID {
		return false
	}
	f := &e.founding
	if e.waiting >= e.cfg.MaxWaiting {
		e.stats.Busy++
		e.answer(from, Response{ID: q.ID, Status: Busy, Text: "too many requests wait"})
		return true
	}
	e.waiting++
	f.waiting = append(f.waiting, foundWaiter{q, from, e.now.Add(4*e.cfg.Settle + e.cfg.Patience)})
	if f.candidate == 0 {
		for f.candidate == 0 {
			f.candidate = e.rng.Uint64()
		}
		f.begin(e)
	}
	return true
}

// begin waits until the view has been the same for a while, and then asks.
func (f *founding) begin(e *Engine) {
	f.asked = nil
	f.due = e.view.since.Add(4 * e.cfg.Settle)
	if f.due.Before(e.now) {
		f.due = e.now
	}
}

// stop ends it: a lineage is known.
func (f *founding) stop(e *Engine) {
	list := f.waiting
	*f = founding{}
	for _, w := range list {
		e.waiting--
		e.do(w.q, w.from)
	}
}

// heard takes the answer of a node that was asked. Of two who would found, the lesser
// candidate does.
func (f *founding) heard(e *Engine, from dht.Peer, m Arcs) {
	if f.candidate == 0 || f.asked == nil {
		return
	}
	if m.Candidate != 0 && m.Candidate < f.candidate {
		f.begin(e)
		f.due = e.now.Add(8 * e.cfg.Settle) // that one goes first
		return
	}
	if done, ok := f.asked[from.ID]; ok && !done && m.Lineage == 0 {
		f.asked[from.ID] = true
		e.tryFound()
	}
}

// tryFound begins the lineage when all have said that they know of none.
func (e *Engine) tryFound() {
	f := &e.founding
	for _, done := range f.asked {
		if !done && e.broken != GenesisTwice {
			return
		}
	}
	g := Group{Lineage: f.candidate, Epoch: 1, Members: e.view.from(e.cfg.Self.ID, e.cfg.Copies), Leader: e.cfg.Self}
	if len(g.Members) == 0 || e.lineage != 0 {
		return
	}
	list := f.waiting
	*f = founding{}
	e.lineage = g.Lineage
	e.disk.set([]byte{rowLineage}, lineageValue(g.Lineage))
	e.activate(g)
	e.emit(Founded{g})
	for _, p := range e.view.list {
		if p.ID != e.cfg.Self.ID {
			e.sendSaved(p, Arcs{Lineage: g.Lineage, List: []Tiding{{Group: g}}})
		}
	}
	for _, w := range list {
		e.waiting--
		e.do(w.q, w.from)
	}
}

// foundingTimeout asks, asks again, and ends waits.
func (e *Engine) foundingTimeout() {
	f := &e.founding
	if f.due.IsZero() || e.now.Before(f.due) {
		return
	}
	f.due = e.now.Add(e.cfg.Resend)
	if owner, ok := e.view.owner(dht.ID{}); !ok || owner.ID != e.cfg.Self.ID {
		f.stop(e) // it is another's to begin
		return
	}
	if f.asked == nil {
		f.asked = map[dht.ID]bool{}
		for _, p := range e.view.list {
			if p.ID != e.cfg.Self.ID {
				f.asked[p.ID] = false
			}
		}
	}
	for _, p := range e.view.list {
		if done, ok := f.asked[p.ID]; ok && !done {
			e.send(p, Arcs{Candidate: f.candidate, Ask: true})
		}
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(w foundWaiter) bool {
		if e.now.Before(w.till) {
			return false
		}
		e.waiting--
		e.answer(w.from, Response{ID: w.q.ID, Status: NoMajority, Text: "not all nodes nearby have said that nothing is stored yet"})
		return true
	})
	if len(f.waiting) == 0 {
		*f = founding{}
		return
	}
	e.tryFound()
}

// moving is the records of a lineage that is dissolved, on their way to the other.
type moving struct {
	change *change
	names  []string // to be sent
	out    map[RequestID]*move
}

// move is one record on its way.
type move struct {
	q    Request
	to   dht.Peer
	due  time.Time
	wait time.Duration
}

// maxMoves bounds how many are on their way at once.
const maxMoves = 64

// moveRecords begins to put the records of the sealed epoch into the lesser lineage.
func (e *Engine) moveRecords(c *change) {
	if e.moving.change != nil && slices.Contains(e.changes, e.moving.change) && e.moving.change.step == moved {
		e.fail(c) // one at a time; it is tried again
		return
	}
	e.moving = moving{change: c, out: map[RequestID]*move{}}
	e.moving.names = slices.Clone(c.from.shelf.sorted())
	e.moveMore()
}

func (e *Engine) moveMore() {
	m := &e.moving
	c := m.change
	if c == nil || c.step != moved {
		return
	}
	for len(m.out) < maxMoves && len(m.names) > 0 {
		i := c.from.shelf.items[m.names[0]]
		m.names = m.names[1:]
		q := Request{Op: merge, Name: i.rec.Name, Value: i.raw}
		for k := 0; k < len(q.ID); k += 8 {
			v := e.rng.Uint64()
			for j := range 8 {
				q.ID[k+j] = byte(v >> (8 * j))
			}
		}
		v := &move{q: q, wait: e.cfg.Resend}
		m.out[q.ID] = v
		e.sendMove(v)
	}
	c.since = e.now
	if len(m.out) == 0 {
		e.moving = moving{}
		c.decision = Decision{Into: e.lineage}
		e.propose(c)
	}
}

// sendMove asks who is most likely to lead the record's arc.
func (e *Engine) sendMove(v *move) {
	v.due = e.now.Add(v.wait)
	v.wait = min(2*v.wait, 10*e.cfg.Resend)
	to := v.to
	if to == (dht.Peer{}) {
		p := e.elsewhere(v.q.ID, e.key(v.q.Name))
		to = p.Leader
		if l := e.leadAt(e.key(v.q.Name)); l != nil && l.r.group.Lineage == e.lineage || to == (dht.Peer{}) {
			to = e.cfg.Self
		}
	}
	v.to = dht.Peer{}
	e.send(to, Ask{v.q})
}

// movedRecord takes the outcome for a record on its way.
func (e *Engine) movedRecord(_ dht.Peer, p Response) bool {
	m := &e.moving
	v := m.out[p.ID]
	if v == nil {
		return false
	}
	switch p.Status {
	case OK, Invalid, TooLarge:
		delete(m.out, p.ID)
		e.moveMore()
	case Elsewhere:
		if v.to = p.Leader; p.Leader != (dht.Peer{}) && v.wait < 8*e.cfg.Resend {
			e.sendMove(v)
		}
	}
	return true
}

func (m *moving) due() time.Time {
	var d deadline
	if m.change == nil || m.change.step != moved {
		return d.t
	}
	for _, v := range m.out {
		d.at(v.due)
	}
	return d.t
}

// movingTimeout sends again.
func (e *Engine) movingTimeout() {
	m := &e.moving
	if m.change != nil && (m.change.step != moved || !slices.Contains(e.changes, m.change)) {
		*m = moving{}
		return
	}
	ids := make([]RequestID, 0, len(m.out))
	for id, v := range m.out {
		if !e.now.Before(v.due) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b RequestID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		e.sendMove(m.out[id])
	}
}
