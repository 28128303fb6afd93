package index

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"github.com/aether-lan/aether/store"
)

// ErrClosed reports the use of a KV after its Close.
var ErrClosed = errors.New("index: closed")

// ErrDone reports the use of a Txn after its Commit or Discard.
var ErrDone = errors.New("index: transaction is over")

// Memory is a [store.KV] that forgets. It is safe for concurrent use. Every
// change makes a new root and leaves the old tree as it was, so that a Scan
// reads from one instant without holding a lock.
type Memory struct {
	mu     sync.Mutex
	closed bool
	root   *node
}

var _ store.KV = (*Memory)(nil)

// NewMemory returns an empty Memory.
func NewMemory() *Memory { return &Memory{} }

// Close drops all keys. Later calls fail with [ErrClosed].
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	m.closed, m.root = true, nil
	return nil
}

func (m *Memory) snapshot() (*node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	return m.root, nil
}

// Get implements [store.Reader].
func (m *Memory) Get(key []byte) ([]byte, error) {
	root, err := m.snapshot()
	if err != nil {
		return nil, err
	}
	return get(root, nil, key)
}

// Scan implements [store.Reader].
func (m *Memory) Scan(from, to []byte, f func(key, value []byte) bool) error {
	root, err := m.snapshot()
	if err != nil {
		return err
	}
	scan(root, nil, from, to, f)
	return nil
}

// Last implements [store.Reader].
func (m *Memory) Last(from, to []byte) (key, value []byte, err error) {
	root, err := m.snapshot()
	if err != nil {
		return nil, nil, err
	}
	return last(root, nil, from, to)
}

// Begin implements [store.KV].
func (m *Memory) Begin() store.Txn { return &memoryTxn{m: m} }

// memoryTxn keeps its changes in a tree of its own; a node there that is marked
// deleted hides the node of the same key below.
type memoryTxn struct {
	m       *Memory
	changes *node
	done    bool
}

func (t *memoryTxn) below() (*node, error) {
	if t.done {
		return nil, ErrDone
	}
	return t.m.snapshot()
}

func (t *memoryTxn) Get(key []byte) ([]byte, error) {
	root, err := t.below()
	if err != nil {
		return nil, err
	}
	return get(root, t.changes, key)
}

func (t *memoryTxn) Scan(from, to []byte, f func(key, value []byte) bool) error {
	root, err := t.below()
	if err != nil {
		return err
	}
	scan(root, t.changes, from, to, f)
	return nil
}

func (t *memoryTxn) Last(from, to []byte) (key, value []byte, err error) {
	root, err := t.below()
	if err != nil {
		return nil, nil, err
	}
	return last(root, t.changes, from, to)
}

func (t *memoryTxn) Set(key, value []byte) error {
	if t.done {
		return ErrDone
	}
	t.changes = t.changes.with(leaf(key, value, false))
	return nil
}

func (t *memoryTxn) Delete(key []byte) error {
	if t.done {
		return ErrDone
	}
	t.changes = t.changes.with(leaf(key, nil, true))
	return nil
}

func (t *memoryTxn) Commit(bool) error {
	if t.done {
		return ErrDone
	}
	t.done = true
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.m.closed {
		return ErrClosed
	}
	root := t.m.root
	for c := seek(t.changes, nil); c.valid(); c.next() {
		if n := c.node(); n.deleted {
			root = root.without(n.key)
		} else {
			root = root.with(leaf(n.key, n.value, false))
		}
	}
	t.m.root = root
	return nil
}

func (t *memoryTxn) Discard() { t.done, t.changes = true, nil }

// get looks key up in changes and then in root.
func get(root, changes *node, key []byte) ([]byte, error) {
	for _, tree := range []*node{changes, root} {
		if n := tree.find(key); n != nil {
			if n.deleted {
				break
			}
			return append([]byte{}, n.value...), nil
		}
	}
	return nil, store.ErrNotFound
}

// scan walks changes and root together in the order of the keys; where both hold
// a key the node of changes counts.
func scan(root, changes *node, from, to []byte, f func(key, value []byte) bool) {
	a, b := seek(changes, from), seek(root, from)
	for a.valid() || b.valid() {
		n := b.node()
		if c := a.node(); c != nil && (n == nil || bytes.Compare(c.key, n.key) <= 0) {
			if n != nil && bytes.Equal(c.key, n.key) {
				b.next()
			}
			n = c
			a.next()
		} else {
			b.next()
		}
		if to != nil && bytes.Compare(n.key, to) >= 0 {
			return
		}
		// Copies, because the trees are shared with everybody else.
		if !n.deleted && !f(slices.Clone(n.key), append([]byte{}, n.value...)) {
			return
		}
	}
}

