package index

import "bytes"

// Bounds of what is remembered of Pebble.
const (
	pointsMax = 2 << 20  // bytes of keys and values, twice
	pointMax  = 4 << 10  // bytes of a value that is remembered
	rowsMax   = 12 << 20 // bytes of what lies in ranges
	rangesMax = 4096
	rangeMax  = 8   // keys of a range when it is first remembered; it may grow
	entry     = 128 // bytes of memory that a key takes besides
)

// below is what is known of Pebble without asking it, which takes microseconds: some
// keys with their values, and some ranges with all that lies in them. Only bringing what
// is gathered changes Pebble, and take says what, so that it is always right.
type below struct {
	points, older map[string][]byte // nil for a key that is not there
	size          int               // bytes of points

	ranges map[string][]byte // upper ends by lower ones; no two overlap
	order  *node             // of the lower ends
	rows   *node             // all keys of ranges, and perhaps others that are there
	held   int               // bytes of rows, at most
}

func (b *below) reset() {
	b.points, b.older, b.size = map[string][]byte{}, nil, 0
	b.forgetRanges()
}

func (b *below) forgetRanges() {
	b.ranges, b.order, b.rows, b.held = map[string][]byte{}, nil, nil, 0
}

// get returns the value of a key, nil when it is not there, if that is known.
func (b *below) get(key []byte) (value []byte, known bool) {
	if v, ok := b.points[string(key)]; ok {
		return v, true
	}
	if v, ok := b.older[string(key)]; ok {
		return v, true
	}
	if from, _ := b.around(key); from == nil {
		return nil, false
	}
	if n := b.rows.find(key); n != nil {
		return n.value, true
	}
	return nil, true
}

// around returns the ends of the range that a key lies in, nil when it is in none.
func (b *below) around(key []byte) (from, to []byte) {
	n := b.order.upTo(key)
	if n == nil {
		return nil, nil
	}
	if to = b.ranges[string(n.key)]; bytes.Compare(key, to) >= 0 {
		return nil, nil
	}
	return n.key, to
}

// within returns what lies in a range, if that is known and not much.
func (b *below) within(from, to []byte) (nodes []*node, known bool) {
	_, end := b.around(from)
	if end == nil || to == nil || bytes.Compare(to, end) > 0 {
		return nil, false
	}
	return b.rows.collect(nil, from, to)
}

// learn notes a key and its value, nil when it is not there. It keeps the value.
func (b *below) learn(key, value []byte) {
	if len(value) > pointMax {
		delete(b.points, string(key))
		delete(b.older, string(key))
		return
	}
	if b.size += len(key) + len(value) + entry; b.size > pointsMax {
		b.points, b.older, b.size = map[string][]byte{}, b.points, 0
	}
	b.points[string(key)] = value
}

// learnRange notes all that lies in a range.
func (b *below) learnRange(from, to []byte, all []*node) {
	if to == nil || len(from) == 0 {
		return
	}
	if n, _ := b.around(from); n != nil {
		return
	}
	for {
		n := b.order.before(to)
		if n == nil || bytes.Compare(n.key, from) < 0 {
			break
		}
		if bytes.Compare(b.ranges[string(n.key)], to) > 0 {
			return // neither lies in the other
		}
		delete(b.ranges, string(n.key)) // its rows are among those of the new one
		b.order = b.order.without(n.key)
	}
	if len(b.ranges) >= rangesMax {
		b.forgetRanges()
	}
	b.order = b.order.with(alone(from, nil))
	b.ranges[string(from)] = bytes.Clone(to)
	for _, n := range all {
		b.hold(n.key, n.value)
	}
}

// alone returns a node for a tree that is never handed out.
func alone(key, value []byte) *node {
	return &node{key: bytes.Clone(key), value: value, rank: rank(key), edition: shared + 1}
}

// hold notes a key of a range.
func (b *below) hold(key, value []byte) {
	b.rows = b.rows.with(alone(key, value))
	if b.held += len(key) + len(value) + entry; b.held > rowsMax {
		b.forgetRanges()
	}
}

// take enters what was brought to Pebble.
func (b *below) take(changes *node) {
	for c := seek(changes, nil); c.valid(); c.next() {
		n := c.node()
		if n.deleted {
			b.learn(n.key, nil)
			if b.rows.find(n.key) != nil {
				b.rows = b.rows.without(n.key)
			}
			continue
		}
		b.learn(n.key, n.value)
		if from, _ := b.around(n.key); from != nil {
			b.hold(n.key, n.value)
		} else if b.rows.find(n.key) != nil {
			b.rows = b.rows.without(n.key) // of a range that is forgotten
		}
	}
}
