package records

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/dht"
)

// maxTTL bounds what may be asked: ten years.
const maxTTL = 10 * 366 * 24 * time.Hour

// RequestID names a request, so that it is done once however often it comes: a
// random number of the client, the same for all attempts.
type RequestID [16]byte

// Op is what a request asks for.
type Op uint8

// The operations. "Present version" is that of the record, or 0 when there is none.
const (
	// Get asks for the record of Name.
	Get Op = 1 + iota
	// Put stores Value under Name, whatever is there.
	Put
	// Delete removes the record: with a Version only that one.
	Delete
	// Swap stores Value if Version is the present version; 0 means that there must be
	// none.
	Swap
	// Acquire takes the lease Name for Holder and TTL, unless another has it. Value
	// goes with it. The holder itself gets its lease again, with the same fence.
	Acquire
	// Renew starts the TTL of a lease again: Version is its fence.
	Renew
	// Release gives a lease back: Version is its fence.
	Release
	// Scan lists the records that this node leads whose names begin with Name, after
	// the name in Value, up to Limit of them (0: 1,000). It shows what is done, and does
	// not ask the other members whether this node leads still.
	Scan
	// Watch tells the changes of Name from now on: its answer is as of Get, then come
	// events Changed. With Limit 1, Name is a prefix, and the changes are of all
	// records that this node leads, whenever it leads them. Watch lasts until Unwatch.
	Watch
	// Unwatch ends the watch with the same ID.
	Unwatch

	// merge stores a record of a lineage that is dissolved.
	merge
)

var opNames = [...]string{"", "get", "put", "delete", "swap", "acquire", "renew", "release", "scan", "watch", "unwatch", "merge"}

// String returns "get", "put" …
func (o Op) String() string {
	if int(o) < len(opNames) && o > 0 {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// writes reports whether the operation may change a record.
func (o Op) writes() bool { return o >= Put && o <= Release || o == merge }

// Request asks for something to be done to a record. Which fields count depends on
// the Op.
type Request struct {
	ID      RequestID
	Op      Op
	Name    string
	Version uint64
	Value   []byte
	TTL     time.Duration // 0: for ever; leases need one
	Holder  string
	// Again: an earlier attempt may have been done. If the record cannot tell any
	// more, the answer is Unknown and not Conflict. A Put, which does not
	// look at Version otherwise, may say there which version was the newest that its
	// author knew before it first asked: then the record can tell for longer.
	Again bool
	Limit int
	// Fields are written to the record's Unknown fields, each over its like.
	Fields []byte
}

// Status is how a request ended.
type Status uint8

// The statuses.
const (
	// OK: done; it is on the disks of a majority and stays so.
	OK Status = 1 + iota
	// NotFound: there is no such record.
	NotFound
	// Conflict: the present record, which the answer has, is not as the request wants
	// it. Nothing was changed.
	Conflict
	// Elsewhere: this node does not lead the record; Leader or Point says who may. A
	// write may have been done all the same, when this node led until just now:
	// repeat it under the same ID.
	Elsewhere
	// NoMajority: too few members of the group answer; Text names who is missing. A
	// write may still happen.
	NoMajority
	// TooLarge: name, value, holder or TTL are over their limits.
	TooLarge
	// Full: no room for more (Config.MaxBytes); deletions still work.
	Full
	// Busy: too much is waiting, or the group is just changing. Nothing was done; try
	// again soon.
	Busy
	// Unknown: the request came again, and so late that the record has forgotten
	// whether it was done. Nothing was done this time.
	Unknown
	// Invalid: the request makes no sense; Text says why.
	Invalid
)

var statusNames = [...]string{
	"", "ok", "not found", "conflict", "elsewhere", "no majority", "too large", "full", "busy", "unknown", "invalid",
}

// String returns "ok", "not found" …
func (s Status) String() string {
	if int(s) < len(statusNames) && s > 0 {
		return statusNames[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Response is the outcome of a request.
type Response struct {
	ID     RequestID
	Status Status
	Record Record // with OK, and with Conflict the present one
	// Leader is the node to ask instead, with Elsewhere. When it is zero, ask the owner
	// of Point.
	Leader dht.Peer
	Point  dht.ID
	Text   string
	// Records are the answer to a Scan, by name. More: there are others after them.
	Records []Record
	More    bool
}
