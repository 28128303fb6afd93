package dht

import (
	"slices"
	"time"
)

// known is what this node keeps of another.
type known struct {
	Peer
	state    State
	met      bool // has answered: its incarnation is its own word
	contact  bool // given by the user: never forgotten
	since    time.Time
	heard    time.Time
	counter  uint64 // of its refutations
	viewCall uint64 // token of the question for its view
	checked  time.Time
	trial    trial
	away     away
}

// away is how a peer is dialled again that was not reached.
type away struct {
	at   time.Time
	wait time.Duration
}

// book is everybody this node knows, bounded by Config.MaxMembers.
type book struct {
	own    ID
	byID   map[ID]*known
	order  []*known // the living by ID: alive, suspect and this node itself
	full   bool     // every member is in it
	modeAt time.Time
	parts  [Parts]uint64 // hashes of the living
	names  []naming      // to be asked whether they exist
	asking int           // such questions under way
	ghosts map[ID]time.Time
	dead   int
}

// naming is a name that somebody told.
type naming struct{ peer, teller Peer }

func (b *book) init(self Peer) {
	*b = book{own: self.ID, byID: map[ID]*known{}, ghosts: map[ID]time.Time{}, full: true}
	k := &known{Peer: self, met: true}
	b.byID[self.ID] = k
	b.rise(k)
}

func (b *book) get(id ID) *known { return b.byID[id] }

func (b *book) self() *known { return b.byID[b.own] }

func byID(k *known, id ID) int { return k.ID.Compare(id) }

// at returns the place of the first living node at or clockwise from id.
func (b *book) at(id ID) int {
	i, _ := slices.BinarySearchFunc(b.order, id, byID)
	return i % len(b.order)
}

// after and before return the living neighbours of id, which may be this node.
func (b *book) after(id ID) *known {
	i := b.at(id)
	if b.order[i].ID == id {
		i = (i + 1) % len(b.order)
	}
	return b.order[i]
}

func (b *book) before(id ID) *known {
	return b.order[(b.at(id)+len(b.order)-1)%len(b.order)]
}

// rise makes a peer one of the living.
func (b *book) rise(k *known) {
	if k.state == Dead || k.state == Left {
		b.dead--
	}
	k.state = Alive
	i, there := slices.BinarySearchFunc(b.order, k.ID, byID)
	if !there {
		b.order = slices.Insert(b.order, i, k)
		b.mark(k)
	}
}

// fall takes it from them.
func (b *book) fall(k *known, state State) {
	if i, there := slices.BinarySearchFunc(b.order, k.ID, byID); there {
		b.order = slices.Delete(b.order, i, i+1)
		b.mark(k)
	}
	if k.state != Dead && k.state != Left && (state == Dead || state == Left) {
		b.dead++
	}
	k.state = state
}

func (b *book) forget(k *known) {
	b.fall(k, k.state)
	if k.state == Dead || k.state == Left {
		b.dead--
	}
	delete(b.byID, k.ID)
}

// mark puts a peer into the hash of its part, or takes it out.
func (b *book) mark(k *known) {
	h := hashPeer(k.Peer)
	b.parts[part(k.ID)] ^= h
}

func part(id ID) int { return int(hashPeer(Peer{ID: id}) >> 59) }

func hashPeer(p Peer) uint64 {
	hi, mid, lo := p.ID.words()
	h := uint64(hi) + 0x9e3779b97f4a7c15
	for _, v := range [...]uint64{mid, lo, p.Incarnation} {
		h = (h ^ v) * 0xbf58476d1ce4e5b9
		h ^= h >> 29
	}
	return h * 0x94d049bb133111eb
}

func hashView(v View) uint64 {
	h := hashPeer(v.Predecessor)
	for _, p := range v.Successors {
		h = h*0x100000001b3 ^ hashPeer(p)
	}
	return max(h, 1)
}

// hash of all members, never zero.
func (b *book) hash() (h uint64) {
	for _, p := range b.parts {
		h ^= p
	}
	return max(h, 1)
}

func (b *book) partHashes() (list [Parts]uint32) {
	for i, p := range b.parts {
		list[i] = uint32(p>>32) ^ uint32(p)
	}
	return list
}

// membersHash is what a node tells of all it knows: zero when it does not know all.
func (n *Node) membersHash() uint64 {
	if !n.book.full {
		return 0
	}
	return n.book.hash()
}

