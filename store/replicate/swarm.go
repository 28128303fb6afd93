package replicate

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// SwarmConfig sets the bounds of a [Swarm]. Self, Pieces and Size must be set.
type SwarmConfig struct {
	// Self is this machine.
	Self store.MachineID
	// Pieces is how many there are, 1 to MaxPieces; Size says how large each is, in
	// bytes, more or less.
	Pieces int
	Size   func(i int) int64
	// Rand decides where this machine begins, which should differ between machines. Nil
	// means a sequence that follows from Self.
	Rand *rand.Rand
	// PerPeer is how many Asks one peer has under way. Zero means 2.
	PerPeer int
	// AskBytes is how much one Ask is for. Zero means 512 KiB.
	AskBytes int64
	// Patience is how long nothing comes before a piece is asked for that another
	// machine was given. Zero means 1 s.
	Patience time.Duration
	// Retry is how soon a peer is asked again that had nothing to tell. Zero means
	// 100 ms.
	Retry time.Duration
}

// stripe is how many pieces in a row are asked of one peer that has everything where there
// are several.
const stripe = 8

// Ask is an order to the driver: send this to Peer, then call [Swarm.Answered].
type Ask struct {
	// ID names the Ask in its SwarmAnswer.
	ID uint64
	// Peer is whom to ask.
	Peer store.MachineID
	// Want are the pieces it is asked for; as many come as it cares to send. Nil asks
	// only what it has.
	Want Pieces
	// Fresh wants only those that it has given to nobody of the swarm, so that no two
	// machines are given the same: Want is then all that is missing.
	Fresh bool
	// Known is how many pieces it is known to have; where Want is nil it may hold the
	// answer back for a moment until it has more. It is -1 where nothing is known.
	Known int
	// Limit is how many bytes to send.
	Limit int64
}

// SwarmAnswer is what became of an Ask.
type SwarmAnswer struct {
	// ID is the Ask's.
	ID uint64
	// Got are the pieces that came, checked and kept.
	Got []int
	// Has are the pieces that the peer has; nil when it did not say.
	Has Pieces
	// Taken are those that it gave to others; nil when it did not say.
	Taken Pieces
	// Given is how many pieces it gave away in all: who gave less is asked first.
	Given int
	// Err is why the peer is left alone for a while; what is in Got counts.
	Err error
}

// Swarm fetches the pieces of one version from all machines that have some of them,
// those that are fetching it themselves among them: each tells the others what it has,
// each asks for the pieces that the fewest have, and whoever has all gives each piece to
// one machine first. So the writer sends about one copy, however many receive it
// (Cohen, "Incentives Build Robustness in BitTorrent", 2003, without the incentives).
// It is an engine like [Engine] and not safe for concurrent use.
type Swarm struct {
	cfg      SwarmConfig
	have     Pieces
	missing  int
	reserved Pieces // asked for
	peers    map[store.MachineID]*swarmPeer
	asks     map[uint64]*Ask
	start    int // where this machine begins
	lastID   uint64
	progress time.Time // when a piece came last
	due      time.Time
	out      []Ask
}

// swarmPeer is a machine of the swarm.
type swarmPeer struct {
	id       store.MachineID
	has      Pieces // nil: not told yet
	count    int
	taken    Pieces
	given    int
	asks     int
	polling  bool
	until    time.Time // not asked before
	failures int
}

// NewSwarm returns a Swarm that lacks what is not in have, a set that it keeps.
func NewSwarm(now time.Time, have Pieces, cfg SwarmConfig) (*Swarm, error) {
	if cfg.Pieces < 1 || cfg.Pieces > MaxPieces || !have.Fits(cfg.Pieces) || cfg.Size == nil {
		return nil, fmt.Errorf("replicate: a swarm of %d pieces", cfg.Pieces)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(binary.BigEndian.Uint64(cfg.Self[:]), binary.BigEndian.Uint64(cfg.Self[8:])))
	}
	orDefault(&cfg.PerPeer, 2)
	orDefault(&cfg.AskBytes, 1<<19)
	orDefault(&cfg.Patience, time.Second)
	orDefault(&cfg.Retry, 100*time.Millisecond)
	return &Swarm{
		cfg: cfg, have: have, missing: cfg.Pieces - have.Count(), reserved: NewPieces(cfg.Pieces),
		peers: map[store.MachineID]*swarmPeer{}, asks: map[uint64]*Ask{},
		start: cfg.Rand.IntN(cfg.Pieces), progress: now,
	}, nil
}

