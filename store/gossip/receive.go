package gossip

import (
	"maps"
	"math"
	"time"

	"github.com/aether-lan/aether/store"
)

// inbox holds entries that came and are not committed, in the order in which they
// came, and between them marks where a message ended.
type inbox struct {
	heard store.Vector             // the vector, and what waits here
	ends  map[store.MachineID]hash // the chains at heard, where that is beyond the vector
	queue []arrival
	taken int // how many of queue Received has handed over
	bytes int
}

// arrival is an entry, or with a peer the end of a message of that peer.
type arrival struct {
	entry Entry
	peer  store.MachineID
	end   ackMessage
}

func (a *arrival) isEnd() bool { return !a.peer.IsZero() }

func (b *inbox) take(most int) []Entry {
	var out []Entry
	for ; b.taken < len(b.queue) && len(out) < most; b.taken++ {
		if a := &b.queue[b.taken]; !a.isEnd() {
			out = append(out, a.entry)
		}
	}
	return out
}

func (b *inbox) putBack() { b.taken = 0 }

// HandlePacket takes a message from a peer. What cannot be read, or comes from a
// peer that is not up, is counted and dropped.
func (e *Engine) HandlePacket(now time.Time, pkt Packet) {
	p := e.peers[pkt.Peer]
	if p == nil {
		e.counters.Stranger++
		return
	}
	m, err := parse(pkt.Message)
	if err != nil {
		e.counters.Garbage++
		if p.garbled++; p.garbled%100 == 1 {
			e.tell(Garbled{Peer: p.id, Count: p.garbled})
		}
		return
	}
	switch m := m.(type) {
	case *vectorMessage:
		e.handleVector(p, m)
	case *entriesMessage:
		e.handleEntries(p, m)
	case *ackMessage:
		e.handleAck(p, m)
	case *inventoryMessage:
		e.handleInventory(now, p, m)
	case *evidenceMessage:
		e.handleEvidence(p, &m.Run)
	}
}

// handleVector learns what the peer has: the start of a push, if it lacks
// something, and perhaps an answer.
func (e *Engine) handleVector(p *peer, m *vectorMessage) {
	theirs, souls := store.Vector{}, map[store.MachineID]store.Time{}
	p.refused = store.Vector{}
	for _, h := range m.Has {
		if h.Refused {
			p.refused[h.Machine] = math.MaxUint64
		}
		if h.Seq > 0 {
			theirs[h.Machine] = h.Seq
			if e.refuses(h.Machine) {
				p.refuse(h.Machine)
			}
		}
		if h.Inventory > 0 {
			souls[h.Machine] = h.Inventory
		}
	}
	p.landed(m.Ack)
	p.learn(theirs, souls)
	p.push, p.browse = !m.Hold, true
	ours := e.log.vector
	if m.Want && (!ours.Covers(theirs) || e.inventory.lacks(e.cfg.Self, souls)) {
		p.say = true
	}
	for _, c := range m.Yours {
		e.handleClaim(p, c)
	}
	e.compareTails(p, m.Has)
	e.compareRoots(p, theirs, m.Root)
}

// compareRoots raises the alarm if equal entries led to unequal states. While a log has
// forked, equal vectors do not mean equal entries.
func (e *Engine) compareRoots(p *peer, theirs store.Vector, root []byte) {
	if len(root) == 0 || len(e.root) == 0 || len(e.log.forks) > 0 || !maps.Equal(theirs, e.log.vector) {
		return
	}
	same := string(root) == string(e.root)
	switch {
	case !same && !p.diverged:
		e.tell(Diverged{Peer: p.id})
	case same && p.diverged:
		e.tell(Agreed{Peer: p.id})
	}
	p.diverged = !same
}

// handleAck opens the window: what the messages carried is committed there.
func (e *Engine) handleAck(p *peer, m *ackMessage) {
	p.known.Merge(p.landed(*m))
	p.sent.Merge(p.known)
	p.resolve()
}

