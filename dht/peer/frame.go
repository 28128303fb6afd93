package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/wire"
)

// layer says which engine a parcel is for.
type layer byte

// The layers.
const (
	layerRing layer = 1 + iota
	layerRecords
	layerTopics
	lastLayer = layerTopics
)

// parcel is a message of an engine, on its way.
type parcel struct {
	layer layer
	body  []byte
}

// weight is about how many bytes p has on the wire.
func (p parcel) weight() int { return len(p.body) + 4 }

// batch is what one node tells another at once.
//
//	sender   incarnation (uvarint), address (length, 4 or 16 bytes), port (2 bytes)
//	parcels  layer (1 byte), message (uvarint length, bytes), repeated
//
// The sender's ID is not in it: that is proven by the connection's key.
type batch struct {
	incarnation uint64
	address     netip.AddrPort // where the sender listens; unspecified: where it is seen
	parcels     []parcel
}

func (b batch) append(out []byte) []byte {
	out = binary.AppendUvarint(out, b.incarnation)
	out = wire.AppendCounted(out, b.address.Addr().AsSlice())
	out = binary.BigEndian.AppendUint16(out, b.address.Port())
	for _, p := range b.parcels {
		out = append(out, byte(p.layer))
		out = wire.AppendCounted(out, p.body)
	}
	return out
}

// Bounds of a batch.
const (
	maxBatch   = 256 << 10 // after which no parcel is added
	maxParcels = 4096
	maxParcel  = 2 << 20
)

var errBatch = errors.New("malformed batch")

// parseBatch reads what append wrote. The parcels are parts of b.
func parseBatch(b []byte) (t batch, err error) {
	r := wire.NewReader(b)
	t.incarnation = r.Uvarint()
	raw := r.Counted(16)
	port := r.Uint16()
	addr, ok := netip.AddrFromSlice(raw)
	if r.Err() == nil && len(raw) > 0 && !ok {
		r.Fail(fmt.Errorf("%w: an address of %d bytes", errBatch, len(raw)))
	}
	t.address = netip.AddrPortFrom(addr, port)
	for r.Err() == nil && r.Len() > 0 {
		l := layer(r.Uint8())
		body := r.Counted(maxParcel)
		if len(t.parcels) == maxParcels || l < layerRing || l > lastLayer {
			r.Fail(fmt.Errorf("%w: a parcel of layer %d", errBatch, l))
		}
		t.parcels = append(t.parcels, parcel{l, body})
	}
	if err := r.Err(); err != nil {
		return batch{}, fmt.Errorf("dht/peer: batch: %w", err)
	}
	return t, nil
}

// sender returns who sent a batch: id is proven, seen is where the connection comes
// from. A node that listens on all its addresses is where it is seen.
func (b batch) sender(id dht.ID, seen netip.Addr) dht.Peer {
	at := b.address
	if !at.Addr().IsValid() || at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(seen, at.Port())
	}
	return dht.Peer{ID: id, Incarnation: b.incarnation, Address: at}
}

// parseAddress reads an address of a node; it has a port.
func parseAddress(s string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddrPort(s)
	return a, err == nil && a.Port() != 0
}
