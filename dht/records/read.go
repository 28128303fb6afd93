package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// read lets w wait for a round.
func (e *Engine) read(l *lead, w waiter) {
	if len(l.followers) == 0 && l.saved >= 0 || e.broken == ReadUnconfirmed {
		e.confirmed(l, w)
		return
	}
	l.reads.waiting = append(l.reads.waiting, w)
	e.startRound(l)
}

// confirmed answers a read whose round is over, if what it saw is committed.
func (e *Engine) confirmed(l *lead, w waiter) {
	if w.seq <= l.committed || e.broken == ReadUnconfirmed {
		e.finish(w)
		return
	}
	at, _ := slices.BinarySearchFunc(l.writes, w.seq+1, func(v waiter, seq uint64) int {
		if v.seq < seq {
			return -1
		}
		return 1
	})
	l.writes = slices.Insert(l.writes, at, w)
}

// startRound begins a round for all reads that wait, unless one is under way.
func (e *Engine) startRound(l *lead) {
	if !l.established || !l.reads.at.IsZero() || len(l.reads.waiting) == 0 {
		return
	}
	l.reads.round++
	l.reads.at = e.now
	l.reads.asked, l.reads.waiting = l.reads.waiting, l.reads.asked[:0]
	for _, f := range l.followers {
		e.send(f.peer, Confirm{l.r.ref, l.reads.round})
	}
	e.endRound(l)
}

// endRound ends the round when a majority has confirmed it.
func (e *Engine) endRound(l *lead) {
	n := 1
	for _, f := range l.followers {
		if f.confirmed == l.reads.round {
			n++
		}
	}
	if l.reads.at.IsZero() || n < l.r.group.majority() {
		return
	}
	l.reads.at = time.Time{}
	for _, w := range l.reads.asked {
		e.confirmed(l, w)
	}
	clear(l.reads.asked)
	l.reads.asked = l.reads.asked[:0]
	e.startRound(l)
}

// onConfirmed counts a member's word.
func (e *Engine) onConfirmed(from dht.Peer, m Confirmed) {
	l, f := e.follower(from, m.Of)
	if f == nil || m.Round != l.reads.round {
		return
	}
	f.confirmed = m.Round
	e.endRound(l)
}
