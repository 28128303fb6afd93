package index

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/aether-lan/aether/store"
)

// get looks a key up in the changes of a Txn, in what is gathered, and in Pebble.
func (p *Pebble) get(changes *node, key []byte) ([]byte, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if n := changes.find(key); n != nil {
		return n.copied()
	}
	g := &p.gathered
	g.mu.RLock()
	n := g.fresh.find(key)
	if n == nil {
		n = g.leaving.find(key)
	}
	var v []byte
	known := false
	if n == nil {
		v, known = g.below.get(key)
	}
	begun := g.begun
	g.mu.RUnlock()
	switch {
	case n != nil:
		return n.copied()
	case !known:
		return p.getBelow(key, begun)
	case v == nil:
		return nil, store.ErrNotFound
	}
	return append([]byte{}, v...), nil
}

// copied returns a copy of the node's value.
func (n *node) copied() ([]byte, error) {
	if n.deleted {
		return nil, store.ErrNotFound
	}
	return append([]byte{}, n.value...), nil
}

// getBelow reads a key from Pebble that was not gathered when begun was read: unless
// bringing began anew meanwhile, Pebble has what it had then.
func (p *Pebble) getBelow(key []byte, begun uint64) ([]byte, error) {
	v, closer, err := p.db.Get(key)
	missing := errors.Is(err, pebble.ErrNotFound)
	if err != nil && !missing {
		return nil, fmt.Errorf("index: get: %w", damaged(err))
	}
	var kept []byte
	if !missing {
		kept = append([]byte{}, v...)
		if err := closer.Close(); err != nil {
			return nil, err
		}
	}
	g := &p.gathered
	g.mu.Lock()
	if g.begun == begun {
		g.below.learn(key, kept)
	}
	g.mu.Unlock()
	if missing {
		return nil, store.ErrNotFound
	}
	return append([]byte{}, kept...), nil
}

// source gives the nodes of one layer in ascending order.
type source struct {
	nodes []*node // the first ones
	rest  *cursor // or all of them; nil where nodes are all
}

// nodesMax is how many nodes of a layer are copied for a scan. Where there are more the
// layer is handed out as it is, and copied by whoever changes it.
const nodesMax = 32

func (s *source) node() *node {
	switch {
	case s.rest != nil:
		return s.rest.node()
	case len(s.nodes) > 0:
		return s.nodes[0]
	}
	return nil
}

func (s *source) next() {
	if s.rest != nil {
		s.rest.next()
	} else {
		s.nodes = s.nodes[1:]
	}
}

// sourceOf returns the nodes of a layer from a key on; all reports that they were few
// and need no new edition.
func sourceOf(root *node, from, to []byte) (s source, all bool) {
	s.nodes, all = root.collect(nil, from, to)
	if !all {
		s = source{rest: seek(root, from)}
	}
	return s, all
}

// collect appends the nodes of a range, up to nodesMax.
func (n *node) collect(nodes []*node, from, to []byte) (_ []*node, all bool) {
	if n == nil {
		return nodes, true
	}
	above, under := bytes.Compare(n.key, from) >= 0, to == nil || bytes.Compare(n.key, to) < 0
	if above {
		if nodes, all = n.left.collect(nodes, from, to); !all {
			return nodes, false
		}
	}
	if above && under {
		if len(nodes) == nodesMax {
			return nodes, false
		}
		nodes = append(nodes, n)
	}
	if under {
		return n.right.collect(nodes, from, to)
	}
	return nodes, true
}

// scan walks the changes of a Txn, what is gathered and Pebble together, in the order
// of the keys; where several hold a key the first of them counts. private is the
// edition of changes.
func (p *Pebble) scan(changes *node, private *edition, from, to []byte, f func(key, value []byte) bool) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.leave()
	if to != nil && bytes.Compare(from, to) >= 0 {
		return nil // to Pebble an empty bound is none and a reversed one a bug
	}
	var layers [3]source
	var all bool
	if layers[0], all = sourceOf(changes, from, to); !all {
		*private++
	}
	low, err := p.lay(&layers, from, to)
	if err != nil {
		return fmt.Errorf("index: scan: %w", damaged(err))
	}
	defer low.close() // also when f panics
	for {
		var n *node
		for i := range layers {
			if c := layers[i].node(); c != nil && (n == nil || bytes.Compare(c.key, n.key) < 0) {
				n = c
			}
		}
		if n != nil && to != nil && bytes.Compare(n.key, to) >= 0 {
			n = nil
		}
		k, v, ok := low.pair()
		if n == nil && !ok {
			break
		}
		if n == nil || ok && bytes.Compare(k, n.key) < 0 {
			if !f(k, v) {
				break
			}
			low.next()
			continue
		}
		if ok && bytes.Equal(k, n.key) {
			low.next()
		}
		for i := range layers {
			if c := layers[i].node(); c != nil && bytes.Equal(c.key, n.key) {
				layers[i].next()
			}
		}
		if !n.deleted && !f(n.key, n.value) {
			break
		}
	}
	if low.err != nil {
		return fmt.Errorf("index: scan: %w", damaged(low.err))
	}
	return nil
}