// Done reports whether every piece is here.
func (s *Swarm) Done() bool { return s.missing == 0 }

// Have returns the pieces that are here. The caller must not change it.
func (s *Swarm) Have() Pieces { return s.have }

// Progress returns when a piece came last.
func (s *Swarm) Progress() time.Time { return s.progress }

// PeerUp says that a machine can be asked.
func (s *Swarm) PeerUp(id store.MachineID) {
	if s.peers[id] == nil && id != s.cfg.Self && !id.IsZero() {
		s.peers[id] = &swarmPeer{id: id}
	}
}

// PeerDown says that a machine cannot be asked any more.
func (s *Swarm) PeerDown(id store.MachineID) {
	delete(s.peers, id)
	for aid, a := range s.asks {
		if a.Peer == id {
			s.land(aid)
		}
	}
}

// land ends an Ask.
func (s *Swarm) land(id uint64) *Ask {
	a := s.asks[id]
	if a == nil {
		return nil
	}
	delete(s.asks, id)
	p := s.peers[a.Peer]
	if a.Want == nil {
		if p != nil {
			p.polling = false
		}
		return a
	}
	if !a.Fresh {
		for i := range s.reserved {
			s.reserved[i] &^= a.Want[i]
		}
	}
	if p != nil {
		p.asks--
	}
	return a
}

// Answered takes what became of an Ask. Pieces out of range, and answers to what was not
// asked, are passed over; a Has that cannot be is a failure.
func (s *Swarm) Answered(now time.Time, r SwarmAnswer) {
	for _, i := range r.Got {
		if i >= 0 && i < s.cfg.Pieces && !s.have.Has(i) {
			s.have.Set(i)
			s.missing--
			s.progress = now
		}
	}
	a := s.land(r.ID)
	if a == nil {
		return
	}
	p := s.peers[a.Peer]
	if p == nil {
		return
	}
	if r.Err != nil || r.Has != nil && !r.Has.Fits(s.cfg.Pieces) || r.Taken != nil && !r.Taken.Fits(s.cfg.Pieces) {
		p.failures++
		p.until = now.Add(min(s.cfg.Retry<<min(p.failures, 10), 10*time.Second))
		return
	}
	p.failures = 0
	known := p.count
	if r.Has != nil {
		p.has, p.count = r.Has, r.Has.Count()
	}
	p.taken, p.given = r.Taken, r.Given
	if len(r.Got) > 0 || p.count > known {
		return
	}
	p.until = now.Add(s.cfg.Retry) // it had nothing to tell
	if a.Want != nil && !a.Fresh {
		for i := range p.has { // it has not got what it said it had
			p.has[i] &^= a.Want[i]
		}
		p.count = p.has.Count()
	}
}

// HandleTimeout asks for what can be asked for now.
func (s *Swarm) HandleTimeout(now time.Time) {
	s.due = time.Time{}
	if s.Done() {
		return
	}
	peers := make([]*swarmPeer, 0, len(s.peers))
	for _, p := range s.peers {
		peers = append(peers, p)
	}
	slices.SortFunc(peers, func(a, b *swarmPeer) int {
		// Those that gave little first, and last whoever has all: it gives what nobody else has.
		full := func(p *swarmPeer) int { return p.count / s.cfg.Pieces }
		return cmp.Or(cmp.Compare(full(a), full(b)), cmp.Compare(a.given, b.given), a.id.Compare(b.id))
	})
	for round := range s.cfg.PerPeer {
		for _, p := range peers {
			if p.asks == round && !now.Before(p.until) {
				s.ask(now, p)
			}
		}
	}
	for _, p := range peers {
		if p.count < s.cfg.Pieces && !p.polling && !now.Before(p.until) {
			p.polling = true
			known := p.count
			if p.has == nil {
				known = -1
			}
			s.emit(Ask{Peer: p.id, Known: known})
		}
		if now.Before(p.until) {
			s.at(p.until)
		}
	}
	s.at(s.progress.Add(s.cfg.Patience))
	if patience := s.progress.Add(s.cfg.Patience); !patience.After(now) {
		s.at(now.Add(s.cfg.Patience))
	}
}

