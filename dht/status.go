package dht

// Status returns what the node is about.
func (n *Node) Status() Status {
	s := Status{
		Members: len(n.book.order), Dead: n.book.dead, Full: n.book.full, Size: n.size(), Doubt: n.doubt.level,
		Lookups: len(n.finding.byID), Calls: len(n.calls.open), Counters: n.counters,
	}
	for _, k := range n.book.order {
		if k.state == Suspect {
			s.Suspects++
		}
	}
	for _, p := range n.table.fingers {
		if p != (Peer{}) {
			s.Fingers++
		}
	}
	return s
}
