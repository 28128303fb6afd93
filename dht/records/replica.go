package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// phase is where a member stands with a group.
type phase uint8

const (
	// staged: the group is proposed, and its first records come or are there.
	staged phase = 1 + iota
	// active: the group was decided.
	active
	// past: what follows the group was decided, and is kept until its members know.
	past
)

// replica is a member's part of a group.
type replica struct {
	number uint64 // of its rows
	group  Group
	ref    Ref
	phase  phase
	shelf  *shelf
	seq    uint64 // the last write that it has
	moved  bool   // seq is to be saved
	// installed: it had the group's first records, all of them.
	installed bool
	acceptor  acceptor
	staging   staging
	chase     chase
}

// acceptor decides with the others what follows their group ("Paxos Made Simple",
// section 2.2). To promise is to seal: no write is taken in this epoch any more.
type acceptor struct {
	promised, accepted Ballot
	decision           Decision // accepted, and when the replica is past, chosen
}

// staging is of a replica that is staged.
type staging struct {
	of    Ref    // the group that it would follow
	own   bool   // its records are those that the node has of that group
	parts uint64 // that came
	whole bool
}

// chase is when to ask or tell others about a replica that is not as it should be.
type chase struct {
	since time.Time // it is so; zero: all is well
	next  time.Time
	wait  time.Duration
}

// hurry has the chase begin anew: what was in vain may not be any more.
func (c *chase) hurry(now time.Time, wait time.Duration) {
	if !c.since.IsZero() {
		c.wait = 2 * wait
		if next := now.Add(wait); c.next.After(next) {
			c.next = next
		}
	}
}

// sealed reports whether the replica takes no writes.
func (r *replica) sealed() bool { return !r.acceptor.promised.IsZero() || r.phase != active }

// find returns the replica of the group in one of the phases.
func (e *Engine) find(of Ref, phases ...phase) *replica {
	for _, r := range e.replicas {
		if r.ref == of && slices.Contains(phases, r.phase) {
			return r
		}
	}
	return nil
}

// remove forgets a replica, and its rows but for those that heirs keep.
func (e *Engine) remove(r *replica) {
	e.cede(r)
	e.clearShelf(r)
	e.disk.delete(numberKey(rowReplica, r.number))
	e.disk.delete(numberKey(rowSeq, r.number))
	e.replicas = slices.DeleteFunc(e.replicas, func(v *replica) bool { return v == r })
}

func (e *Engine) clearShelf(r *replica) {
	for name := range r.shelf.items {
		e.disk.delete(recordKey(r.shelf.set, name))
	}
	r.shelf = newShelf(r.shelf.set)
}

// apply stores a record as the next write.
func (e *Engine) apply(r *replica, i *item) {
	r.seq++
	r.moved = true
	r.shelf.put(i)
	e.disk.set(recordKey(r.shelf.set, i.rec.Name), i.raw)
}

func (e *Engine) applyForget(r *replica, name string) {
	r.seq++
	r.moved = true
	r.shelf.drop(name)
	e.disk.delete(recordKey(r.shelf.set, name))
}

// item makes an item of an entry that another node sent.
func (e *Engine) item(n Entry) (*item, error) {
	rec, err := ParseRecord(n.Name, n.Record)
	if err != nil {
		return nil, err
	}
	i := &item{rec: rec, raw: n.Record, key: e.key(n.Name), got: e.now, left: rec.TTL}
	if n.Left != 0 {
		i.left = min(n.Left, rec.TTL)
	}
	return i, nil
}

// onWrite takes writes of the group's leader, each after the one before it.
func (e *Engine) onWrite(from dht.Peer, m Write) {
	r := e.find(m.Of, active)
	if r == nil {
		e.unheard(from, m.Of)
		return
	}
	if !from.Is(r.group.Leader) {
		e.refuse(from, "writes in an epoch that it does not lead")
		return
	}
	if m.Established {
		e.learn(Tiding{Group: r.group, Established: true})
	}
	if !e.open(r) {
		e.send(from, e.tidings(r.group))
		return
	}
	if r.installed {
		for k, n := range m.Entries {
			if m.First+uint64(k) != r.seq+1 {
				continue // it has it, or there is a gap
			}
			if !e.takeWrite(r, n) {
				e.refuse(from, "malformed record")
				return
			}
		}
	}
	e.sendSaved(from, Wrote{r.ref, r.seq, r.installed, e.bytes() >= e.cfg.MaxBytes})
}

func (e *Engine) takeWrite(r *replica, n Entry) bool {
	if len(n.Record) == 0 {
		e.applyForget(r, n.Name)
		return true
	}
	i, err := e.item(n)
	if err != nil || !r.group.Arc.Contains(i.key) {
		return false
	}
	i.seq = r.seq + 1
	e.apply(r, i)
	return true
}

