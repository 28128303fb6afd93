package gossip

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/aether-lan/aether/store"
)

// Errors of Append and Ready.
var (
	// ErrRelapsed reports that entries of this machine are missing here which others
	// have. They are on their way, or their keepers away.
	ErrRelapsed = errors.New("gossip: this machine lacks entries of its own that others have")
	// ErrForked reports that this machine has written two logs: it needs a new
	// identity.
	ErrForked = errors.New("gossip: this machine has written two logs under one identity")
)

// doubts is what is remembered of a connection about who lies.
type doubts struct {
	// claimed: the peer was told of its own log.
	claimed bool
	// refused holds the machines of which the peer wants no entries.
	refused store.Vector
	// unwanted holds the machines whose entries it has or brought and that are not
	// taken here.
	unwanted map[store.MachineID]bool
	// evidence is the machines of which the peer shall be shown our last entries;
	// shown those of which it was.
	evidence []store.MachineID
	shown    map[store.MachineID]bool
	// forged counts by author what came and is not theirs.
	forged map[store.MachineID]int
}

func newDoubts() doubts {
	return doubts{refused: store.Vector{}, unwanted: map[store.MachineID]bool{}, shown: map[store.MachineID]bool{}, forged: map[store.MachineID]int{}}
}

// refuse notes that the peer is to be told that entries of m are not wanted.
func (d *doubts) refuse(m store.MachineID) {
	if len(d.unwanted) < MaxMachines {
		d.unwanted[m] = true
	}
}

// maxForged is after how many forgeries under one name nothing more is looked at
// that a connection brings under it: to verify takes time.
const maxForged = 8

// Ready returns nil if Append may be called: the error that it would have otherwise.
func (e *Engine) Ready() error {
	if _, ok := e.log.forks[e.cfg.Self]; ok {
		return ErrForked
	}
	if e.owed > e.log.vector[e.cfg.Self] {
		return ErrRelapsed
	}
	return nil
}

// refuses reports whether no entries of m are taken any more.
func (e *Engine) refuses(m store.MachineID) bool {
	if _, ok := e.log.forks[m]; ok {
		return true
	}
	return e.cfg.Member != nil && m != e.cfg.Self && !e.cfg.Member(m)
}

// heardEnd returns the chain of m up to what has been heard.
func (e *Engine) heardEnd(m store.MachineID, heard uint64) hash {
	if t := e.log.tail(m); t.seq == heard {
		return t.hash
	}
	return e.inbox.ends[m]
}

// prove reports whether r is what its author wrote, and goes on from what is here
// up to heard. If it is the author's and does not, the author has forked.
func (e *Engine) prove(p *peer, r *run, heard uint64) bool {
	if p.forged[r.Machine] >= maxForged {
		e.counters.Forged += uint64(len(r.Payloads))
		return false
	}
	end, joint := r.Before, r.First-1 == heard && r.Before == e.heardEnd(r.Machine, heard)
	for i, payload := range r.Payloads {
		d := store.Dot{Machine: r.Machine, Seq: r.First + uint64(i)}
		end = follow(end, d, payload)
		joint = joint || d.Seq == heard && end == e.heardEnd(r.Machine, heard)
	}
	if joint && r.last() == heard {
		return true // all of it is here
	}
	if !sealed(r.Machine, headText(r.Machine, r.last(), end), r.Seal) {
		e.forgery(p, r.Machine, uint64(len(r.Payloads)))
		return false
	}
	if !joint {
		e.fork(p, r.Machine, e.differs(r, heard))
	}
	return joint
}

// forgery counts n things that came from p under the name of author.
func (e *Engine) forgery(p *peer, author store.MachineID, n uint64) {
	e.counters.Forged += n
	p.hold = true // else it would be asked for at once what it cannot give
	if p.forged[author]++; p.forged[author] == 1 {
		e.tell(Forged{Peer: p.id, Author: author})
	}
}

// differs returns the first number at which r is not what is here; where that
// cannot be told, the last that is here.
func (e *Engine) differs(r *run, heard uint64) uint64 {
	h, err := e.log.at(r.Machine, r.First-1)
	if err != nil || h != r.Before {
		return min(r.First, heard)
	}
	ours, _, err := e.log.payloads(r.Machine, r.First, r.last(), maxRun)
	for i, b := range ours.Payloads {
		if err != nil || i >= len(r.Payloads) || !bytes.Equal(b, r.Payloads[i]) {
			return r.First + uint64(i)
		}
	}
	return heard
}

