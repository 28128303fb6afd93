package gossip

import (
	"github.com/aether-lan/aether/store"
)

// spread chooses up to Fanout of the peers that lack what is new, to be pushed it
// at once. The others hear of it from those, or by an exchange.
func (e *Engine) spread() {
	var lagging []*peer
	for _, p := range e.order() {
		if p.met && !p.push && p.lags(e.log.covered) {
			lagging = append(lagging, p)
		}
	}
	for _, p := range e.choose(lagging) {
		p.push = true
	}
}

// choose returns at most Fanout random ones of peers.
func (e *Engine) choose(peers []*peer) []*peer {
	if len(peers) > e.cfg.Fanout {
		e.cfg.Rand.Shuffle(len(peers), func(i, k int) { peers[i], peers[k] = peers[k], peers[i] })
		peers = peers[:e.cfg.Fanout]
	}
	return peers
}

// Outgoing returns the messages to send and forgets them. They depend only on
// what Committed has confirmed; the driver syncs its disk before it sends them.
func (e *Engine) Outgoing() []Packet {
	var out []Packet
	order := e.order()
	for _, p := range order {
		if m := e.answer(p); m != nil {
			out = append(out, Packet{Peer: p.id, Message: encode(m)})
		}
	}
	var letters []letter
	for _, p := range order {
		letters = e.pushTo(p, letters)
	}
	for _, l := range letters {
		l.message.Also = e.also(order, l)
		out = append(out, Packet{Peer: l.to.id, Message: encode(l.message)})
	}
	out = e.pushEvidence(order, out)
	return e.pushInventories(order, out)
}

// answer returns the vector or acknowledgement that p is owed, or nil.
func (e *Engine) answer(p *peer) message {
	if p.say {
		m := e.vectorFor(p)
		p.say, p.want, p.hold, p.ack = false, false, false, false
		return m
	}
	if p.ack && !p.resync {
		p.ack = false
		return &ackMessage{Session: p.done.Session, First: p.done.First, Number: p.done.Number}
	}
	return nil
}

func (e *Engine) vectorFor(p *peer) *vectorMessage {
	m := &vectorMessage{Root: e.root, Ack: p.done, Want: p.want, Hold: p.hold}
	all := e.log.vector.Clone()
	for id := range e.inventory.of {
		if _, ok := all[id]; !ok && len(all) < MaxMachines {
			all[id] = 0
		}
	}
	for id := range p.unwanted {
		if _, ok := all[id]; !ok && len(all) < MaxMachines && e.refuses(id) {
			all[id] = 0
		}
	}
	for _, id := range all.Machines() {
		h := has{Machine: id, Seq: all[id], Inventory: e.inventory.of[id].counter, Refused: e.refuses(id)}
		if h.Seq > 0 {
			h.Tail = shortened(e.log.tails[id].hash)
		}
		m.Has = append(m.Has, h)
	}
	if !p.claimed {
		p.claimed = true
		m.Yours = e.claimOf(p.id)
	}
	return m
}

// letter is an Entries message about to be sent, and the last of its entries.
type letter struct {
	to      *peer
	message *entriesMessage
	last    store.Vector
}

// pushTo adds messages for p while it lacks something and its window is open.
// Entries are read from the disk now and not kept.
func (e *Engine) pushTo(p *peer, letters []letter) []letter {
	for p.met && p.push && len(p.flights) < e.cfg.Window {
		l := letter{to: p, message: &entriesMessage{Session: p.session}, last: store.Vector{}}
		l.message.Runs = e.runsFor(p, l.last)
		if len(l.message.Runs) == 0 {
			p.push = false
			break
		}
		p.number++
		l.message.Number = p.number
		p.sent.Merge(l.last)
		p.flights = append(p.flights, flight{number: p.number, last: l.last})
		letters = append(letters, l)
	}
	return letters
}

// runsFor reads what p lacks, one message of it, and notes the last of each run.
func (e *Engine) runsFor(p *peer, last store.Vector) []run {
	var runs []run
	room := e.cfg.MessageSize
	for _, m := range e.log.covered.Machines() {
		if p.sent[m] >= e.log.covered[m] {
			continue
		}
		if room < perRun {
			break
		}
		r, size, err := e.log.read(m, p.sent[m]+1, room)
		if err != nil || len(r.Payloads) == 0 {
			e.counters.Unread++
			continue
		}
		if m == e.cfg.Self {
			r.Seal = e.signer.head(r.last(), r.end())
		}
		if len(runs) > 0 && size > room {
			break // one large entry, which goes into a message of its own
		}
		runs = append(runs, r)
		last[m] = r.last()
		room -= size + perRun
	}
	return runs
}

// perRun is about what a run costs in a message beside its payloads.
const perRun = 32 + len(hash{}) + sealSize

// also names the other peers that, with what was sent just now, have or will have
// all of l.
func (e *Engine) also(order []*peer, l letter) []store.MachineID {
	var ids []store.MachineID
	for _, q := range order {
		if q != l.to && q.met && len(ids) < maxAlso && q.sent.Covers(l.last) {
			ids = append(ids, q.id)
		}
	}
	return ids
}