// heard notes that a peer lives: whatever it says, it says so itself.
func (n *Node) heard(from Peer) {
	k := n.book.get(from.ID)
	if k == nil {
		if !n.relevant(from.ID) {
			n.doubt.hears(n.clock.now)
			return
		}
		if k = n.admit(from); k == nil {
			n.counters.Dropped++
			return
		}
	}
	if k.met && from.Incarnation != k.Incarnation {
		n.outlived(k)
	}
	if k.state == Suspect || k.state == Dead && k.met {
		n.counters.Refuted++
	}
	n.endTrial(k)
	n.doubt.hears(n.clock.now)
	k.heard = n.clock.now
	if k.met && k.state == Alive {
		k.Address = from.Address
		return
	}
	if k.met && k.state == Suspect { // it was among the living all the time
		k.state, k.since = Alive, n.clock.now
		return
	}
	back := k.contact || k.state == Dead
	k.Peer, k.met, k.since, k.away = from, true, n.clock.now, away{}
	n.book.rise(k)
	n.tooMany()
	n.tell(MemberJoined{from})
	n.gossip.add(Rumor{from, Alive, k.counter})
	n.stab.look, n.stab.retry = true, true
	if back && !n.book.full {
		n.finding.foreign = from // it may be of another ring: see place
	}
}

// outlived ends an earlier life of a peer that has come back.
func (n *Node) outlived(k *known) {
	old := k.Peer
	n.book.fall(k, Dead)
	n.forgetPointers(old)
	k.counter = 0
}

// admit makes room for a peer that is not known yet.
func (n *Node) admit(p Peer) *known {
	if most := 4*n.cfg.MaxMembers + 4*MaxSuccessors + maxMeeting; len(n.book.byID) >= most {
		if !n.book.full {
			n.trim()
		}
		if len(n.book.byID) >= most {
			return nil
		}
	}
	k := &known{Peer: p, since: n.clock.now}
	n.book.byID[p.ID] = k
	return k
}

// near reports whether a peer is, or would be, one of the nodes that come right
// after this one or right before it.
func (n *Node) near(id ID) bool {
	self, pred := n.cfg.Self.ID, n.ring.Predecessor().ID
	if id == pred || Between(pred, id, self) {
		return true
	}
	places := len(n.book.order)
	return (n.book.at(id)-n.book.at(self)+places)%places <= n.ring.length
}

// relevant reports whether a peer is worth remembering.
func (n *Node) relevant(id ID) bool { return n.book.full || n.near(id) }

// settled reports whether a name may be used: its owner has answered. One that was
// never heard of is asked, and the caller waits.
func (n *Node) settled(p Peer) (usable, wait bool) {
	if n.broken == TrustLists {
		return true, false
	}
	k := n.book.get(p.ID)
	switch {
	case p.ID == n.cfg.Self.ID:
		return true, false
	case k != nil && (k.state == Alive || k.state == Suspect):
		if p.Incarnation > k.Incarnation {
			n.check(k, p, false)
		}
		return p.Incarnation >= k.Incarnation, false
	case k != nil && k.met:
		n.check(k, p, false)
		return false, false
	}
	return false, n.meet(p, Peer{})
}

// meet asks a name for the first time, when there is room. It reports whether the
// outcome is still to come. The teller, if any, hears when nobody answers to the name.
func (n *Node) meet(p, teller Peer) bool {
	if !n.point(p) || p.ID == n.cfg.Self.ID {
		return false
	}
	if until, ghost := n.book.ghosts[p.ID]; ghost && until.After(n.clock.now) {
		return false
	}
	if k := n.book.get(p.ID); k != nil {
		if k.state == Unmet && k.trial.token == 0 {
			n.check(k, p, false)
		}
		return k.state == Unmet && k.trial.token != 0
	}
	for _, q := range n.book.names {
		if q.peer.ID == p.ID {
			return true
		}
	}
	if len(n.book.names) >= maxNames {
		n.counters.Dropped++
		return false
	}
	n.book.names = append(n.book.names, naming{p, teller})
	return true
}

// meetNext asks some of the names that wait.
func (n *Node) meetNext() {
	for n.book.asking < maxMeeting && len(n.book.names) > 0 {
		p, teller := n.book.names[0].peer, n.book.names[0].teller
		n.book.names = n.book.names[1:]
		if n.book.get(p.ID) != nil {
			n.stab.retry = true
			continue
		}
		k := n.admit(p)
		if k == nil {
			n.counters.Dropped++
			continue
		}
		n.check(k, p, false)
		k.trial.teller = teller
	}
	if len(n.book.names) == 0 {
		n.book.names = nil
	}
}

// ghost forgets a name that nobody answers to, and for a while does not listen to it.
func (n *Node) ghost(k *known) {
	n.book.forget(k)
	n.counters.Refused[Unanswered]++
	n.stab.retry = true
	if len(n.book.ghosts) >= maxGhosts {
		for id, until := range n.book.ghosts {
			if !until.After(n.clock.now) {
				delete(n.book.ghosts, id)
			}
		}
	}
	if len(n.book.ghosts) < maxGhosts {
		n.book.ghosts[k.ID] = n.clock.now.Add(ghostTime)
	}
}

const ghostTime = 10 * time.Second

// Members returns everybody that this node knows, itself included, by ID.
func (n *Node) Members() []Member {
	list := make([]Member, 0, len(n.book.byID))
	for _, k := range n.book.byID {
		list = append(list, Member{k.Peer, k.state, k.since})
	}
	slices.SortFunc(list, func(a, b Member) int { return a.Peer.ID.Compare(b.Peer.ID) })
	return list
}
