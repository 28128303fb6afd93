package tree

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// Two machines with the same operations must have the same drive. Whether they have
// says the root hash; where they have not, hashes over ranges of node IDs lead to the
// nodes that differ. Those are made when they are asked for: they cost a look at every
// node, and nobody should ever need them.

// RootHash returns a digest of everything that the drive shows: all rows, extended
// attributes, and the attributes of the root, in no order; no past rows. Machines with
// equal vectors have equal hashes. It is kept up to date, so this is one read.
func (t *Tree) RootHash(r store.Reader) ([32]byte, error) { return t.Hash(r) }

// Range is a digest of the nodes whose IDs begin with the same bytes.
type Range struct {
	// Nodes is how many there are, removed ones included.
	Nodes int
	// Sum adds up their hashes.
	Sum [32]byte
}

// NodeHash is a digest of what is kept of a node and of the rows in which it is shown.
type NodeHash struct {
	ID   store.FileID
	Hash [32]byte
}

// Ranges returns digests of the nodes whose IDs begin with prefix, by the byte that
// follows it. A prefix has at most 15 bytes.
func (t *Tree) Ranges(r store.Reader, prefix []byte) (ranges [256]Range, err error) {
	if len(prefix) >= len(store.FileID{}) {
		return ranges, fmt.Errorf("tree: ranges: a prefix of %d bytes", len(prefix))
	}
	err = t.Nodes(r, prefix, func(n NodeHash) bool {
		g := &ranges[n.ID[len(prefix)]]
		g.Nodes++
		addHash(&g.Sum, n.Hash, +1)
		return true
	})
	return ranges, err
}

// Nodes calls f with the nodes whose IDs begin with prefix, in the order of their IDs,
// until f returns false. Machines with equal vectors have equal ones.
func (t *Tree) Nodes(r store.Reader, prefix []byte, f func(NodeHash) bool) error {
	from := key(keyNode, prefix)
	var bad error
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		id := store.FileID(k[2:])
		var n node
		if bad = decode(v, &n); bad != nil {
			return false
		}
		var h [32]byte
		if h, bad = n.hash(r, id); bad != nil {
			return false
		}
		return f(NodeHash{ID: id, Hash: h})
	})
	if bad != nil {
		err = bad
	}
	if err != nil {
		return fmt.Errorf("tree: hashes of nodes: %w", err)
	}
	return nil
}

// hash is over the registers in an order that does not depend on that of arrival, the
// view, and the rows that are there for it.
func (n *node) hash(r store.Reader, id store.FileID) ([32]byte, error) {
	byMark := func(a, b version) int { return a.At.compare(b.At) }
	n.Versions = slices.SortedFunc(slices.Values(n.Versions), byMark)
	n.Deletes = slices.SortedFunc(slices.Values(n.Deletes), func(a, b deletion) int { return a.At.compare(b.At) })
	var e encoder
	e.bytes(id[:])
	e.node(n)
	for _, k := range n.rowKeys(id) {
		v, err := r.Get(k)
		if err != nil {
			v = []byte(err.Error()) // missing: as different as can be
		}
		e.bytes(k)
		e.string(string(v))
	}
	return sha256.Sum256(e.b), nil
}

// rowKeys returns the keys of the rows in which a node is shown.
func (n *node) rowKeys(id store.FileID) (keys [][]byte) {
	if n.isLink() {
		return nil // the file has them
	}
	if n.View.Plain {
		k, _ := n.plainRow(id)
		keys = append(keys, k)
	}
	for i := range n.View.Names {
		k, _ := n.linkRow(id, i)
		keys = append(keys, k)
	}
	for _, l := range n.View.Losers {
		k, _ := n.loserRow(id, l)
		keys = append(keys, k)
	}
	return keys
}

// addHash adds h to sum, or takes it out, as four numbers of 64 bits.
func addHash(sum *[32]byte, h [32]byte, by int64) {
	for i := 0; i < len(h); i += 8 {
		n := binary.BigEndian.Uint64(sum[i:]) + uint64(by)*binary.BigEndian.Uint64(h[i:])
		binary.BigEndian.PutUint64(sum[i:], n)
	}
}

// Mend makes the rows of nodes anew from their registers, and then the totals and the
// root hash from all rows. On a tree that is sound it changes nothing. Nodes that are
// not there are passed over.
func (t *Tree) Mend(tx store.Txn, ids []store.FileID, now time.Time) ([]Event, error) {
	w, err := newWork(tx, t)
	if err != nil {
		return nil, fmt.Errorf("tree: mend: %w", err)
	}
	w.past.enter(&Op{Dot: store.Dot{Machine: t.self}, Time: store.TimeAt(now)}, now)
	for _, id := range ids {
		n, err := loadNode(w.tx, id)
		if err != nil || id == Root {
			continue
		}
		if err := w.hide(id, &n); err != nil {
			return nil, fmt.Errorf("tree: mend %s: %w", id, err)
		}
		if err := w.save(id, &n); err != nil {
			return nil, fmt.Errorf("tree: mend %s: %w", id, err)
		}
	}
	if err := w.settle(); err != nil {
		return nil, fmt.Errorf("tree: mend: %w", err)
	}
	events, err := w.finish()
	if err == nil {
		err = recount(tx)
	}
	if err != nil {
		return nil, fmt.Errorf("tree: mend: %w", err)
	}
	return events, nil
}

// recount makes the totals and the root hash anew.
func recount(tx store.Txn) error {
	s, err := loadState(tx)
	if err != nil {
		return err
	}
	w := &work{state: s}
	w.state.Sum, w.state.Files, w.state.Bytes, w.state.Conflicts = [32]byte{}, 0, 0, 0
	if s.Root != (attr{}) { // see setRoot
		for by, a := range map[int64]attr{-1: {}, +1: s.Root} {
			var e encoder
			e.attr(&a)
			w.digest(key(keyNode, Root[:]), e.b, by)
		}
	}
	for _, kind := range []byte{keyRow, keyXattr} {
		var bad error
		from := key(kind)
		if err := tx.Scan(from, end(from), func(k, v []byte) bool {
			if kind == keyXattr {
				w.digest(k, v, +1)
				return true
			}
			var r row
			if bad = decode(v, &r); bad == nil {
				w.sum(k, v, r, +1)
			}
			return bad == nil
		}); err != nil || bad != nil {
			return fmt.Errorf("recount: %w", errors.Join(err, bad))
		}
	}
	return put(tx, key(keyState), &w.state)
}

// PathOf returns where a node is, for people: its path as its places have it, which
// may not be what is shown. It fails with store.ErrNotFound.
func (t *Tree) PathOf(r store.Reader, id store.FileID) (string, error) {
	name := ""
	for range maxPathDepth {
		if id == Root {
			return "/" + name, nil
		}
		n, err := loadNode(r, id)
		if err != nil {
			return "", fmt.Errorf("tree: path of %s: %w", id, err)
		}
		if name != "" {
			name = "/" + name
		}
		name, id = n.Place.Name+name, n.Place.Parent
	}
	return "..." + name, nil
}

// maxPathDepth is how many directories PathOf goes up.
const maxPathDepth = 4096