// lay takes the lower layers as they are at one instant.
func (p *Pebble) lay(layers *[3]source, from, to []byte) (low *lower, err error) {
	g := &p.gathered
	low = &lower{}
	g.mu.RLock()
	all, learnable, err := p.layLocked(layers, low, from, to)
	begun := g.begun
	g.mu.RUnlock()
	if !all && err == nil {
		low.close()
		*low = lower{}
		g.mu.Lock()
		g.edition++
		_, learnable, err = p.layLocked(layers, low, from, to)
		begun = g.begun
		g.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	if low.it != nil && low.fetch() && learnable {
		g.mu.Lock()
		if g.begun == begun {
			g.below.learnRange(from, to, low.nodes)
		}
		g.mu.Unlock()
	}
	return low, nil
}

// layLocked is lay; all reports that fresh need not be handed out, and learnable that
// nothing in the range is on its way to Pebble.
func (p *Pebble) layLocked(layers *[3]source, low *lower, from, to []byte) (all, learnable bool, err error) {
	g := &p.gathered
	layers[1], all = sourceOf(g.fresh, from, to)
	layers[2], learnable = sourceOf(g.leaving, from, to) // nobody changes it any more
	learnable = learnable && len(layers[2].nodes) == 0
	var known bool
	if low.nodes, known = g.below.within(from, to); !known {
		low.nodes = nil
		low.it, err = p.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	}
	return all, learnable, err
}

// lower gives the pairs of Pebble in ascending order: those that are known, and then
// those of an iterator.
type lower struct {
	nodes []*node
	it    *pebble.Iterator // nil where nodes are all
	err   error
}

// fetch reads the first pairs. It reports whether they are few, and so all.
func (l *lower) fetch() (all bool) {
	ok := l.it.First()
	for ; ok && len(l.nodes) < rangeMax; ok = l.it.Next() {
		v, err := l.it.ValueAndErr()
		if err != nil {
			l.err = err
			break
		}
		l.nodes = append(l.nodes, &node{key: bytes.Clone(l.it.Key()), value: append([]byte{}, v...)})
	}
	if ok && l.err == nil {
		return false
	}
	if l.err == nil {
		l.err = l.it.Error()
	}
	l.close()
	return l.err == nil
}

func (l *lower) pair() (key, value []byte, ok bool) {
	switch {
	case len(l.nodes) > 0:
		return l.nodes[0].key, l.nodes[0].value, true
	case l.err != nil || l.it == nil || !l.it.Valid():
		return nil, nil, false
	}
	v, err := l.it.ValueAndErr()
	if l.err = err; err != nil {
		return nil, nil, false
	}
	return l.it.Key(), v, true
}

func (l *lower) next() {
	if len(l.nodes) > 0 {
		l.nodes = l.nodes[1:] // the iterator is at the one behind them
	} else if l.it != nil && !l.it.Next() {
		l.err = l.it.Error()
	}
}

func (l *lower) close() {
	if l.it != nil {
		_ = l.it.Close() // what it has to say was asked already
		l.it = nil
	}
}

// last returns the greatest key that is not deleted. It looks at one instant.
func (p *Pebble) last(changes *node, from, to []byte) (key, value []byte, err error) {
	if err := p.enter(); err != nil {
		return nil, nil, err
	}
	defer p.leave()
	if to != nil && bytes.Compare(from, to) >= 0 {
		return nil, nil, store.ErrNotFound
	}
	g := &p.gathered
	g.mu.RLock() // also while Pebble is read, which is rare
	defer g.mu.RUnlock()
	low, err := p.lastBelow(from, to)
	for err == nil {
		n := changes.before(to)
		for _, root := range []*node{g.fresh, g.leaving} {
			if c := root.before(to); c != nil && (n == nil || bytes.Compare(c.key, n.key) > 0) {
				n = c
			}
		}
		switch {
		case n == nil || bytes.Compare(n.key, from) < 0 || low.value != nil && bytes.Compare(low.key, n.key) > 0:
			if low.value == nil {
				return nil, nil, store.ErrNotFound
			}
			return low.key, low.value, nil
		case !n.deleted:
			return bytes.Clone(n.key), append([]byte{}, n.value...), nil
		}
		if to = n.key; bytes.Equal(low.key, n.key) {
			low, err = p.lastBelow(from, to)
		}
	}
	return nil, nil, fmt.Errorf("index: last: %w", damaged(err))
}

// pair is a key with its value; with no value where there is none.
type pair struct{ key, value []byte }

// lastBelow returns the greatest pair of Pebble in a range. The caller holds gathered.mu.
func (p *Pebble) lastBelow(from, to []byte) (low pair, err error) {
	if to != nil && bytes.Equal(from, to) {
		return low, nil
	}
	b := &p.gathered.below
	if _, end := b.around(from); end != nil && to != nil && bytes.Compare(to, end) <= 0 {
		if n := b.rows.before(to); n != nil && bytes.Compare(n.key, from) >= 0 {
			low = pair{bytes.Clone(n.key), append([]byte{}, n.value...)}
		}
		return low, nil
	}
	it, err := p.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return low, err
	}
	defer it.Close()
	if !it.Last() {
		return low, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return low, err
	}
	return pair{bytes.Clone(it.Key()), append([]byte{}, v...)}, nil
}
