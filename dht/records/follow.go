package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// onWrote takes a member's word on what it has.
func (e *Engine) onWrote(from dht.Peer, m Wrote) {
	l, f := e.follower(from, m.Of)
	if f == nil {
		return
	}
	f.missing, f.full, f.wait = !m.Installed, m.Full, e.cfg.Resend
	if m.Seq > l.r.seq {
		e.refuse(from, "has writes that were never made")
		return
	}
	f.acked = max(f.acked, int64(m.Seq))
	if m.Seq+1 < l.window.first && m.Installed {
		f.behind = true
	}
	switch {
	case f.missing || f.behind:
		e.survey.due = e.now // it needs a new epoch
		f.due = time.Time{}
	case uint64(f.acked) >= l.r.seq:
		f.due = time.Time{}
	case m.Seq >= f.sent:
		f.due = e.now // there is more for it
	default:
		f.due = e.now.Add(f.wait)
	}
	e.commit(l)
	e.dirty = true
}

// follower returns the lead of the group and the follower that from is in it.
func (e *Engine) follower(from dht.Peer, of Ref) (*lead, *follower) {
	for _, l := range e.leads {
		if l.r.ref == of {
			for _, f := range l.followers {
				if f.peer.ID == from.ID {
					return l, f
				}
			}
		}
	}
	return nil, nil
}

// flush sends followers the writes that they have not been sent.
func (e *Engine) flush() {
	if !e.dirty {
		return
	}
	e.dirty = false
	for _, l := range e.leads {
		for _, f := range l.followers {
			if f.sent < l.r.seq && f.acked >= 0 && !f.missing && !f.behind {
				e.sendWrites(l, f, f.sent+1)
			}
		}
	}
}

// maxFlight bounds how many writes a member is sent ahead of what it has.
const maxFlight = 4096

// sendWrites sends the writes from number first on, as many as fit a message, and
// asks how far the follower is.
func (e *Engine) sendWrites(l *lead, f *follower, first uint64) {
	for {
		if first < l.window.first {
			first = l.r.seq + 1 // it cannot be served any more; ask
		}
		list, bytes := l.window.list[first-l.window.first:], 0
		n := 0
		for n < len(list) && n < maxEntries && bytes < maxPiece && first+uint64(n) <= uint64(max(f.acked, 0))+maxFlight {
			bytes += len(list[n].Record) + len(list[n].Name)
			n++
		}
		e.send(f.peer, Write{l.r.ref, first, l.established, slices.Clone(list[:n])})
		first += uint64(n)
		f.sent = max(f.sent, first-1)
		f.due = e.now.Add(f.wait)
		if n == 0 || first > l.r.seq || first > uint64(max(f.acked, 0))+maxFlight {
			return
		}
	}
}