// last steps down from to until it meets a key that is not deleted.
func last(root, changes *node, from, to []byte) (key, value []byte, err error) {
	for {
		n, c := root.before(to), changes.before(to)
		if c != nil && (n == nil || bytes.Compare(c.key, n.key) >= 0) {
			n = c
		}
		if n == nil || bytes.Compare(n.key, from) < 0 {
			return nil, nil, store.ErrNotFound
		}
		if !n.deleted {
			return append([]byte{}, n.key...), append([]byte{}, n.value...), nil
		}
		if to = n.key; len(to) == 0 {
			return nil, nil, store.ErrNotFound
		}
	}
}

// node is a node of a treap: a search tree by key and a heap by rank. The rank is
// a hash of the key, so that the depth is logarithmic whatever order keys come in.
// Nodes are never changed once others can reach them from a root: those of the
// owner's own edition are seen by nobody else yet, and change in place.
type node struct {
	key, value  []byte
	rank        uint64
	edition     edition
	deleted     bool
	left, right *node
}

// edition numbers the times that the root of a treap was handed out. Nodes made since
// belong to the owner alone. Shared nodes are those of no edition.
type edition uint64

const shared edition = 0

// own returns a node that stands for n and may be changed.
func (n *node) own(e edition) *node {
	if e != shared && n.edition == e {
		return n
	}
	copied := *n
	copied.edition = e
	return &copied
}

func leaf(key, value []byte, deleted bool) *node {
	return &node{
		key: append([]byte{}, key...), value: append([]byte{}, value...),
		rank: rank(key), deleted: deleted,
	}
}

// rank is FNV-1a with a final mix, without which keys that end alike would come
// out ordered.
func rank(key []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

func (n *node) find(key []byte) *node {
	for n != nil {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// before returns the node with the greatest key below to; any key when to is nil.
func (n *node) before(to []byte) *node {
	var best *node
	for n != nil {
		if to == nil || bytes.Compare(n.key, to) < 0 {
			best, n = n, n.right
		} else {
			n = n.left
		}
	}
	return best
}

// upTo returns the node with the greatest key up to key.
func (n *node) upTo(key []byte) *node {
	var best *node
	for n != nil {
		if bytes.Compare(n.key, key) <= 0 {
			best, n = n, n.right
		} else {
			n = n.left
		}
	}
	return best
}

// with returns the tree n with the node l in place of one of the same key. It may
// change l, which nobody else has seen, and the nodes of l's edition.
func (n *node) with(l *node) *node {
	if n == nil {
		return l
	}
	c := bytes.Compare(l.key, n.key)
	if c == 0 {
		l.left, l.right = n.left, n.right
		return l
	}
	if l.rank > n.rank {
		l.left, l.right = n.split(l.key, l.edition)
		return l
	}
	m := n.own(l.edition)
	if c < 0 {
		m.left = n.left.with(l)
	} else {
		m.right = n.right.with(l)
	}
	return m
}

// split returns the trees of the keys below and above key.
func (n *node) split(key []byte, e edition) (below, above *node) {
	if n == nil {
		return nil, nil
	}
	switch c := bytes.Compare(n.key, key); {
	case c < 0:
		m := n.own(e)
		m.right, above = n.right.split(key, e)
		return m, above
	case c > 0:
		m := n.own(e)
		below, m.left = n.left.split(key, e)
		return below, m
	default:
		return n.left, n.right
	}
}

// without returns the tree n without key.
func (n *node) without(key []byte) *node {
	if n == nil {
		return nil
	}
	copied := *n
	copied.edition = shared
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		copied.left = n.left.without(key)
	case c > 0:
		copied.right = n.right.without(key)
	default:
		return join(n.left, n.right)
	}
	return &copied
}

// join returns one tree of two, all keys of a being below all of b.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.rank > b.rank:
		copied := *a
		copied.right = join(a.right, b)
		return &copied
	default:
		copied := *b
		copied.left = join(a, b.left)
		return &copied
	}
}

// cursor walks a tree in ascending order. Its path holds the nodes still to come
// whose left sides are done.
type cursor struct{ path []*node }

// seek returns a cursor at the first key that is not below from.
func seek(n *node, from []byte) *cursor {
	c := &cursor{}
	for n != nil {
		if bytes.Compare(n.key, from) >= 0 {
			c.path = append(c.path, n)
			n = n.left
		} else {
			n = n.right
		}
	}
	return c
}

func (c *cursor) valid() bool { return len(c.path) > 0 }

func (c *cursor) node() *node {
	if !c.valid() {
		return nil
	}
	return c.path[len(c.path)-1]
}

func (c *cursor) next() {
	n := c.node().right
	c.path = c.path[:len(c.path)-1]
	for ; n != nil; n = n.left {
		c.path = append(c.path, n)
	}
}
