package dht

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Message is what nodes send each other: [Query], [Answer], [Find], [Found], [Probe],
// [Probed], [Changed], [Rumors], [Sync], [Members] or [Farewell].
//
// On the wire a message is a byte for its kind and its fields in order: tokens and
// hashes as 8 bytes, big endian, other numbers as the shortest varints, lists behind
// their length. A peer is its ID of 20 bytes, its incarnation, the length of its
// address (0, 4 or 16 bytes), the address and its port in 2 bytes.
type Message interface{ append(w *writer) }

// Packet is a message on its way to a node.
type Packet struct {
	To      Peer
	Message Message
}

// Query asks a node whether it lives and, with View, for its neighbours.
type Query struct {
	Token uint64 // comes back in the Answer
	Head  bool   // the sender has the receiver for its head: a notification (Zave: Rectify)
	View  bool   // wants the view,
	Seen  uint64 // unless this is its hash
	// Members is the hash of all members that the sender knows, zero when it does not
	// keep them all.
	Members uint64
	// Accused, when not zero, says that the receiver was thought dead when its counter
	// was one less. It refutes that with a higher counter in the Answer.
	Accused uint64
}

// Answer answers a Query.
type Answer struct {
	Token   uint64
	Counter uint64 // grows when the sender refutes its own death
	Members uint64 // as in Query
	Whole   bool   // the view follows: it was asked for, and has another hash than Seen
	// Predecessor and Successors are the view.
	Predecessor Peer
	Successors  []Peer
}

// Find asks for the owner of a key, or who is nearer to it.
type Find struct {
	Token uint64
	Key   ID
}

// Found answers a Find. Either Owners or Next is empty.
type Found struct {
	Token  uint64
	Before Peer   // the node before Owners[0], zero when it is not known
	Owners []Peer // the owner of the key, and who comes after it
	Next   []Peer // nodes that precede the key, nearest first
}

// Probe asks a third node to ask Subject whether it lives.
type Probe struct {
	Token   uint64
	Subject Peer
}

// Probed answers a Probe.
type Probed struct {
	Token uint64
	Alive bool
}

// Changed tells the nodes before the sender that its view has another hash now.
type Changed struct{ Hash uint64 }

// Rumor is what somebody believes of a peer: a hint to ask it.
type Rumor struct {
	Peer    Peer
	State   State  // Alive, Dead or Left
	Counter uint64 // that the peer had
}

// Rumors spreads changes of membership.
type Rumors struct{ List []Rumor }

// Parts is how many parts the members are divided into, to compare them.
const Parts = 32

// Sync asks for the members of those parts whose hash is not this.
type Sync struct {
	Token  uint64
	Hashes [Parts]uint32
}

// Members answers a Sync.
type Members struct {
	Token uint64
	Parts uint32 // bit i is set when part i is listed whole
	List  []Peer
}

// Farewell tells that the sender leaves and who were its neighbours.
type Farewell struct {
	Predecessor Peer
	Successors  []Peer
}

const (
	kindQuery = iota + 1
	kindAnswer
	kindFind
	kindFound
	kindProbe
	kindProbed
	kindChanged
	kindRumors
	kindSync
	kindMembers
	kindFarewell
)

// maxNext bounds the lists of a Found.
const maxNext = 16

// AppendMessage appends m as it goes over the wire.
func AppendMessage(b []byte, m Message) []byte {
	w := writer{b}
	m.append(&w)
	return w.b
}

func (m Query) append(w *writer) {
	w.kind(kindQuery)
	w.fixed(m.Token)
	w.bool(m.Head)
	w.bool(m.View)
	if m.View {
		w.fixed(m.Seen)
	}
	w.fixed(m.Members)
	w.uint(m.Accused)
}

func (m Answer) append(w *writer) {
	w.kind(kindAnswer)
	w.fixed(m.Token)
	w.uint(m.Counter)
	w.fixed(m.Members)
	w.bool(m.Whole)
	if m.Whole {
		w.peer(m.Predecessor)
		w.peers(m.Successors)
	}
}

