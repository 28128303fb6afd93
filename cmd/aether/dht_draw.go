package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aether-lan/aether/dht"
)

// ringNode is a node as [drawRing] shows it.
type ringNode struct {
	at    float64 // its place on the circle: 0 at the top, clockwise, below 1
	label string
	self  bool
	dead  bool // shown, and owns nothing
}

// placeOnRing returns where on the circle a point lies.
func placeOnRing(space dht.Space, id dht.ID) float64 {
	at := 0.0
	for _, b := range id {
		at = at*256 + float64(b)
	}
	return math.Ldexp(at, -space.Bits())
}

const (
	markNode, markSelf, markDead = '●', '◆', '○'
	markArc, markOwnArc          = '·', '•'

	leastRadius    = 8 // columns: a smaller circle becomes a list
	pleasantRadius = 7 // lines
	leastLabel     = 8
)

// drawRing draws nodes on their circle, in at most height lines of at most width
// columns: each with its label and the share of the circle that it owns, the arc
// that self owns with heavy dots. Where several nodes are at one place of the
// terminal, it shows how many. Labels that find no line are left out, evenly, but
// not self's. The lines of middle stand in the middle. What is
// too small for a circle gets a list.
func drawRing(nodes []ringNode, middle []string, width, height int) string {
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b ringNode) int { return cmp.Compare(a.at, b.at) })
	d := ringDrawing{nodes: nodes, width: width, shares: sharesOf(nodes)}
	longest := 0
	for i, n := range nodes {
		longest = max(longest, utf8.RuneCountInString(n.label+" "+d.shares[i]))
	}
	// A cell of a terminal is about twice as high as it is wide. Labels are cut where a
	// circle of a pleasant size would not fit beside them.
	beside := func(label int) int { return (width - 2*(label+2)) / 4 }
	d.ry = min((height-1)/2, max(beside(longest), min(beside(leastLabel), pleasantRadius)))
	d.rx = 2 * d.ry
	if d.rx < leastRadius || len(nodes) == 0 {
		return d.list(height)
	}
	d.circle()
	d.marks()
	d.write(middle)
	d.sides()
	lines := make([]string, len(d.cells))
	for i, row := range d.cells {
		lines[i] = strings.TrimRight(string(row), " ")
	}
	return strings.Join(lines, "\n")
}

// sharesOf returns how much of the circle each node owns: what lies between the
// living node before it and itself.
func sharesOf(nodes []ringNode) []string {
	shares := make([]string, len(nodes))
	var alive []int
	for i, n := range nodes {
		if n.dead {
			shares[i] = "dead"
		} else {
			alive = append(alive, i)
		}
	}
	for j, i := range alive {
		before := nodes[alive[(j+len(alive)-1)%len(alive)]].at
		share := nodes[i].at - before
		if j == 0 {
			share++
		}
		shares[i] = fmt.Sprintf("%.1f%%", 100*share)
	}
	return shares
}

// ringDrawing is a picture of a ring that is being made.
type ringDrawing struct {
	nodes  []ringNode // by place
	shares []string   // of the circle, in words
	width  int
	rx, ry int
	cells  [][]rune
	reach  []int // of each line, how far the circle reaches to the sides
}

// list shows the nodes below one another.
func (d *ringDrawing) list(height int) string {
	var lines []string
	for i, n := range d.nodes {
		if left := len(d.nodes) - i; len(lines) >= height-1 && left > 1 {
			lines = append(lines, fmt.Sprintf("… and %d more", left))
			break
		}
		lines = append(lines, fmt.Sprintf("%c %s", markOf(n), d.label(i, d.width-2)))
	}
	for i := range lines {
		lines[i] = cut(lines[i], max(d.width, 1))
	}
	return strings.Join(lines[:min(len(lines), max(height, 1))], "\n")
}

// label returns what stands beside a node, in at most so many columns: rather its
// share than the whole of its name.
func (d *ringDrawing) label(i, columns int) string {
	name := cut(d.nodes[i].label, max(columns-1-len(d.shares[i]), 1))
	return cut(name+" "+d.shares[i], columns)
}

// markOf returns what stands for a node.
func markOf(n ringNode) rune {
	switch {
	case n.self:
		return markSelf
	case n.dead:
		return markDead
	}
	return markNode
}

// cell returns where a place on the circle is.
func (d *ringDrawing) cell(at float64) (x, y int) {
	sin, cos := math.Sincos(2 * math.Pi * at)
	return d.width/2 + int(math.Round(float64(d.rx)*sin)), d.ry - int(math.Round(float64(d.ry)*cos))
}

