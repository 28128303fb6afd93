package records

import "github.com/aether-lan/aether/dht"

// Event is something that the user of an engine should hear.
type Event interface{ event() }

// Answered is the outcome of a request that was given to Do or Forward.
type Answered struct{ Response Response }

// Changed tells a watch of a change, once it is on a majority, in the order of the
// record's versions. Some versions may be skipped, never the last.
type Changed struct {
	Watch  RequestID
	Record Record // Deleted when it is gone
}

// Ended tells a watch of a name that this node does not lead the name any more: ask
// again, there.
type Ended struct {
	Watch  RequestID
	Name   string
	Leader dht.Peer // zero if not known
}

// Lost tells a watch of a prefix that another node leads the record now.
type Lost struct {
	Watch RequestID
	Name  string
}

// Led says that this node leads a group from now on.
type Led struct{ Group Group }

// Ceded says that this node does not lead a group any more.
type Ceded struct{ Group Group }

// Founded says that this node began a lineage: the first write of its ring.
type Founded struct{ Group Group }

// Merged tells that a record of a lineage that is dissolved met one of the same name.
// Kept won by its higher version, or greater value; Dropped is lost.
type Merged struct{ Kept, Dropped Record }

// Refused tells of a message that was not taken.
type Refused struct {
	From dht.Peer
	Why  string
}

func (Answered) event() {}
func (Changed) event()  {}
func (Ended) event()    {}
func (Lost) event()     {}
func (Led) event()      {}
func (Ceded) event()    {}
func (Founded) event()  {}
func (Merged) event()   {}
func (Refused) event()  {}
