package gossip

import (
	"maps"
	"time"

	"github.com/aether-lan/aether/store"
)

// peer is what is remembered of a connection, and forgotten with it.
type peer struct {
	id   store.MachineID
	told // what it was told
	from // what came from it

	// known is what it has said that it has; sent adds what is on its way to it,
	// from here or, as far as one can tell, from others.
	known, sent store.Vector
	// souls holds the counters of the inventories that it has or was sent.
	souls map[store.MachineID]store.Time
	// met: its vector has come.
	met bool
	// push: send it what it lacks until it lacks nothing.
	push bool
	// browse: send it the inventories that it lacks.
	browse bool
	// diverged, relapsed: the alarm has been given.
	diverged, relapsed bool
	garbled            int // messages that could not be read
	doubts
}

// told is the sending half of a connection.
type told struct {
	session uint64
	number  uint64 // of the last Entries message
	flights []flight
	doubt   bool      // some messages landed and may not have been taken
	waiting time.Time // since when flights is not empty, as exchanges saw it
	say     bool      // a vector is to be sent
	want    bool      // and asks for one in return
	hold    bool      // and asks for nothing more
}

// flight is an Entries message on its way: the last entries of its runs.
type flight struct {
	number uint64
	last   store.Vector
}

// from is the receiving half of a connection.
type from struct {
	came   ackMessage // the last Entries message that came
	done   ackMessage // the last such that it and all before it are dealt with
	ack    bool       // done is to be said
	resync bool       // something was dropped: once done is came, say the vector
}

// landed forgets the flights up to a.Number, and says what those carried that are
// committed there.
func (t *told) landed(a ackMessage) store.Vector {
	if a.Session != t.session {
		return nil
	}
	v := store.Vector{}
	n := 0
	for n < len(t.flights) && t.flights[n].number <= a.Number {
		if t.flights[n].number >= a.First {
			v.Merge(t.flights[n].last)
		} else {
			t.doubt = true
		}
		n++
	}
	if n > 0 {
		t.flights = append([]flight(nil), t.flights[n:]...)
		t.waiting = time.Time{}
	}
	return v
}

// lags reports whether p lacks entries of v that are not on their way to it.
func (p *peer) lags(v store.Vector) bool { return !p.sent.Covers(v) }

// learn takes what the peer says it has for the truth, apart from what is in
// flight.
func (p *peer) learn(v store.Vector, souls map[store.MachineID]store.Time) {
	p.met = true
	p.known = v
	if len(p.flights) == 0 {
		p.forgetSent()
	} else {
		p.sent.Merge(v)
		p.sent.Merge(p.refused)
	}
	p.souls = maps.Clone(souls)
	p.resolve()
}

// resolve ends a doubt when nothing is in flight: only what is known was taken.
func (p *peer) resolve() {
	if p.doubt && len(p.flights) == 0 {
		p.doubt, p.push = false, true
		p.forgetSent()
	}
}

// forgetSent takes what is known for all that was sent, and what p refuses for sent.
func (p *peer) forgetSent() {
	p.sent = p.known.Clone()
	p.sent.Merge(p.refused)
}

// dropped says that of the message that came last something is missing here: it
// and those before it must not be acknowledged as committed, and the peer shall
// hear what is here.
func (p *peer) dropped() {
	p.resync, p.came.First = true, p.came.Number+1
}