func (d *ringDrawing) circle() {
	for range 2*d.ry + 1 {
		d.cells = append(d.cells, []rune(strings.Repeat(" ", d.width)))
	}
	d.reach = make([]int, len(d.cells))
	steps := 16 * d.rx
	for i := range steps {
		at := float64(i) / float64(steps)
		x, y := d.cell(at)
		d.reach[y] = max(d.reach[y], x-d.width/2, d.width/2-x)
		if d.cells[y][x] != markOwnArc {
			d.cells[y][x] = markArc
		}
		if d.ownedBySelf(at) {
			d.cells[y][x] = markOwnArc
		}
	}
}

// ownedBySelf reports whether the first living node at or behind a place is self.
func (d *ringDrawing) ownedBySelf(at float64) bool {
	i, _ := slices.BinarySearchFunc(d.nodes, at, func(n ringNode, at float64) int { return cmp.Compare(n.at, at) })
	for range d.nodes {
		n := d.nodes[i%len(d.nodes)]
		if !n.dead {
			return n.self
		}
		i++
	}
	return false
}

// marks puts the nodes on the circle.
func (d *ringDrawing) marks() {
	type place struct{ x, y int }
	at := map[place][]ringNode{}
	for _, n := range d.nodes {
		x, y := d.cell(n.at)
		d.reach[y] = max(d.reach[y], x-d.width/2, d.width/2-x)
		at[place{x, y}] = append(at[place{x, y}], n)
	}
	for p, here := range at {
		mark := markOf(here[0])
		switch {
		case slices.ContainsFunc(here, func(n ringNode) bool { return n.self }):
			mark = markSelf
		case len(here) > 9:
			mark = '+'
		case len(here) > 1:
			mark = rune('0' + len(here))
		}
		d.cells[p.y][p.x] = mark
	}
}

// write puts lines into the middle, where they do not reach the circle.
func (d *ringDrawing) write(middle []string) {
	top := d.ry - len(middle)/2
	for i, text := range middle {
		y := top + i
		if y <= 0 || y >= len(d.cells)-1 {
			continue
		}
		text = cut(text, max(2*d.reach[y]-5, 0))
		d.put(d.width/2-utf8.RuneCountInString(text)/2, y, text)
	}
}

func (d *ringDrawing) put(x, y int, text string) {
	for i, r := range []rune(text) {
		if x+i >= 0 && x+i < d.width {
			d.cells[y][x+i] = r
		}
	}
}

// sides writes the labels beside the circle, each in the line of its node or the
// nearest that is free and keeps their order.
func (d *ringDrawing) sides() {
	var right, left []int
	for i, n := range d.nodes {
		if n.at < 0.5 {
			right = append(right, i)
		} else {
			left = append(left, i)
		}
	}
	slices.Reverse(left) // from the top down, too
	for s, side := range [][]int{right, left} {
		side = d.fewest(side)
		for k, y := range d.rows(side) {
			center := d.width / 2
			if s == 0 {
				begin := center + d.reach[y] + 2
				d.put(begin, y, d.label(side[k], d.width-begin))
			} else {
				end := center - d.reach[y] - 1
				text := d.label(side[k], end)
				d.put(end-utf8.RuneCountInString(text), y, text)
			}
		}
	}
}

// fewest leaves as many of a side's labels as there are lines, evenly, and self's.
func (d *ringDrawing) fewest(side []int) []int {
	lines := len(d.cells)
	if len(side) <= lines {
		return side
	}
	self := slices.IndexFunc(side, func(i int) bool { return d.nodes[i].self })
	some := make([]int, lines)
	for k := range some {
		some[k] = side[k*len(side)/lines]
	}
	if self >= 0 {
		some[self*lines/len(side)] = side[self]
	}
	return some
}

// rows gives each node of a side a line of its own.
func (d *ringDrawing) rows(side []int) []int {
	rows := make([]int, len(side))
	for k, i := range side {
		_, rows[k] = d.cell(d.nodes[i].at)
		if k > 0 {
			rows[k] = max(rows[k], rows[k-1]+1)
		}
	}
	last := len(d.cells)
	for k := len(rows) - 1; k >= 0; k-- { // what was pushed out at the bottom
		rows[k] = min(rows[k], last-1)
		last = rows[k]
	}
	return rows
}

// cut shortens a text to a number of columns.
func cut(text string, columns int) string {
	if utf8.RuneCountInString(text) <= columns {
		return text
	}
	if columns < 1 {
		return ""
	}
	return string([]rune(text)[:columns-1]) + "…"
}