// open reports whether the epoch is still open, for all that this node knows.
func (e *Engine) open(r *replica) bool {
	return !r.sealed() && !e.overtaken(r) || e.broken == SkipSeal
}

// onConfirm says whether the epoch is open, for all that this member knows.
func (e *Engine) onConfirm(from dht.Peer, m Confirm) {
	r := e.find(m.Of, active)
	switch {
	case r == nil:
		e.unheard(from, m.Of)
	case !e.open(r):
		e.send(from, e.tidings(r.group))
	case from.Is(r.group.Leader):
		e.send(from, Confirmed(m))
	}
}

// unheard answers about a group that this node has no part in: with what it knows to
// come later there, or that it has not heard of it.
func (e *Engine) unheard(from dht.Peer, of Ref) {
	if later := e.later(of); len(later.List) > 0 {
		e.send(from, later)
		return
	}
	e.send(from, Unheard{of})
}

// onUnheard tells a member that it is one.
func (e *Engine) onUnheard(from dht.Peer, m Unheard) {
	if l, f := e.follower(from, m.Of); f != nil {
		e.send(from, Decided{Decision: Decision{Groups: []Group{l.r.group}}})
		f.due = e.now.Add(f.wait)
	}
}

// activate makes this node an active member of a group that was decided, unless it
// took part in it, or in a later one, at some point of the arc: what it promised then
// holds. It reports whether the node is a member now or was.
func (e *Engine) activate(g Group) bool {
	e.learn(Tiding{Group: g})
	ref := g.Ref()
	if e.find(ref, active, past) != nil {
		return true
	}
	if e.floor(g.Lineage, g.Arc) >= g.Epoch && e.broken != WipedJoins {
		return true
	}
	r := e.find(ref, staged)
	if r == nil || !r.staging.whole {
		if g.Lineage > e.lineage && e.lineage != 0 {
			return false // a lineage that is being dissolved takes in nobody
		}
		if r != nil {
			e.remove(r)
		}
		r = &replica{number: e.disk.number(), group: g, ref: ref, shelf: newShelf(e.disk.number())}
		r.installed = g.Epoch == 1 || e.broken == InstallOnLeader // before the first write there is nothing to have
		e.replicas = append(e.replicas, r)
	} else if r.installed = true; r.staging.own {
		e.inherit(r)
	}
	r.phase, r.staging, r.group = active, staging{}, g
	e.raise(g.Lineage, g.Arc, g.Epoch)
	e.supersede(g)
	e.saveReplica(r)
	if g.Leader.Is(e.cfg.Self) {
		e.leads = append(e.leads, e.newLead(r))
		e.emit(Led{g})
		e.showWatches(r)
	}
	return true
}

// inherit moves the records of the arc from the group before to r. Their rows stay
// where they are.
func (e *Engine) inherit(r *replica) {
	old := e.find(r.staging.of, active, past)
	if old == nil {
		panic("records: a group that was to be taken over is gone")
	}
	r.shelf = newShelf(old.shelf.set)
	for _, n := range old.shelf.sorted() {
		if i := old.shelf.items[n]; r.group.Arc.Contains(i.key) {
			c := *i
			c.seq, c.prev = 0, nil
			r.shelf.put(&c)
			old.shelf.drop(n)
		}
	}
}

// supersede stops whatever this node does in earlier epochs of the arc.
func (e *Engine) supersede(g Group) {
	for _, r := range slices.Clone(e.replicas) {
		switch {
		case !g.supersedes(r.group):
		case r.phase == active:
			e.cede(r)
		}
	}
	e.dropStages()
}

// dropStages removes what was proposed and will not be any more.
func (e *Engine) dropStages() {
	for _, r := range slices.Clone(e.replicas) {
		if r.phase == staged && e.obsolete(r) {
			e.remove(r)
		}
	}
}

// obsolete reports whether a group that was proposed was not decided, or is past: at
// its arc another one of its epoch is known, or a later one.
func (e *Engine) obsolete(r *replica) bool {
	for _, t := range e.known.list {
		g := t.Group
		if g.Lineage == r.group.Lineage && g.Arc.Overlaps(r.group.Arc) &&
			(t.Over || g.Epoch > r.group.Epoch || g.Epoch == r.group.Epoch && g.Ref() != r.ref) && g.Epoch >= r.group.Epoch {
			return true
		}
	}
	return false
}

// overtaken reports whether this node takes part in a later epoch of the arc.
func (e *Engine) overtaken(r *replica) bool {
	return e.floor(r.group.Lineage, r.group.Arc) > r.group.Epoch
}