func (m Find) append(w *writer) {
	w.kind(kindFind)
	w.fixed(m.Token)
	w.b = append(w.b, m.Key[:]...)
}

func (m Found) append(w *writer) {
	w.kind(kindFound)
	w.fixed(m.Token)
	w.peer(m.Before)
	w.peers(m.Owners)
	w.peers(m.Next)
}

func (m Probe) append(w *writer) {
	w.kind(kindProbe)
	w.fixed(m.Token)
	w.peer(m.Subject)
}

func (m Probed) append(w *writer) {
	w.kind(kindProbed)
	w.fixed(m.Token)
	w.bool(m.Alive)
}

func (m Changed) append(w *writer) {
	w.kind(kindChanged)
	w.fixed(m.Hash)
}

func (m Rumors) append(w *writer) {
	w.kind(kindRumors)
	w.uint(uint64(len(m.List)))
	for _, r := range m.List {
		w.peer(r.Peer)
		w.kind(byte(r.State))
		w.uint(r.Counter)
	}
}

func (m Sync) append(w *writer) {
	w.kind(kindSync)
	w.fixed(m.Token)
	for _, h := range m.Hashes {
		w.b = binary.BigEndian.AppendUint32(w.b, h)
	}
}

func (m Members) append(w *writer) {
	w.kind(kindMembers)
	w.fixed(m.Token)
	w.b = binary.BigEndian.AppendUint32(w.b, m.Parts)
	w.peers(m.List)
}

func (m Farewell) append(w *writer) {
	w.kind(kindFarewell)
	w.peer(m.Predecessor)
	w.peers(m.Successors)
}

var errMessage = errors.New("not a message of the ring")

// ParseMessage reads what AppendMessage wrote. Whatever else it is given it refuses,
// also bytes left over.
func ParseMessage(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("dht: parse: %w", errMessage)
	}
	r := reader{b: b[1:]}
	m := r.message(b[0])
	if r.bad || m == nil || len(r.b) > 0 {
		return nil, fmt.Errorf("dht: parse: kind %d, %d bytes: %w", b[0], len(b), errMessage)
	}
	return m, nil
}

func (r *reader) message(kind byte) Message {
	switch kind {
	case kindQuery:
		return r.query()
	case kindAnswer:
		return r.answer()
	case kindFind:
		return Find{r.fixed(), r.id()}
	case kindFound:
		return Found{r.fixed(), r.peer(), r.peers(maxNext), r.peers(maxNext)}
	case kindProbe:
		return Probe{r.fixed(), r.peer()}
	case kindProbed:
		return Probed{r.fixed(), r.bool()}
	case kindChanged:
		return Changed{r.fixed()}
	case kindRumors:
		return r.rumors()
	case kindSync:
		return r.sync()
	case kindMembers:
		return Members{r.fixed(), r.uint32(), r.peers(MaxListed)}
	case kindFarewell:
		return Farewell{r.peer(), r.peers(MaxSuccessors)}
	}
	return nil
}

func (r *reader) query() (m Query) {
	m.Token, m.Head, m.View = r.fixed(), r.bool(), r.bool()
	if m.View {
		m.Seen = r.fixed()
	}
	m.Members, m.Accused = r.fixed(), r.uint()
	return m
}

func (r *reader) answer() (m Answer) {
	m.Token, m.Counter, m.Members, m.Whole = r.fixed(), r.uint(), r.fixed(), r.bool()
	if m.Whole {
		m.Predecessor, m.Successors = r.peer(), r.peers(MaxSuccessors)
	}
	return m
}

func (r *reader) rumors() (m Rumors) {
	for range r.count(MaxRumors) {
		v := Rumor{r.peer(), State(r.byte()), r.uint()}
		if v.State != Alive && v.State != Dead && v.State != Left {
			r.fail()
		}
		m.List = append(m.List, v)
	}
	return m
}

func (r *reader) sync() (m Sync) {
	m.Token = r.fixed()
	for i := range m.Hashes {
		m.Hashes[i] = r.uint32()
	}
	return m
}
