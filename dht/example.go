package dht

import (
	"fmt"
	"slices"
	"strings"
)

// Example is the ring of the textbook: m = 5 and nodes 1 4 9 11 14 18 20 21 28. All
// pointers of its tables are right; lookups go from node to node as the text tells.
type Example struct {
	space Space
	nodes []uint64
	table map[uint64]*Table
}

// ExampleNewcomer is the node that the text inserts.
const ExampleNewcomer uint64 = 7

// ExampleLookup is a lookup that the text tells.
type ExampleLookup struct{ Key, From uint64 }

// ExampleLookups returns them: lookup(26) from 1 and lookup(12) from 28.
func ExampleLookups() []ExampleLookup { return []ExampleLookup{{26, 1}, {12, 28}} }

// NewExample returns the ring of the worked example.
func NewExample() *Example {
	s, _ := NewSpace(5)
	e := &Example{space: s, nodes: []uint64{1, 4, 9, 11, 14, 18, 20, 21, 28}}
	e.build()
	return e
}

func (e *Example) peer(n uint64) Peer { return Peer{ID: e.space.Int(n)} }

func (e *Example) number(p Peer) uint64 { return uint64(p.ID[len(p.ID)-1]) }

// Nodes returns the nodes, in order.
func (e *Example) Nodes() []uint64 { return slices.Clone(e.nodes) }

// Successor returns succ(k): the first node at k or clockwise from it.
func (e *Example) Successor(k uint64) uint64 {
	i, _ := slices.BinarySearch(e.nodes, k%32)
	return e.nodes[i%len(e.nodes)]
}

func (e *Example) build() {
	e.table = map[uint64]*Table{}
	for _, n := range e.nodes {
		e.table[n] = e.tableOf(n)
	}
}

// tableOf returns the table of node n, with one successor as in the text.
func (e *Example) tableOf(n uint64) *Table {
	i, _ := slices.BinarySearch(e.nodes, n)
	r := NewRing(e.peer(n), 1)
	r.pred = e.peer(e.nodes[(i+len(e.nodes)-1)%len(e.nodes)])
	r.adopt([]Peer{e.peer(e.nodes[(i+1)%len(e.nodes)])})
	t := NewTable(e.space, r)
	for f := 1; f <= e.space.bits; f++ {
		t.SetFinger(f, e.peer(e.Successor(n+1<<(f-1))))
	}
	return t
}

// Fingers returns the finger table of node n: finger i is succ(n + 2^(i-1)).
func (e *Example) Fingers(n uint64) (fingers []uint64) {
	for _, p := range e.table[n].Fingers() {
		fingers = append(fingers, e.number(p))
	}
	return fingers
}

// Lookup returns the nodes that lookup(k) from node n goes through, and the owner
// that the last of them names.
func (e *Example) Lookup(k, n uint64) (hops []uint64, owner uint64) {
	key := e.space.Int(k)
	for {
		t := e.table[n]
		if p, ok := t.Owner(key); ok {
			return hops, e.number(p)
		}
		n = e.number(t.Next(key, 1)[0])
		hops = append(hops, n)
	}
}

// Change is a finger that another node takes over.
type Change struct {
	Node   uint64
	Finger int
	From   uint64
	To     uint64
}

// Insert adds node n. It returns the first question that the newcomer asks, for
// succ(n+1), its table, and which fingers of others change: nothing else is built
// anew.
func (e *Example) Insert(n uint64) (asked, answer uint64, changes []Change) {
	asked = (n + 1) % 32
	answer = e.Successor(asked)
	for _, m := range e.nodes {
		t := e.table[m]
		for _, f := range t.FingersTo(e.space.Int(n)) {
			changes = append(changes, Change{m, f, e.number(t.fingers[f-1]), n})
			t.SetFinger(f, e.peer(n))
		}
	}
	i, _ := slices.BinarySearch(e.nodes, n)
	before, after := e.table[e.nodes[(i+len(e.nodes)-1)%len(e.nodes)]].ring, e.table[e.Successor(n)].ring
	e.nodes = slices.Insert(e.nodes, i, n)
	before.adopt([]Peer{e.peer(n)})
	after.pred = e.peer(n)
	e.table[n] = e.tableOf(n)
	return asked, answer, changes
}

// Text tells the whole example: the tables, lookup(26) from 1, lookup(12) from 28
// and insert(7).
func (e *Example) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "A circle of 2^5 = 32 points; nodes %s.\n", join(e.nodes))
	fmt.Fprintf(&b, "Finger i of node p is succ(p + 2^(i-1)), the first node at or after that point.\n\n")
	e.tables(&b, e.nodes)
	for _, l := range ExampleLookups() {
		hops, owner := e.Lookup(l.Key, l.From)
		fmt.Fprintf(&b, "\nlookup(%d) from %d\n", l.Key, l.From)
		at := l.From
		for _, hop := range hops {
			fmt.Fprintf(&b, "  %2d  its fingers are %s; the last before %d is %d: go there\n", at, join(e.Fingers(at)), l.Key, hop)
			at = hop
		}
		fmt.Fprintf(&b, "  %2d  %d lies between %d and its successor %d: the owner is %d\n", at, l.Key, at, owner, owner)
	}
	e.tellInsert(&b)
	return b.String()
}

// tellInsert inserts the newcomer and shows the tables that are not what they were.
func (e *Example) tellInsert(b *strings.Builder) {
	const n = ExampleNewcomer
	before := e.table[e.Successor(n)].ring.pred
	asked, answer, changes := e.Insert(n)
	fmt.Fprintf(b, "\ninsert(%d)\n", n)
	fmt.Fprintf(b, "  %2d  asks any node for succ(%d): it is %d, the newcomer's successor\n", n, asked, answer)
	fmt.Fprintf(b, "  %2d  its predecessor was %d and is %d\n", answer, e.number(before), n)
	fmt.Fprintf(b, "  %2d  builds its table: %s\n", n, join(e.Fingers(n)))
	fmt.Fprintf(b, "      %s, all others stay as they are:\n", plural(len(changes), "finger changes", "fingers change"))
	touched := []uint64{n}
	for _, c := range changes {
		fmt.Fprintf(b, "  %2d  finger %d was %d and is %d\n", c.Node, c.Finger, c.From, c.To)
		touched = append(touched, c.Node)
	}
	slices.Sort(touched)
	fmt.Fprintln(b)
	e.tables(b, slices.Compact(touched))
}

func (e *Example) tables(b *strings.Builder, nodes []uint64) {
	fmt.Fprintf(b, "  node  i=1  i=2  i=3  i=4  i=5\n")
	for _, n := range nodes {
		fmt.Fprintf(b, "  %4d", n)
		for _, f := range e.Fingers(n) {
			fmt.Fprintf(b, " %4d", f)
		}
		fmt.Fprintln(b)
	}
}

func join(numbers []uint64) string { return strings.Trim(fmt.Sprint(numbers), "[]") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