// fork notes that author has signed two logs.
func (e *Engine) fork(p *peer, author store.MachineID, n uint64) {
	if e.log.forked(author, n) {
		e.tell(Forked{Author: author, Seq: n, Peer: p.id})
		for _, q := range e.order() {
			q.say = q.say || q.met // others shall send no more of it
		}
	}
}

// shortened is what a vector says of a chain.
func shortened(h hash) uint64 { return binary.BigEndian.Uint64(h[:]) }

// claimOf returns the last head of id that is here.
func (e *Engine) claimOf(id store.MachineID) []claim {
	n := e.log.covered[id]
	if n == 0 {
		return nil
	}
	seq, head, err := e.log.headBefore(id, n)
	if err != nil || seq != n || len(head) != len(hash{})+sealSize {
		return nil
	}
	return []claim{{Seq: n, Hash: head[:len(hash{})], Seal: head[len(hash{}):]}}
}

// handleClaim takes what a peer has of this machine's own log. What is missing here
// is waited for; what is not the same is a fork.
func (e *Engine) handleClaim(p *peer, c claim) {
	self := e.cfg.Self
	if !sealed(self, headText(self, c.Seq, hash(c.Hash)), c.Seal) {
		e.forgery(p, self, 1)
		return
	}
	ours := e.log.vector[self]
	if c.Seq > ours {
		e.owed = max(e.owed, c.Seq)
		if !p.relapsed {
			p.relapsed = true
			e.tell(Relapsed{Peer: p.id, Ours: ours, Theirs: c.Seq})
		}
		return
	}
	if h, err := e.log.at(self, c.Seq); err == nil && h != hash(c.Hash) {
		e.fork(p, self, c.Seq)
	}
}

// compareTails finds machines of whose logs the peer has others than we, by what its
// vector says: it is sent ours, and makes up its mind.
func (e *Engine) compareTails(p *peer, lines []has) {
	for _, h := range lines {
		t, ok := e.log.tails[h.Machine]
		if !ok || p.shown[h.Machine] || h.Refused {
			continue
		}
		_, forked := e.log.forks[h.Machine]
		if forked && h.Seq > 0 || h.Seq == t.seq && h.Tail != shortened(t.hash) {
			p.shown[h.Machine] = true
			p.evidence = append(p.evidence, h.Machine)
		}
	}
}

// pushEvidence adds the last entries of the machines of which peers have others.
func (e *Engine) pushEvidence(order []*peer, out []Packet) []Packet {
	for _, p := range order {
		for _, m := range p.evidence {
			if r, ok := e.lastRun(m); ok {
				out = append(out, Packet{Peer: p.id, Message: encode(&evidenceMessage{Run: r})})
			}
		}
		p.evidence = nil
	}
	return out
}

// lastRun returns the last entries of m that lie under a head, from the head before.
func (e *Engine) lastRun(m store.MachineID) (run, bool) {
	last := e.log.covered[m]
	if last == 0 {
		return run{}, false
	}
	before, _, err := e.log.headBefore(m, last-1)
	if err != nil {
		return run{}, false
	}
	r, _, err := e.log.payloads(m, before+1, last, maxRun)
	if err != nil || len(r.Payloads) == 0 || r.last() != last {
		return run{}, false
	}
	if r.Before, err = e.log.at(m, before); err != nil {
		return run{}, false
	}
	if m == e.cfg.Self {
		r.Seal = e.signer.head(last, r.end())
		return r, true
	}
	_, head, err := e.log.headBefore(m, last)
	if err != nil || len(head) != len(hash{})+sealSize {
		return run{}, false
	}
	r.Seal = head[len(hash{}):]
	return r, true
}

// handleEvidence compares entries that a peer has with those here.
func (e *Engine) handleEvidence(p *peer, r *run) {
	_, forked := e.log.forks[r.Machine]
	if forked || r.last() > e.log.vector[r.Machine] || p.forged[r.Machine] >= maxForged {
		return
	}
	ours, err := e.log.at(r.Machine, r.last())
	end := r.end()
	if err != nil || ours == end {
		return
	}
	if !sealed(r.Machine, headText(r.Machine, r.last(), end), r.Seal) {
		e.forgery(p, r.Machine, uint64(len(r.Payloads)))
		return
	}
	e.fork(p, r.Machine, e.differs(r, r.last()))
}
