package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
)

// The methods that machines ask of each other.
const (
	// methodGossip carries a gossip.Packet; one way.
	methodGossip uint16 = 1
	// methodBodies asks for chunk bodies: a bodiesRequest, answered with a
	// bodiesReply and the bodies one behind the other.
	methodBodies uint16 = 2
	// methodPieces asks for pieces of a large file: a piecesRequest, answered with a
	// piecesReply and the bodies one behind the other.
	methodPieces uint16 = 24
	// methodProof asks to prove that a chunk is there: a proofRequest, answered with a
	// proofReply.
	methodProof uint16 = 25
)

const (
	// maxAsk is the most chunks in one request.
	maxAsk = 512
	// maxReply is the size in bytes from which an answer takes no further body.
	maxReply = 4 << 20
)

// bodiesRequest asks for the sealed bodies of chunks.
type bodiesRequest struct {
	_    struct{} `cbor:",toarray"`
	Refs []store.Ref
}

// bodiesReply says how long the bodies are, in the order asked: -1 for a chunk
// that is not there. It may be shorter than what was asked: ask for the rest.
type bodiesReply struct {
	_     struct{} `cbor:",toarray"`
	Sizes []int32
}

// strictCBOR decodes what peers send: bounded, no duplicate keys, no trailing bytes.
var strictCBOR = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxArrayElements: 1 << 16, MaxMapPairs: 1 << 16, MaxNestedLevels: 8,
	}.DecMode()
	if err != nil {
		panic(err) // the options are constant
	}
	return mode
}()

var errBadRequest = errors.New("node: bad request")

// errWrong reports an answer that an honest and healthy machine does not give.
var errWrong = errors.New("not what was asked for")

// serveBodies answers methodBodies from the chunks on this disk.
func (m *Machine) serveBodies(ctx context.Context, req link.Message) (link.Message, error) {
	var ask bodiesRequest
	if err := strictCBOR.Unmarshal(req.Header, &ask); err != nil {
		return link.Message{}, fmt.Errorf("%w: bodies: %w", errBadRequest, err)
	}
	if len(ask.Refs) > maxAsk {
		return link.Message{}, fmt.Errorf("%w: bodies: %d chunks, at most %d", errBadRequest, len(ask.Refs), maxAsk)
	}
	var reply bodiesReply
	var body []byte
	room := int(m.limits.room(maxReply))
	for _, ref := range ask.Refs {
		if len(body) >= room || ctx.Err() != nil {
			break
		}
		b, err := m.bodies.Get(ref)
		if err != nil {
			// Not here, or rotten here, which is as good to whoever asks.
			reply.Sizes = append(reply.Sizes, -1)
			continue
		}
		reply.Sizes = append(reply.Sizes, int32(len(b)))
		body = append(body, b...)
	}
	h, err := cbor.Marshal(reply)
	if err != nil {
		return link.Message{}, fmt.Errorf("node: bodies: %w", err)
	}
	if err := m.sending(ctx, len(body)); err != nil {
		return link.Message{}, fmt.Errorf("node: bodies: %w", err)
	}
	return link.Message{Header: h, Body: body}, nil
}

// ask fetches the bodies of refs from peer and hands each to got, verified; what
// the peer does not have is left out. The body is got's only until it returns.
func (m *Machine) ask(ctx context.Context, peer store.MachineID, refs []store.Ref, got func(store.Ref, []byte) error) error {
	for len(refs) > 0 {
		n := min(len(refs), maxAsk)
		answered, err := m.askOnce(ctx, peer, refs[:n], got)
		if err != nil {
			return err
		}
		refs = refs[answered:]
	}
	return nil
}

// askOnce makes one request and returns how many of refs were answered.
func (m *Machine) askOnce(ctx context.Context, peer store.MachineID, refs []store.Ref, got func(store.Ref, []byte) error) (int, error) {
	h, err := cbor.Marshal(bodiesRequest{Refs: refs})
	if err != nil {
		return 0, fmt.Errorf("node: ask %s: %w", peer.Short(), err)
	}
	resp, err := m.call(ctx, peer, link.Message{Method: methodBodies, Header: h})
	if err != nil {
		return 0, fmt.Errorf("node: ask %s: %w", peer.Short(), err)
	}
	defer resp.Release()
	if err := m.receiving(ctx, len(resp.Body)); err != nil {
		return 0, fmt.Errorf("node: ask %s: %w", peer.Short(), err)
	}
	var reply bodiesReply
	if err := strictCBOR.Unmarshal(resp.Header, &reply); err != nil {
		return 0, m.wrong(peer, FaultAnswer, fmt.Errorf("node: answer of %s: %w: %w", peer.Short(), errWrong, err))
	}
	if len(reply.Sizes) == 0 || len(reply.Sizes) > len(refs) {
		return 0, m.wrong(peer, FaultAnswer, fmt.Errorf("node: answer of %s: %w: %d sizes for %d chunks", peer.Short(), errWrong, len(reply.Sizes), len(refs)))
	}
	rest := resp.Body
	for i, size := range reply.Sizes {
		if size < 0 {
			continue
		}
		if int(size) > len(rest) {
			return 0, m.wrong(peer, FaultAnswer, fmt.Errorf("node: answer of %s: %w: cut off", peer.Short(), errWrong))
		}
		body := rest[:size:size]
		rest = rest[size:]
		err := m.checkFrom(ctx, peer, refs[i], body)
		if errors.Is(err, chunk.ErrGeneration) {
			continue // it cannot be checked, nor read: as if it were not there
		}
		if err != nil {
			return 0, m.wrong(peer, FaultRot, fmt.Errorf("node: %s sent a chunk that is not what it says: %w: %w", peer.Short(), errWrong, err))
		}
		if err := got(refs[i], body); err != nil {
			return 0, err
		}
	}
	return len(reply.Sizes), nil
}

// reach returns the network, nil while there is none.
func (m *Machine) reach() network {
	if m.network != nil {
		return m.network
	}
	if mesh := m.mesh.Load(); mesh != nil {
		return mesh
	}
	return nil
}

// call asks peer over the network, when there is one.
func (m *Machine) call(ctx context.Context, peer store.MachineID, req link.Message) (link.Message, error) {
	n := m.reach()
	if n == nil {
		return link.Message{}, link.ErrNotConnected
	}
	return n.Call(ctx, link.PeerID(peer), req)
}

// sources returns the connected machines, those among holders first.
func (m *Machine) sources(holders []store.MachineID) []store.MachineID {
	n := m.reach()
	if n == nil {
		return nil
	}
	var first, then []store.MachineID
	for _, p := range n.Connected() {
		id := store.MachineID(p)
		if slices.Contains(holders, id) {
			first = append(first, id)
		} else {
			then = append(then, id)
		}
	}
	return append(first, then...)
}
