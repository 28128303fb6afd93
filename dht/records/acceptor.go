package records

import (
	"github.com/aether-lan/aether/dht"
)

// member returns this node's replica of a group that was decided, as an acceptor.
func (e *Engine) member(from dht.Peer, g Group) *replica {
	if !g.Has(e.cfg.Self.ID) {
		e.refuse(from, "takes this node for a member")
		return nil
	}
	e.activate(g)
	r := e.find(g.Ref(), active, past)
	if r == nil {
		e.send(from, e.tidings(g))
	}
	return r
}

// onPrepare is phase 1b. The promise is on disk before it leaves, and so are all
// writes that it tells of.
func (e *Engine) onPrepare(from dht.Peer, m Prepare) {
	if m.Ballot.ID != from.ID {
		e.refuse(from, "prepares the ballot of another node")
		return
	}
	r := e.member(from, m.Group)
	if r == nil {
		return
	}
	a := &r.acceptor
	switch {
	case r.phase == past:
		e.sendSaved(from, Decided{r.ref, a.decision})
		return
	case m.Ballot.Less(a.promised):
		e.send(from, Nack{r.ref, m.Ballot, a.promised})
		return
	case a.promised.Less(m.Ballot):
		a.promised = m.Ballot
		e.saveReplica(r)
		if e.broken != SkipSeal {
			e.cede(r)
		}
	}
	e.sendSaved(from, Promise{r.ref, m.Ballot, a.accepted, a.decision, r.installed, e.leaving, r.seq})
}

// onAccept is phase 2b.
func (e *Engine) onAccept(from dht.Peer, m Accept) {
	r := e.find(m.Of, active, past)
	switch {
	case m.Ballot.ID != from.ID:
		e.refuse(from, "proposes in the ballot of another node")
		return
	case r == nil:
		e.unheard(from, m.Of)
		return
	case r.phase == past:
		e.sendSaved(from, Decided{r.ref, r.acceptor.decision})
		return
	case m.Ballot.Less(r.acceptor.promised) && e.broken != AcceptBelowPromise:
		e.send(from, Nack{r.ref, m.Ballot, r.acceptor.promised})
		return
	}
	e.cede(r)
	if r.acceptor.accepted != m.Ballot {
		r.acceptor = acceptor{m.Ballot, m.Ballot, m.Decision}
		e.saveReplica(r)
	}
	e.sendSaved(from, Accepted{r.ref, m.Ballot})
}

// onDecided learns what was chosen.
func (e *Engine) onDecided(from dht.Peer, m Decided) {
	var mine []Ref
	for _, g := range m.Decision.Groups {
		if g.Has(e.cfg.Self.ID) {
			if e.activate(g) {
				mine = append(mine, g.Ref())
			}
			continue
		}
		e.learn(Tiding{Group: g})
	}
	e.hear(m.Decision.Into)
	r := e.find(m.Of, active, past)
	if r != nil && m.Of != (Ref{}) && !m.Decision.isZero() {
		mine = append(mine, m.Of)
		e.bury(r, m.Decision)
	}
	e.changeDecided(m)
	if len(mine) > 0 {
		e.sendSaved(from, Active{mine})
	}
}

// bury ends a replica whose successors are known. It goes when those know it too.
func (e *Engine) bury(r *replica, d Decision) {
	if r.phase == past {
		return
	}
	e.cede(r)
	r.phase, r.acceptor.decision = past, d
	r.chase = chase{since: e.now, next: e.now.Add(10 * e.cfg.Resend), wait: 10 * e.cfg.Resend}
	e.clearShelf(r)
	e.saveReplica(r)
	if d.Into != 0 {
		e.markOver(r.group)
	}
	e.settleHeirs()
}

// onActive counts those who know that their group was decided.
func (e *Engine) onActive(from dht.Peer, m Active) {
	for _, of := range m.Of {
		e.changeActive(from, of)
	}
}

// onGather hands out the records of a sealed epoch, a piece at a time.
func (e *Engine) onGather(from dht.Peer, m Gather) {
	r := e.find(m.Of, active)
	if r == nil || !r.sealed() || !r.installed {
		e.unheard(from, m.Of)
		return
	}
	list, last := r.shelf.piece(e.now, m.After, func(*item) bool { return true })
	e.send(from, Piece{m.Of, m.Ballot, m.After, last, list})
}

// maxStages bounds the proposed groups whose records a node takes.
const maxStages = 64

// onInstall takes the first records of a proposed group.
func (e *Engine) onInstall(from dht.Peer, m Install) {
	ref := m.Group.Ref()
	refused := Installed{Of: ref, Part: m.Part, Refused: true}
	switch {
	case !m.Group.Has(e.cfg.Self.ID) || m.Group.Tag.ID != from.ID:
		e.refuse(from, "installs what is not its own proposal")
		return
	case e.find(ref, active, past) != nil:
		e.sendSaved(from, Installed{Of: ref, Part: m.Part, Last: true})
		return
	case e.floor(m.Group.Lineage, m.Group.Arc) >= m.Group.Epoch, e.lineage != 0 && m.Group.Lineage > e.lineage:
		e.send(from, refused)
		return
	}
	r := e.find(ref, staged)
	if r == nil {
		if m.Part != 0 || e.stages() >= maxStages || e.bytes() >= 2*e.cfg.MaxBytes {
			e.stats.StagesRefused++
			e.send(from, refused)
			return
		}
		r = &replica{number: e.disk.number(), group: m.Group, ref: ref, phase: staged, shelf: newShelf(e.disk.number())}
		r.staging.of = m.Of
		r.chase = chase{since: e.now, next: e.now.Add(50 * e.cfg.Resend), wait: 50 * e.cfg.Resend}
		e.replicas = append(e.replicas, r)
	}
	if e.obsolete(r) || !e.takeStage(r, m) {
		e.remove(r)
		e.send(from, refused)
		return
	}
	e.sendSaved(from, Installed{Of: ref, Part: m.Part, Last: r.staging.whole})
}

// takeStage takes one part. Parts come in order; one that came before is only
// acknowledged again.
func (e *Engine) takeStage(r *replica, m Install) bool {
	s := &r.staging
	switch {
	case s.whole || m.Part < s.parts:
		return true
	case m.Own:
		old := e.find(m.Of, active)
		if old == nil || !old.sealed() || !old.installed || old.seq != m.Seq {
			return false
		}
		s.own = true
	case m.Part > s.parts:
		return false
	}
	for _, n := range m.Entries {
		i, err := e.item(n)
		if err != nil || !r.group.Arc.Contains(i.key) {
			return false
		}
		r.shelf.put(i)
		e.disk.set(recordKey(r.shelf.set, n.Name), i.raw)
	}
	s.parts++
	s.whole = m.Last
	e.saveReplica(r)
	return true
}

func (e *Engine) stages() (n int) {
	for _, r := range e.replicas {
		if r.phase == staged {
			n++
		}
	}
	return n
}

// onAbandon drops what its proposer will never have decided.
func (e *Engine) onAbandon(from dht.Peer, m Abandon) {
	if r := e.find(m.Of, staged); r != nil && m.Of.Tag.ID == from.ID {
		e.remove(r)
	}
}
