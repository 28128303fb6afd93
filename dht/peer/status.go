package peer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/topics"
)

// Status is how a node stands, for people and scripts.
type Status struct {
	Self        NodeStatus     `json:"self"`
	Listens     netip.AddrPort `json:"listens"`
	Size        int            `json:"ring_size"` // as far as known, or estimated
	Full        bool           `json:"full"`      // all members are known: lookups are one hop
	Predecessor NodeStatus     `json:"predecessor"`
	Successors  []NodeStatus   `json:"successors"`
	Members     []MemberStatus `json:"members"`
	Records     RecordsStatus  `json:"records"`
	Ring        dht.Counters   `json:"ring"`
	Topics      TopicsStatus   `json:"topics"`
	Tasks       TasksStatus    `json:"tasks"`
	Traffic     Traffic        `json:"traffic"`
	Refused     Refused        `json:"refused"`
}

// NodeStatus is a node as it is shown.
type NodeStatus struct {
	ID          string         `json:"id"`
	Incarnation uint64         `json:"incarnation"`
	Address     netip.AddrPort `json:"address"`
}

func shown(p dht.Peer) NodeStatus {
	return NodeStatus{Space().Format(p.ID), p.Incarnation, p.Address}
}

func shownAll(list []dht.Peer) []NodeStatus {
	out := make([]NodeStatus, 0, len(list))
	for _, p := range list {
		out = append(out, shown(p))
	}
	return out
}

// MemberStatus is what a node believes of another.
type MemberStatus struct {
	NodeStatus
	State string        `json:"state"` // unmet, alive, suspect, dead, left
	Since time.Duration `json:"since"` // how long it has been so, nanoseconds
}

// RecordsStatus is what a node keeps and leads.
type RecordsStatus struct {
	Lineage string        `json:"lineage,omitempty"` // of the ring's first write
	Records int           `json:"records"`           // of all arcs of which the node is a member
	Bytes   int64         `json:"bytes"`
	Waiting int           `json:"waiting"` // requests
	Member  int           `json:"member"`  // arcs of which the node keeps the records
	Leads   []ArcStatus   `json:"leads"`
	Stats   records.Stats `json:"stats"`
}

// ArcStatus is an arc of the circle that a node leads: it answers for the records whose
// points lie behind From up to To.
type ArcStatus struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Epoch   uint64       `json:"epoch"`
	Members []NodeStatus `json:"members"`
}

func (s *store) status() RecordsStatus {
	e := s.engine.Status()
	out := RecordsStatus{Records: e.Records, Bytes: e.Bytes, Waiting: e.Waiting, Member: len(e.Groups), Leads: []ArcStatus{}, Stats: e.Stats}
	if e.Lineage != 0 {
		out.Lineage = fmt.Sprintf("%016x", e.Lineage)
	}
	for _, g := range e.Leads {
		out.Leads = append(out.Leads, ArcStatus{Space().Format(g.Arc.From), Space().Format(g.Arc.To), g.Epoch, shownAll(g.Members)})
	}
	return out
}

// TopicsStatus is a node's part in requests and topics.
type TopicsStatus struct {
	List     []TopicStatus   `json:"list"`
	Waiting  int             `json:"waiting"` // own requests
	Pending  int             `json:"pending"` // requests of others
	Counters topics.Counters `json:"counters"`
}

// TopicStatus is a node's part in a topic.
type TopicStatus struct {
	Topic      string `json:"topic"`
	Subscribed bool   `json:"subscribed"`
	Root       bool   `json:"root"`
	Depth      int    `json:"depth"`
	Children   int    `json:"children"`
	Nodes      uint64 `json:"nodes"` // of its part of the tree, itself counted
}

func shownTopics(s topics.State) TopicsStatus {
	out := TopicsStatus{Waiting: s.Waiting, Pending: s.Pending, Counters: s.Counters}
	for _, t := range s.Topics {
		out.List = append(out.List, TopicStatus{t.Topic, t.Subscribed, t.Root, t.Depth, len(t.Children), t.Nodes})
	}
	return out
}

// Traffic is what a node has exchanged with others since it began. Bytes are those of
// messages, without the connection's own.
type Traffic struct {
	Connections   int    `json:"connections"`
	Sent          uint64 `json:"sent"`     // batches
	Received      uint64 `json:"received"` // batches
	SentBytes     uint64 `json:"sent_bytes"`
	ReceivedBytes uint64 `json:"received_bytes"`
	Dropped       uint64 `json:"dropped"` // messages for which there was no way
	Dials         uint64 `json:"dials"`
	DialsFailed   uint64 `json:"dials_failed"`
}

