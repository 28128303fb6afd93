package node

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Machines that have the same operations compare the root hashes of their trees. Where
// those differ there is a bug, or a disk that was written to by somebody else. Then the
// two look for the nodes that differ, by ranges of their IDs, name them in the log, and
// make what those show anew.

// methodCompare asks for digests of the nodes of a tree: a compareRequest, answered
// with a compareReply.
const methodCompare uint16 = 33

const (
	// rootIdle is how long a machine must have had no news before it says what the root
	// hash is, and rootEvery how often it says so again.
	rootIdle  = 2 * time.Second
	rootEvery = time.Minute
	// maxListed is how many nodes a range may have to be listed one by one, and maxNamed
	// how many that differ are named and mended.
	maxListed = 256
	maxNamed  = 64
	// compareTime bounds one comparison.
	compareTime = 10 * time.Minute
)

// rootTimer says when the root hash is to be told.
type rootTimer struct{ due time.Time }

// touch notes a change at now.
func (r *rootTimer) touch(now time.Time) { r.due = now.Add(rootIdle) }

// tellRoot tells the gossip the root hash when that is due.
func (c *core) tellRoot(now time.Time) {
	if c.peers == 0 || now.Before(c.root.due) {
		return
	}
	c.root.due = now.Add(rootEvery)
	h, err := c.m.tree.RootHash(c.m.kv)
	if err != nil {
		c.m.log.Warn("the root hash cannot be read", "error", err)
		return
	}
	c.gossip.SetRoot(h)
}

// compareRequest asks for the nodes whose IDs begin with Prefix: how many there are for
// each next byte, and a digest, or with List each of them. State is a digest of the
// operations that the asking machine has: of others nothing could be said.
type compareRequest struct {
	_      struct{} `cbor:",toarray"`
	State  []byte
	Prefix []byte
	List   bool
}

// compareReply has Counts and Sums for the 256 ranges, or IDs and their Hashes. Moved
// says that the answering machine has other operations.
type compareReply struct {
	_      struct{} `cbor:",toarray"`
	Moved  bool
	Counts []uint32
	Sums   [][]byte
	IDs    [][]byte
	Hashes [][]byte
}

// stateDigest stands for the operations that a vector names.
func stateDigest(v store.Vector) []byte {
	h := sha256.New()
	for _, m := range v.Machines() {
		h.Write(m[:])
		h.Write(binary.BigEndian.AppendUint64(nil, v[m]))
	}
	return h.Sum(nil)
}

// operations returns the digest of the operations applied here.
func (m *Machine) operations() ([]byte, error) {
	v, err := m.tree.Vector(m.kv)
	return stateDigest(v), err
}

// serveCompare answers methodCompare.
func (m *Machine) serveCompare(req link.Message) (link.Message, error) {
	var ask compareRequest
	if err := strictCBOR.Unmarshal(req.Header, &ask); err != nil {
		return link.Message{}, fmt.Errorf("%w: compare: %w", errBadRequest, err)
	}
	if len(ask.Prefix) >= len(store.FileID{}) {
		return link.Message{}, fmt.Errorf("%w: compare: a prefix of %d bytes", errBadRequest, len(ask.Prefix))
	}
	reply, err := m.digests(ask)
	if err != nil {
		return link.Message{}, err
	}
	h, err := cbor.Marshal(reply)
	if err != nil {
		return link.Message{}, fmt.Errorf("node: compare: %w", err)
	}
	return link.Message{Header: h}, nil
}

// digests computes what ask wants to know of this machine.
func (m *Machine) digests(ask compareRequest) (reply compareReply, err error) {
	state, err := m.operations()
	if err != nil {
		return reply, err
	}
	if reply.Moved = string(state) != string(ask.State); reply.Moved {
		return reply, nil
	}
	if ask.List {
		err = m.tree.Nodes(m.kv, ask.Prefix, func(n tree.NodeHash) bool {
			reply.IDs, reply.Hashes = append(reply.IDs, n.ID[:]), append(reply.Hashes, n.Hash[:])
			return len(reply.IDs) < 4*maxListed
		})
		return reply, err
	}
	ranges, err := m.tree.Ranges(m.kv, ask.Prefix)
	for i := range ranges {
		reply.Counts = append(reply.Counts, uint32(ranges[i].Nodes))
		reply.Sums = append(reply.Sums, ranges[i].Sum[:])
	}
	return reply, err
}

// errMoved reports that a comparison is of no use: one of the two has news.
var errMoved = errors.New("node: compare: one of the two has news meanwhile")

