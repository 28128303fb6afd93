package topics

import "github.com/aether-lan/aether/dht"

// Counters count what happened since the engine was made.
type Counters struct {
	// Of requests.
	RequestsSent, RequestsRepeated, RequestsFailed uint64
	Handled, Repeated, Elsewhere, Busy             uint64
	Stale                                          uint64 // requests whose sender does not wait any more
	// Of topics.
	Delivered, Forwarded, ForwardedAgain, Duplicates, OutOfOrder uint64
	Gaps                                                         uint64 // holes in what this node got
	ChildGaps                                                    uint64 // holes in what its children got
	Missed                                                       uint64 // messages dropped undelivered
	AttachesSent, Redirected, ParentsLost, Loops                 uint64
	Children, ChildrenLost                                       uint64
	TakenOver, Demoted, Renumbered, HandOvers, HandOversFailed   uint64
	MirrorsLagging                                               uint64
	Climbed                                                      uint64 // leaves that looked for a higher place
	Fills                                                        uint64 // what children lacked was fetched
	Offers                                                       uint64
	// Malformed counts messages that break a rule, Unasked answers to no question.
	Malformed, Unasked uint64
}

// TopicStatus is a node's part in a topic.
type TopicStatus struct {
	Topic      string
	Subscribed bool
	Root       bool
	Parent     dht.ID // zero for none
	Depth      int    // 0 at the root
	Children   []dht.ID
	Nodes      uint64 // in the subtree, this one counted
	At         Position
	Kept       int // messages in the window
	Bytes      int
}

// State is what an engine holds.
type State struct {
	Topics   []TopicStatus // by name
	Waiting  int           // own requests that wait for their outcome
	Pending  int           // requests of others that wait for Answer
	Handled  int           // requests of others that are remembered
	Offers   int
	Counters Counters
}

// State returns what the engine holds.
func (e *Engine) State() State {
	s := State{
		Waiting: len(e.outbox.waiting), Pending: e.inbox.pending(), Handled: e.inbox.requests,
		Offers: len(e.offers.open), Counters: e.count,
	}
	for _, name := range e.sortedTopics() {
		t := e.trees.topics[name]
		p := TopicStatus{
			Topic: name, Subscribed: t.subscribed, Root: t.root.is, Parent: t.place.parent.ID, Depth: len(t.place.path),
			Nodes: t.nodes(), At: t.committed, Kept: len(t.window.list), Bytes: t.window.bytes,
		}
		for _, f := range t.feeds {
			if f.role == Child {
				p.Children = append(p.Children, f.peer.ID)
			}
		}
		s.Topics = append(s.Topics, p)
	}
	return s
}