// Refused counts what was malformed, not admitted, or claimed to be what it is not.
type Refused struct {
	Ring        uint64 `json:"ring"`         // messages that are none
	Records     uint64 `json:"records"`      // the same
	Topics      uint64 `json:"topics"`       // the same
	Batches     uint64 `json:"batches"`      // the same
	WrongNode   uint64 `json:"wrong_node"`   // another node answered than the one dialled
	NotAdmitted uint64 `json:"not_admitted"` // connections without the secret
	Garbage     uint64 `json:"garbage"`      // connections that are none of ours
	OverLimit   uint64 `json:"over_limit"`   // connections too many at once
	Believed    uint64 `json:"disbelieved"`  // what the ring's engine did not believe
}

// Status returns how the node stands.
func (n *Node) Status(ctx context.Context) (s Status, err error) {
	err = n.call(ctx, func(l *loop) { s = l.status(time.Now()) })
	if err != nil {
		return s, err
	}
	t, in := &n.links.traffic, n.links.listener.Counters()
	s.Listens = n.listens
	s.Traffic = Traffic{
		Connections: n.links.connections(), Sent: t.sent.Load(), Received: t.received.Load(),
		SentBytes: t.sentBytes.Load(), ReceivedBytes: t.receivedBytes.Load(), Dropped: t.dropped.Load(),
		Dials: t.dials.Load(), DialsFailed: t.dialsFailed.Load(),
	}
	s.Refused.Batches, s.Refused.WrongNode = t.refused.Load(), t.wrong.Load()
	s.Refused.NotAdmitted, s.Refused.Garbage, s.Refused.OverLimit = in.NotAdmitted, in.Garbage+in.TooSlow, in.OverLimit
	return s, nil
}

func (l *loop) status(now time.Time) Status {
	view, ring := l.ring.View(), l.ring.Status()
	s := Status{
		Self: shown(l.n.self), Size: ring.Size, Full: ring.Full,
		Predecessor: shown(view.Predecessor), Successors: shownAll(view.Successors),
		Records: l.store.status(), Ring: ring.Counters, Topics: shownTopics(l.topics.State()), Tasks: l.tasksStatus(),
		Refused: l.refused,
	}
	for _, c := range ring.Counters.Refused {
		s.Refused.Believed += c
	}
	for _, m := range l.ring.Members() {
		s.Members = append(s.Members, MemberStatus{shown(m.Peer), m.State.String(), now.Sub(m.Since)})
	}
	slices.SortFunc(s.Members, func(a, b MemberStatus) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

// living returns the nodes that are thought to live.
func (l *loop) living() (list []dht.Peer) {
	for _, m := range l.ring.Members() {
		if m.State == dht.Alive || m.State == dht.Suspect {
			list = append(list, m.Peer)
		}
	}
	return list
}

// maxRemembered bounds the nodes that are written down.
const maxRemembered = 4096

// remembered returns the nodes to be written down: those that live, and those that died
// and may come back.
func (l *loop) remembered() (list []dht.Peer) {
	for _, m := range l.ring.Members() {
		if m.State != dht.Unmet && m.State != dht.Left && m.Peer.ID != l.n.self.ID && len(list) < maxRemembered {
			list = append(list, m.Peer)
		}
	}
	slices.SortFunc(list, func(a, b dht.Peer) int { return a.ID.Compare(b.ID) })
	return list
}

// Found is the outcome of a lookup.
type Found struct {
	Owner dht.Peer
	Hops  []dht.Peer // that answered on the way, without the owner
	Took  time.Duration
}

// Lookup finds the node that owns key, by asking nodes on the way to it; the owner has
// said itself that it is.
func (n *Node) Lookup(ctx context.Context, key dht.ID) (Found, error) {
	to := make(chan dht.LookupDone, 1)
	began := time.Now()
	err := n.post(ctx, func(l *loop) { l.lookups[l.ring.Lookup(time.Now(), key)] = lookup{to} })
	if err != nil {
		return Found{}, err
	}
	select {
	case e := <-to:
		if e.Err != nil {
			return Found{}, fmt.Errorf("dht/peer: lookup of %s: %w", Space().Format(key), e.Err)
		}
		return Found{e.Owner, e.Hops, time.Since(began)}, nil
	case <-ctx.Done(): // the ring bounds how long it goes on
		return Found{}, context.Cause(ctx)
	case <-n.ended:
		return Found{}, ErrEnded
	}
}
