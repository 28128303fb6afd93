package paxos

import "slices"

// outputs wait to be fetched.
type outputs struct {
	messages []Message
	events   []Event
	reads    []Read
	readID   ReadID
	dropped  uint64 // messages that were not taken in, or not sent, for lack of room
}

// message addresses b.
func (n *Node) message(to NodeID, b Body) Message {
	return Message{From: n.cfg.ID, To: to, Cluster: n.cfg.Cluster, Incarnation: n.self.inc, Confirmed: n.self.confirmed, Body: b}
}

// maxOutgoing bounds the messages that wait for a driver that does not send.
const maxOutgoing = 1 << 14

func (n *Node) send(to NodeID, b Body) { n.sent(n.message(to, b)) }

func (n *Node) sent(m Message) {
	if len(n.out.messages) >= maxOutgoing {
		n.out.dropped++
		return
	}
	n.out.messages = append(n.out.messages, m)
}

// maxEvents bounds the events that wait for a driver that does not listen.
const maxEvents = 1024

func (n *Node) event(e Event) {
	if len(n.out.events) >= maxEvents {
		n.out.dropped++
		return
	}
	n.out.events = append(n.out.events, e)
}

// prepareOutput makes what calls since the last one led to: batches and reads.
func (n *Node) prepareOutput() {
	if n.lead != nil {
		n.propose()
		n.confirmReads()
		n.flush()
	}
}

// Outgoing returns the messages to send, once. Messages may be lost, doubled and
// reordered; one lost costs time only.
func (n *Node) Outgoing() []Message {
	n.prepareOutput()
	m := n.out.messages
	n.out.messages = nil
	return m
}

// Events returns what the driver should hear, once.
func (n *Node) Events() []Event {
	e := n.out.events
	n.out.events = nil
	return e
}

// Chosen returns the chosen values after those it returned before, in the order of
// their slots and without gaps: the application applies them in that order. It
// returns only what is on this node's disk. Noop and Change are among them, so that
// the slots count up; the application passes over them, but stores the membership
// of a Change (Entry.Membership) with its state. Fewer than all may be returned: call it until it returns none.
func (n *Node) Chosen() []Entry {
	to := min(n.chosen, n.durable())
	list := slices.Clone(batch(n.log.between(n.app.given+1, to), 4*n.cfg.Limits.Batch))
	for _, e := range list {
		if e.Kind == Change {
			if m, err := e.Membership(); err == nil {
				n.app.members = m
			}
		}
		n.app.given = e.Slot
	}
	n.trim()
	return list
}

// trim lets chosen entries go that Storage has, and keeps some for followers.
func (n *Node) trim() {
	if n.storage != nil {
		n.log.trim(n.app.given, n.cfg.Limits.Cache)
	}
}

// Members returns the membership after the last slot that Chosen returned: what
// belongs into a snapshot of the state after it.
func (n *Node) Members() Membership { return n.app.members }
