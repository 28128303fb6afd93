package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
)

// A message is the CBOR array [kind, body] in the core deterministic encoding
// (RFC 8949, 4.2.1); anything else is garbage. Bodies are arrays of the fields
// of the structs below in their order.
//
// The tens of a kind are the format, 1.
const (
	kindVector    = 11
	kindEntries   = 12
	kindAck       = 13
	kindInventory = 14
	kindEvidence  = 15
)

var errGarbage = errors.New("gossip: bad message")

// message is one of *vectorMessage, *entriesMessage, *ackMessage,
// *inventoryMessage and *evidenceMessage.
type message interface{ kind() uint64 }

type envelope struct {
	_    struct{} `cbor:",toarray"`
	Kind uint64
	Body cbor.RawMessage
}

// ackMessage says that the Entries messages First to Number of Session are
// committed, and that those before First are dealt with, committed or not.
type ackMessage struct {
	_       struct{} `cbor:",toarray"`
	Session uint64
	First   uint64
	Number  uint64
}

// vectorMessage says what a machine has. Its Ack says less than that of an
// ackMessage: that those messages are dealt with, not that they were taken.
type vectorMessage struct {
	_ struct{} `cbor:",toarray"`
	// Has is in ascending order of machines.
	Has []has
	// Root is the hash of the state at this vector: 32 bytes, or none.
	Root []byte
	Ack  ackMessage
	// Want asks for a vector in return if it would say something new.
	Want bool
	// Hold asks not to be sent what is missing before the next exchange.
	Hold bool
	// Yours is the last head of the receiver that the sender has: one, or none.
	Yours []claim
}

// has is one machine's line of a vector: its last entry and the counter of its
// inventory. One of them may be zero.
type has struct {
	_         struct{} `cbor:",toarray"`
	Machine   store.MachineID
	Seq       uint64
	Inventory store.Time
	// Tail is the first 8 bytes of the chain at Seq, so that two who have as many
	// entries see whether they are the same.
	Tail uint64
	// Refused says that no entries of the machine are wanted.
	Refused bool
}

// claim is a head: a place in a machine's chain that the machine has signed.
type claim struct {
	_    struct{} `cbor:",toarray"`
	Seq  uint64
	Hash []byte
	Seal []byte
}

// entriesMessage carries entries of one or more authors.
type entriesMessage struct {
	_       struct{} `cbor:",toarray"`
	Session uint64
	// Number counts the messages of a session from 1.
	Number uint64
	// Also names others that were sent the same entries.
	Also []store.MachineID
	Runs []run
}

// run is entries of one author, numbered from First without gaps. Before is the
// author's chain up to First-1. Seal covers the last.
type run struct {
	_        struct{} `cbor:",toarray"`
	Machine  store.MachineID
	First    uint64
	Before   hash
	Seal     []byte
	Payloads [][]byte
}

func (r run) last() uint64 { return r.First + uint64(len(r.Payloads)) - 1 }

// evidenceMessage carries entries that the receiver has, or has others of the same
// numbers for. It changes nothing but what is known of forks.
type evidenceMessage struct {
	_   struct{} `cbor:",toarray"`
	Run run
}

// inventoryMessage carries the soft state of a machine, signed by it.
type inventoryMessage struct {
	_       struct{} `cbor:",toarray"`
	Machine store.MachineID
	Counter store.Time
	Also    []store.MachineID
	Bytes   []byte
	Seal    []byte
}

func (*vectorMessage) kind() uint64    { return kindVector }
func (*entriesMessage) kind() uint64   { return kindEntries }
func (*ackMessage) kind() uint64       { return kindAck }
func (*inventoryMessage) kind() uint64 { return kindInventory }
func (*evidenceMessage) kind() uint64  { return kindEvidence }

// maxAlso bounds the machines that a message names beside its entries.
const maxAlso = 64

// maxCounter bounds the counter of an inventory, some thousand years from now, so
// that the next one cannot overflow.
const maxCounter store.Time = 1 << 62

var encMode, decMode = modes()