// at asks for a timeout not later than t.
func (s *Swarm) at(t time.Time) {
	if s.due.IsZero() || t.Before(s.due) {
		s.due = t
	}
}

func (s *Swarm) emit(a Ask) {
	s.lastID++
	a.ID = s.lastID
	s.asks[a.ID] = &a
	s.out = append(s.out, a)
}

// ask asks p for pieces, if it has any that are wanted.
func (s *Swarm) ask(now time.Time, p *swarmPeer) {
	if p.has == nil {
		return
	}
	var want Pieces
	fresh := p.count == s.cfg.Pieces
	switch {
	case !fresh:
		want = s.choose(p)
	case now.Sub(s.progress) < s.cfg.Patience:
		want = s.fresh(p)
	case p.asks == 0:
		fresh, want = false, s.choose(p) // whoever was given it does not hand it on
	}
	if want == nil {
		return
	}
	if !fresh {
		for i := range want {
			s.reserved[i] |= want[i]
		}
	}
	p.asks++
	s.emit(Ask{Peer: p.id, Want: want, Fresh: fresh, Known: p.count, Limit: s.cfg.AskBytes})
}

// fresh returns what p, which has everything, is asked for: all that is missing and that
// nobody else can give, of several such peers a part each while there is one; nil when
// there is none.
func (s *Swarm) fresh(p *swarmPeer) Pieces {
	full, turn := 0, 0
	for _, o := range s.peers {
		if o.count == s.cfg.Pieces {
			full++
			if o.id.Compare(p.id) < 0 {
				turn++
			}
		}
	}
	part, all := NewPieces(s.cfg.Pieces), NewPieces(s.cfg.Pieces)
	var parts, any bool
	for i := range s.cfg.Pieces {
		if s.have.Has(i) || s.reserved.Has(i) || p.taken.Has(i) || s.rarity(i) > 0 {
			continue
		}
		all.Set(i)
		any = true
		if i/stripe%full == turn {
			part.Set(i)
			parts = true
		}
	}
	switch {
	case parts:
		return part
	case any:
		return all
	}
	return nil
}

// rarity returns how many peers that lack something have piece i.
func (s *Swarm) rarity(i int) (n int) {
	for _, p := range s.peers {
		if p.count < s.cfg.Pieces && p.has.Has(i) {
			n++
		}
	}
	return n
}

// choose returns pieces that p has and that are missing, the rarest first, of one
// rarity those behind where this machine began; nil when there is none.
func (s *Swarm) choose(p *swarmPeer) Pieces {
	type candidate struct{ piece, rarity, place int }
	var all []candidate
	for i := range s.cfg.Pieces {
		if p.has.Has(i) && !s.have.Has(i) && !s.reserved.Has(i) {
			all = append(all, candidate{i, s.rarity(i), (i - s.start + s.cfg.Pieces) % s.cfg.Pieces})
		}
	}
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.rarity, b.rarity), cmp.Compare(a.place, b.place))
	})
	want := NewPieces(s.cfg.Pieces)
	var sum int64
	for n, c := range all {
		if sum += s.cfg.Size(c.piece); n > 0 && sum > s.cfg.AskBytes {
			break
		}
		want.Set(c.piece)
	}
	return want
}

// Outgoing returns the Asks to carry out, and forgets them.
func (s *Swarm) Outgoing() []Ask {
	out := s.out
	s.out = nil
	return out
}

// NextTimeout returns when HandleTimeout must be called next, whether or not anything is
// answered before; ok is false once all is here.
func (s *Swarm) NextTimeout() (t time.Time, ok bool) { return s.due, !s.due.IsZero() && !s.Done() }