// handleEntries queues what is new and next of its author.
func (e *Engine) handleEntries(p *peer, m *entriesMessage) {
	if p.came.Session != m.Session {
		p.came, p.done = ackMessage{Session: m.Session}, ackMessage{Session: m.Session}
	}
	// A number that is missing was lost on the way: an Ack would speak for it too.
	hole := m.Number != p.came.Number+1
	p.came.Number = m.Number
	if hole {
		p.dropped()
	}
	for i := range m.Runs {
		if e.accept(p, &m.Runs[i]) {
			e.credit(p, m.Also, &m.Runs[i])
		}
	}
	e.inbox.queue = append(e.inbox.queue, arrival{peer: p.id, end: p.came})
	e.settle()
}

// credit notes that p has the run, and that others were sent it.
func (e *Engine) credit(p *peer, also []store.MachineID, r *run) {
	if p.known[r.Machine] >= r.First-1 {
		p.known[r.Machine] = max(p.known[r.Machine], r.last())
	}
	if p.sent[r.Machine] >= r.First-1 {
		p.sent[r.Machine] = max(p.sent[r.Machine], r.last())
	}
	for _, id := range also {
		if q := e.peers[id]; q != nil && q != p && q.met && q.sent[r.Machine] >= r.First-1 {
			q.sent[r.Machine] = max(q.sent[r.Machine], r.last())
		}
	}
}

// accept queues the entries of r that follow what has been heard, once it is sure
// that their author wrote them. It reports whether p can be believed to have r.
func (e *Engine) accept(p *peer, r *run) bool {
	b := &e.inbox
	heard, ok := b.heard[r.Machine]
	switch {
	case !ok && len(b.heard) >= MaxMachines:
		p.hold = true
		fallthrough
	case e.refuses(r.Machine):
		e.counters.Refused += uint64(len(r.Payloads))
		p.refuse(r.Machine)
		p.dropped()
		return false
	case r.last() < heard:
		e.counters.Duplicate += uint64(len(r.Payloads))
		return true
	case r.First > heard+1:
		e.counters.Gap += uint64(len(r.Payloads))
		p.dropped()
		return true
	}
	if !e.prove(p, r, heard) {
		p.dropped()
		return false
	}
	e.enqueue(p, r, heard)
	return true
}

// enqueue adds what is new of r, as far as there is room.
func (e *Engine) enqueue(p *peer, r *run, heard uint64) {
	b := &e.inbox
	end := r.Before
	for i, payload := range r.Payloads {
		d := store.Dot{Machine: r.Machine, Seq: r.First + uint64(i)}
		end = follow(end, d, payload)
		if d.Seq <= heard {
			e.counters.Duplicate++
			continue
		}
		if b.bytes+len(payload)+arrivalSize > e.cfg.Inbox {
			e.counters.Overflow += uint64(len(r.Payloads) - i)
			p.dropped()
			return
		}
		en := Entry{Dot: d, Payload: payload}
		if d.Seq == r.last() {
			en.Seal = r.Seal
		}
		b.heard[r.Machine], b.ends[r.Machine] = d.Seq, end
		b.bytes += len(payload) + arrivalSize
		b.queue = append(b.queue, arrival{entry: en})
	}
}

// arrivalSize is about what an arrival takes beside its payload.
const arrivalSize = 128

// settle removes from the front of the inbox what is committed, and lets the
// messages that end there be acknowledged.
func (e *Engine) settle() {
	b := &e.inbox
	n := 0
	for ; n < len(b.queue); n++ {
		a := &b.queue[n]
		if !a.isEnd() {
			if !e.log.vector.Has(a.entry.Dot) {
				break
			}
			b.bytes -= len(a.entry.Payload) + arrivalSize
			continue
		}
		p := e.peers[a.peer]
		if p == nil || p.came.Session != a.end.Session {
			continue // that connection is gone
		}
		p.done, p.ack = a.end, true
		if p.resync && p.done == p.came {
			p.resync, p.ack, p.say = false, false, true
		}
	}
	if n > 0 {
		b.queue = append([]arrival(nil), b.queue[n:]...)
		b.taken = max(0, b.taken-n)
	}
}
