package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/aether-lan/aether/store"
)

// Kind says what an operation does.
type Kind uint64

// The kinds that the tree knows. Kinds from KindForeign on belong to others who
// share the log: the tree numbers them, keeps their order, and ignores what they
// say. So it does with kinds below that a newer version may bring.
const (
	KindCreate     Kind = 1  // a new file or directory
	KindContent    Kind = 2  // a new version of a file
	KindMove       Kind = 3  // another place
	KindDelete     Kind = 4  // no place
	KindAttributes Kind = 5  // mode, owner and modification time
	KindDiscard    Kind = 6  // takes losing versions away
	KindXattr      Kind = 7  // an extended attribute
	KindLink       Kind = 8  // another name of a file
	KindAssign     Kind = 12 // gives a version other holders, or the same bytes sealed anew
	KindHorizon    Kind = 16 // what was removed before a time is about to be forgotten
	KindRetire     Kind = 17 // no more of a machine that is silent
	KindClose      Kind = 18 // up to where the operations of such a machine count
	KindPurge      Kind = 19 // forgets nodes
	KindForeign    Kind = 64
)

// Version is what a file holds. A directory has a Version with Mode, ModTime and
// owner alone.
type Version struct {
	// Content says what the bytes are.
	Content store.Content
	// Mode holds permission bits and, above them, the type as Linux writes it
	// (S_IFMT): zero is a regular file; a symbolic link's Content is its target.
	// What they mean is the faces' business.
	Mode uint32
	// UID and GID are the owner's and the group's number plus one; 0 means that
	// nobody ever said.
	UID, GID uint32
	// ModTime is when the bytes were last changed, for people.
	ModTime time.Time
	// Holders are the machines that keep the bytes, as the writer chose them.
	Holders []store.MachineID
	// Dot names the operation that brought the version. Put ignores it.
	Dot store.Dot
	// Placed names the operation that named the Holders and said how the bytes are
	// sealed: Dot, or the Assign or Reseal of the version that counts. Put ignores it.
	Placed store.Dot
	// Origin is the Root of the bytes as they were written: Content has another one
	// once they were sealed anew. Put ignores it.
	Origin store.Ref
}

// Op is one change. Which fields count depends on Kind:
//
//	create      Parent Name Dir Version (the node's ID comes from Dot)
//	content     Node Version (Content ModTime Holders) Dots: versions that are not replaced
//	move        Node Parent Name
//	delete      Node Dots: versions that are not removed
//	attributes  Node Version (Mode UID GID, and ModTime unless it is zero)
//	discard     Node Dots: the versions to take away
//	xattr       Node Name Body, or Removed
//	link        Node Parent Name (the name is a node too, whose ID comes from Dot)
//	assign      Node Version (Holders, and Content or none) Dots: the version that they
//	            shall keep, one
//	horizon     Body: a store.Time, as all numbers big endian
//	retire      Body: a machine
//	close       Body: a machine and a number
//	purge       Body: the IDs of nodes
//	foreign     Body
type Op struct {
	Dot  store.Dot
	Time store.Time
	// Seen are the entries of the author's vector that grew since its operation
	// before, in the order of machines.
	Seen    []store.Dot
	Kind    Kind
	Node    store.FileID
	Parent  store.FileID
	Name    string
	Dir     bool
	Version Version
	Dots    []store.Dot
	Body    []byte
	Removed bool
	// More holds the fields that this version of the software does not know, as
	// they came.
	More [][]byte
}

// Root is the ID of the drive's root directory.
var Root store.FileID

// nodeOf returns the ID of the node that the create or link operation d makes.
func nodeOf(d store.Dot) (id store.FileID) {
	h := sha256.New()
	h.Write([]byte("aether file"))
	h.Write(d.Machine[:])
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], d.Seq)
	h.Write(seq[:])
	copy(id[:], h.Sum(nil))
	return id
}

// mark is a dot with its time: the stamp of an operation and its name in one.
type mark struct {
	_       struct{} `cbor:",toarray"`
	Machine store.MachineID
	Seq     uint64
	Time    store.Time
}

func (o *Op) mark() mark { return mark{Machine: o.Dot.Machine, Seq: o.Dot.Seq, Time: o.Time} }

func (m mark) dot() store.Dot { return store.Dot{Machine: m.Machine, Seq: m.Seq} }

// compare orders marks by stamp. One machine may, behind a runaway clock, use a
// stamp twice; its own numbering then decides.
func (m mark) compare(o mark) int {
	a := store.Stamp{Time: m.Time, Machine: m.Machine}
	if c := a.Compare(store.Stamp{Time: o.Time, Machine: o.Machine}); c != 0 {
		return c
	}
	return m.dot().Compare(o.dot())
}

// What an Event reports.
const (
	// VersionAdded: the drive shows a version that it did not show before.
	VersionAdded EventKind = iota + 1
	// VersionRemoved: the drive no longer shows a version: it was replaced,
	// removed or discarded, or its bytes equal those of another.
	VersionRemoved
	// MoveIgnored: a directory's move would have put it inside itself.
	MoveIgnored
	// Alarm: an operation came from a clock more than a minute ahead of ours. It
	// was applied all the same.
	Alarm
	// Invalid: an operation made no sense and changed nothing.
	Invalid
	// Closed: a machine was retired, and has made more operations, which were applied
	// here, than count. Dot names the last that counts. If it is this machine it was
	// silent too long: its tree must be made anew, see Wipe.
	Closed
	// NameChanged: a name shows something else, nothing any more, or other
	// attributes. After 4096 of one call comes one with an empty Name: anything may
	// have changed.
	NameChanged
)

// EventKind says what an Event reports.
type EventKind uint8

// Event is something that applying an operation did.
type Event struct {
	Kind EventKind
	// File is the node concerned; zero for Alarm. For NameChanged it is what the
	// name shows now, or what it showed.
	File store.FileID
	// Dir and Name say which name changed: Dir is the canonical directory.
	Dir  store.FileID
	Name string
	// Dot names the version by the operation that named its holders, Version.Placed;
	// for the last three kinds it names the operation.
	Dot store.Dot
	// Content and Holders are the version's.
	Content store.Content
	Holders []store.MachineID
	// Was is set for a version that was shown before with other holders, Before: it
	// names the version as VersionRemoved does, which comes next.
	Was    store.Dot
	Before []store.MachineID
	// From is set for a version that was shown before with the same bytes sealed
	// otherwise, as this says; its VersionRemoved came just before.
	From store.Content
}
