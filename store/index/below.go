package index

import "bytes"

// Bounds of what is remembered of Pebble.
const (
	pointsMax = 2 << 20 // bytes of keys and values, twice
	pointMax  = 4 << 10 // bytes of a value that is remembered
	rangesMax = 4096
	rangeMax  = 8 // keys of a range that is remembered
)

// below is what is known of Pebble without asking it, which takes microseconds: some
// keys with their values, and some ranges of few keys. Only bringing what is gathered
// changes Pebble, and take says what, so that it is always right.
type below struct {
	points, older map[string][]byte // nil for a key that is not there
	size          int               // bytes of points
	ranges        map[string]*few   // by their lower ends; no two overlap
	order         *node             // of the keys of ranges
}

// few is a range with all that lies in it. It is never changed.
type few struct {
	to    []byte
	pairs []pair
}

type pair struct{ key, value []byte }

func (b *below) reset() {
	b.points, b.older, b.size = map[string][]byte{}, nil, 0
	b.forgetRanges()
}

func (b *below) forgetRanges() { b.ranges, b.order = map[string]*few{}, nil }

// get returns the value of a key, nil when it is not there, if that is known.
func (b *below) get(key []byte) (value []byte, known bool) {
	if v, ok := b.points[string(key)]; ok {
		return v, true
	}
	if v, ok := b.older[string(key)]; ok {
		return v, true
	}
	_, r := b.around(key)
	if r == nil {
		return nil, false
	}
	for _, p := range r.pairs {
		if bytes.Equal(p.key, key) {
			return p.value, true
		}
	}
	return nil, true
}

// around returns the range that a key lies in and its lower end.
func (b *below) around(key []byte) (from []byte, r *few) {
	n := b.order.upTo(key)
	if n == nil {
		return nil, nil
	}
	if r = b.ranges[string(n.key)]; bytes.Compare(key, r.to) >= 0 {
		return nil, nil
	}
	return n.key, r
}

// within returns what lies in a range, if that is known.
func (b *below) within(from, to []byte) (pairs []pair, known bool) {
	_, r := b.around(from)
	if r == nil || to == nil || bytes.Compare(to, r.to) > 0 {
		return nil, false
	}
	pairs = r.pairs
	for len(pairs) > 0 && bytes.Compare(pairs[0].key, from) < 0 {
		pairs = pairs[1:]
	}
	for n := len(pairs); n > 0 && bytes.Compare(pairs[n-1].key, to) >= 0; n-- {
		pairs = pairs[:n-1]
	}
	return pairs, true
}

// learn notes a key and its value, nil when it is not there. It keeps the value.
func (b *below) learn(key, value []byte) {
	if len(value) > pointMax {
		delete(b.points, string(key))
		delete(b.older, string(key))
		return
	}
	const entry = 64 // bytes that a map takes besides
	if b.size += len(key) + len(value) + entry; b.size > pointsMax {
		b.points, b.older, b.size = map[string][]byte{}, b.points, 0
	}
	b.points[string(key)] = value
}

// learnRange notes all that lies in a range. It keeps the slices.
func (b *below) learnRange(from, to []byte, pairs []pair) {
	if len(pairs) > rangeMax || to == nil {
		return
	}
	if _, r := b.around(from); r != nil {
		return
	}
	for {
		n := b.order.before(to)
		if n == nil || bytes.Compare(n.key, from) < 0 {
			break
		}
		if bytes.Compare(b.ranges[string(n.key)].to, to) > 0 {
			return // neither lies in the other
		}
		b.drop(n.key)
	}
	if len(b.ranges) >= rangesMax {
		b.forgetRanges()
	}
	l := leaf(from, nil, false)
	l.edition = shared + 1 // nobody else sees this tree
	b.order = b.order.with(l)
	b.ranges[string(from)] = &few{to: bytes.Clone(to), pairs: pairs}
}

func (b *below) drop(from []byte) {
	delete(b.ranges, string(from))
	b.order = b.order.without(from)
}

// take enters what was brought to Pebble.
func (b *below) take(changes *node) {
	for c := seek(changes, nil); c.valid(); c.next() {
		n := c.node()
		value := n.value
		if n.deleted {
			value = nil
		}
		b.learn(n.key, value)
		if from, r := b.around(n.key); r != nil {
			if r = r.with(n.key, value); len(r.pairs) > rangeMax {
				b.drop(from)
			} else {
				b.ranges[string(from)] = r
			}
		}
	}
}

// with returns r with another value of a key, nil to remove it.
func (r *few) with(key, value []byte) *few {
	next := &few{to: r.to, pairs: make([]pair, 0, len(r.pairs)+1)}
	i := 0
	for ; i < len(r.pairs) && bytes.Compare(r.pairs[i].key, key) < 0; i++ {
		next.pairs = append(next.pairs, r.pairs[i])
	}
	if value != nil {
		next.pairs = append(next.pairs, pair{key, value})
	}
	if i < len(r.pairs) && bytes.Equal(r.pairs[i].key, key) {
		i++
	}
	next.pairs = append(next.pairs, r.pairs[i:]...)
	return next
}