func modes() (cbor.EncMode, cbor.DecMode) {
	enc := cbor.CoreDetEncOptions()
	enc.NilContainers = cbor.NilContainerAsEmpty
	em, err := enc.EncMode()
	if err != nil {
		panic(err)
	}
	dm, err := cbor.DecOptions{
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxArrayElements: MaxMessage,
		MaxMapPairs:      16,
		MaxNestedLevels:  6,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return em, dm
}

// encode writes m. It cannot fail for the types of this file.
func encode(m message) []byte {
	body, err := encMode.Marshal(m)
	if err != nil {
		panic(err)
	}
	b, err := encMode.Marshal(envelope{Kind: m.kind(), Body: body})
	if err != nil {
		panic(err)
	}
	return b
}

// parse reads a message and checks everything that needs no state.
func parse(b []byte) (message, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", errGarbage, len(b))
	}
	var env envelope
	if err := decMode.Unmarshal(b, &env); err != nil {
		return nil, fmt.Errorf("%w: %w", errGarbage, err)
	}
	var m interface {
		message
		check() error
	}
	switch env.Kind {
	case kindVector:
		m = new(vectorMessage)
	case kindEntries:
		m = new(entriesMessage)
	case kindAck:
		m = new(ackMessage)
	case kindInventory:
		m = new(inventoryMessage)
	case kindEvidence:
		m = new(evidenceMessage)
	default:
		return nil, fmt.Errorf("%w: kind %d", errGarbage, env.Kind)
	}
	if err := decMode.Unmarshal(env.Body, m); err != nil {
		return nil, fmt.Errorf("%w: %w", errGarbage, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	// One meaning, one encoding: what would not be written so is refused.
	if !bytes.Equal(encode(m), b) {
		return nil, fmt.Errorf("%w: not canonical", errGarbage)
	}
	return m, nil
}

func (m *vectorMessage) check() error {
	if len(m.Has) > MaxMachines {
		return fmt.Errorf("%w: vector of %d", errGarbage, len(m.Has))
	}
	if len(m.Root) != 0 && len(m.Root) != 32 {
		return fmt.Errorf("%w: root of %d bytes", errGarbage, len(m.Root))
	}
	var before store.MachineID // zero: no machine may be zero
	for _, h := range m.Has {
		if h.Machine.Compare(before) <= 0 || h.Seq == 0 && h.Inventory == 0 && !h.Refused || h.Inventory > maxCounter {
			return fmt.Errorf("%w: vector out of order", errGarbage)
		}
		before = h.Machine
	}
	if len(m.Yours) > 1 {
		return fmt.Errorf("%w: %d claims", errGarbage, len(m.Yours))
	}
	for _, c := range m.Yours {
		if c.Seq == 0 || len(c.Hash) != len(hash{}) || len(c.Seal) != sealSize {
			return fmt.Errorf("%w: claim", errGarbage)
		}
	}
	return nil
}

func (m *entriesMessage) check() error {
	if m.Number == 0 || len(m.Also) > maxAlso || len(m.Runs) == 0 || len(m.Runs) > MaxMachines {
		return fmt.Errorf("%w: entries", errGarbage)
	}
	for i := range m.Runs {
		if err := m.Runs[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) check() error {
	n := uint64(len(r.Payloads))
	if r.Machine.IsZero() || r.First == 0 || n == 0 || r.First > math.MaxUint64-n || len(r.Seal) != sealSize {
		return fmt.Errorf("%w: run", errGarbage)
	}
	size := 0
	for _, p := range r.Payloads {
		if len(p) > MaxPayload {
			return fmt.Errorf("%w: payload of %d bytes", errGarbage, len(p))
		}
		size += len(p) + perEntry
	}
	if size > maxRun {
		return fmt.Errorf("%w: run of %d bytes", errGarbage, size)
	}
	return nil
}

func (m *evidenceMessage) check() error { return m.Run.check() }

func (m *ackMessage) check() error { return nil }

func (m *inventoryMessage) check() error {
	if m.Machine.IsZero() || m.Counter == 0 || m.Counter > maxCounter || len(m.Also) > maxAlso || len(m.Bytes) > MaxInventory || len(m.Seal) != sealSize {
		return fmt.Errorf("%w: inventory", errGarbage)
	}
	return nil
}