// askDigests asks a peer what digests says of it.
func (m *Machine) askDigests(ctx context.Context, peer store.MachineID, ask compareRequest) (reply compareReply, err error) {
	h, err := cbor.Marshal(ask)
	if err != nil {
		return reply, fmt.Errorf("node: compare: %w", err)
	}
	resp, err := m.call(ctx, peer, link.Message{Method: methodCompare, Header: h})
	if err != nil {
		return reply, fmt.Errorf("node: compare: %w", err)
	}
	defer resp.Release()
	if err := strictCBOR.Unmarshal(resp.Header, &reply); err != nil {
		return reply, fmt.Errorf("node: compare: answer of %s: %w", peer.Short(), err)
	}
	if reply.Moved {
		return reply, errMoved
	}
	ok := len(reply.IDs) == len(reply.Hashes)
	if !ask.List {
		ok = len(reply.Counts) == 256 && len(reply.Sums) == 256
	}
	for _, id := range reply.IDs {
		ok = ok && len(id) == len(store.FileID{})
	}
	if !ok {
		return reply, fmt.Errorf("node: compare: answer of %s makes no sense", peer.Short())
	}
	return reply, nil
}

// differing returns the nodes that are not the same here and at the peer, at most
// maxNamed.
func (m *Machine) differing(ctx context.Context, peer store.MachineID) ([]store.FileID, error) {
	state, err := m.operations()
	if err != nil {
		return nil, err
	}
	var found []store.FileID
	look := [][]byte{{}}
	for len(look) > 0 && len(found) < maxNamed {
		ask := compareRequest{State: state, Prefix: look[0]}
		look = look[1:]
		ours, theirs, err := m.bothDigests(ctx, peer, ask)
		if err != nil {
			return nil, err
		}
		for b := range 256 {
			if ours.Counts[b] == theirs.Counts[b] && string(ours.Sums[b]) == string(theirs.Sums[b]) {
				continue
			}
			below := append(append([]byte{}, ask.Prefix...), byte(b))
			if max(ours.Counts[b], theirs.Counts[b]) > maxListed && len(below) < len(store.FileID{})-1 {
				look = append(look, below)
				continue
			}
			ids, err := m.listDiffering(ctx, peer, compareRequest{State: state, Prefix: below, List: true})
			if err != nil {
				return nil, err
			}
			if found = append(found, ids...); len(found) >= maxNamed {
				break
			}
		}
	}
	return found[:min(len(found), maxNamed)], nil
}

// bothDigests returns what is asked as it is here and as it is at peer.
func (m *Machine) bothDigests(ctx context.Context, peer store.MachineID, ask compareRequest) (ours, theirs compareReply, err error) {
	if ours, err = m.digests(ask); err == nil && ours.Moved {
		err = errMoved
	}
	if err == nil {
		theirs, err = m.askDigests(ctx, peer, ask)
	}
	return ours, theirs, err
}

// listDiffering compares a range node by node.
func (m *Machine) listDiffering(ctx context.Context, peer store.MachineID, ask compareRequest) (found []store.FileID, err error) {
	ours, theirs, err := m.bothDigests(ctx, peer, ask)
	if err != nil {
		return nil, err
	}
	hashes := map[string]string{}
	for i, id := range theirs.IDs {
		hashes[string(id)] = string(theirs.Hashes[i])
	}
	for i, id := range ours.IDs {
		if hashes[string(id)] != string(ours.Hashes[i]) {
			found = append(found, store.FileID(id))
		}
		delete(hashes, string(id))
	}
	for _, id := range theirs.IDs {
		if _, missing := hashes[string(id)]; missing {
			found = append(found, store.FileID(id))
		}
	}
	return found, nil
}

// compareWith finds out in what this machine's drive differs from that of a peer with
// the same operations, and makes that anew. One comparison goes on at a time.
func (m *Machine) compareWith(peer store.MachineID) {
	if m.core.quit == nil || !m.comparing.CompareAndSwap(false, true) {
		return
	}
	m.jobs.Go(func() {
		defer m.comparing.Store(false)
		ctx, cancel := context.WithTimeout(m.background, compareTime)
		defer cancel()
		ids, err := m.differing(ctx, peer)
		if err != nil {
			m.log.Warn("the drive cannot be compared with that of another machine", "machine", peer.String(), "error", err)
			return
		}
		for _, id := range ids {
			m.log.Error("a file or directory differs from that of another machine", "machine", peer.String(), "node", id.String(), "name", m.nameOfNode(id))
		}
		cerr := m.core.call(ctx, func() { err = m.core.mend(ids) })
		if err = errors.Join(err, cerr); err != nil {
			m.log.Error("what differs cannot be mended", "error", err)
		}
	})
}

// nameOfNode returns the path of a file or directory, as far as it has one.
func (m *Machine) nameOfNode(id store.FileID) string {
	name, err := m.tree.PathOf(m.kv, id)
	if err != nil {
		return "?"
	}
	return name
}

// mend makes anew what nodes show, and says the root hash again soon.
func (c *core) mend(ids []store.FileID) error {
	now := c.m.now()
	var events []tree.Event
	err := c.commit(func(tx store.Txn) (err error) {
		if events, err = c.m.tree.Mend(tx, ids, now); err != nil {
			return err
		}
		return c.follow(tx, now, events)
	})
	if err == nil {
		c.m.drive.Announce(nil, events)
	}
	return err
}
