package oracle

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// oracle computes the view of a set of operations from the whole set, slowly and
// without looking at how package tree does it.
type oracle struct {
	ops   []tree.Op
	saw   map[store.Dot]store.Vector // by operation, itself included
	nodes map[store.FileID]*oracleNode
}

type oracleNode struct {
	id       store.FileID
	create   tree.Op
	target   *oracleNode // of a link
	links    []*oracleNode
	place    tree.Op // the create or move that counts
	live     []tree.Op
	dropped  map[store.Dot]bool
	deletes  []tree.Op
	attrs    tree.Op // mode and owner
	touched  tree.Op // the modification time, set without writing
	xattrs   map[string]tree.Op
	assigned map[store.Dot]tree.Op // by version
	children []*oracleNode
}

// NodeID returns the ID of the node that the create or link operation d makes.
func NodeID(d store.Dot) (id store.FileID) {
	b := append([]byte("aether file"), d.Machine[:]...)
	h := sha256.Sum256(binary.BigEndian.AppendUint64(b, d.Seq))
	return store.FileID(h[:16])
}

func later(a, b tree.Op) int {
	s := store.Stamp{Time: a.Time, Machine: a.Dot.Machine}
	if c := s.Compare(store.Stamp{Time: b.Time, Machine: b.Dot.Machine}); c != 0 {
		return c
	}
	return a.Dot.Compare(b.Dot)
}

// View returns each path of the drive that the operations make, and in words what it
// shows. The operations must be closed under Seen.
func View(ops []tree.Op) map[string]string {
	o := &oracle{ops: ops, saw: map[store.Dot]store.Vector{}, nodes: map[store.FileID]*oracleNode{}}
	o.causality()
	o.find()
	o.places()
	o.registers()
	out := map[string]string{}
	root := o.nodes[tree.Root]
	out["/"] = describeDir([]*oracleNode{root})
	o.render(out, "/", []*oracleNode{root})
	return out
}

func (o *oracle) has(by, what tree.Op) bool { return o.saw[by.Dot].Has(what.Dot) }

func (o *oracle) causality() {
	byAuthor := slices.Clone(o.ops)
	slices.SortFunc(byAuthor, func(a, b tree.Op) int { return a.Dot.Compare(b.Dot) })
	v := store.Vector{}
	for i, op := range byAuthor {
		if i > 0 && byAuthor[i-1].Dot.Machine != op.Dot.Machine {
			v = store.Vector{}
		}
		for _, d := range op.Seen {
			v[d.Machine] = d.Seq
		}
		v[op.Dot.Machine] = op.Dot.Seq
		o.saw[op.Dot] = v.Clone()
	}
}

// find makes the nodes whose parents make sense.
func (o *oracle) find() {
	o.nodes[tree.Root] = &oracleNode{create: tree.Op{Dir: true}, xattrs: map[string]tree.Op{}}
	for again := true; again; {
		again = false
		for _, op := range o.ops {
			id := NodeID(op.Dot)
			if op.Kind == tree.KindCreate && o.nodes[id] == nil && o.isDir(op, op.Parent) {
				o.nodes[id] = &oracleNode{id: id, create: op, place: op, attrs: op, touched: op, dropped: map[store.Dot]bool{}, assigned: map[store.Dot]tree.Op{}, xattrs: map[string]tree.Op{}}
				again = true
			}
			t := o.known(op, op.Node)
			if op.Kind == tree.KindLink && o.nodes[id] == nil && t != nil && t.target == nil && !t.create.Dir && o.isDir(op, op.Parent) {
				o.nodes[id] = &oracleNode{id: id, create: op, place: op, target: t}
				t.links = append(t.links, o.nodes[id])
				again = true
			}
		}
	}
}

func (o *oracle) known(op tree.Op, id store.FileID) *oracleNode {
	n := o.nodes[id]
	if n == nil || id == tree.Root || !o.has(op, n.create) {
		return nil
	}
	return n
}

func (o *oracle) isDir(op tree.Op, id store.FileID) bool {
	n := o.known(op, id)
	return id == tree.Root || n != nil && n.create.Dir
}

func (o *oracle) places() {
	byStamp := slices.Clone(o.ops)
	slices.SortFunc(byStamp, later)
	for _, op := range byStamp {
		n := o.known(op, op.Node)
		if op.Kind != tree.KindMove || n == nil || !o.isDir(op, op.Parent) {
			continue
		}
		if !n.create.Dir && later(op, n.place) < 0 {
			continue
		}
		inside := false
		for at := o.nodes[op.Parent]; n.create.Dir && at.id != tree.Root; at = o.nodes[at.place.Parent] {
			inside = inside || at == n
		}
		if !inside {
			n.place = op
		}
	}
	for _, n := range o.nodes {
		if n.id != tree.Root {
			p := o.nodes[n.place.Parent]
			p.children = append(p.children, n)
		}
	}
}

func (o *oracle) registers() {
	var contents, deletes []tree.Op
	for _, op := range o.ops {
		n := o.known(op, op.Node)
		if op.Node == tree.Root && (op.Kind == tree.KindAttributes || op.Kind == tree.KindXattr) {
			n = o.nodes[tree.Root]
		}
		switch {
		case op.Kind == tree.KindCreate && o.nodes[NodeID(op.Dot)] != nil && !op.Dir:
			op.Node = NodeID(op.Dot)
			contents = append(contents, op)
		case n == nil, n.target != nil && op.Kind != tree.KindDelete:
		case op.Kind == tree.KindContent && !n.create.Dir:
			contents = append(contents, op)
		case op.Kind == tree.KindDelete:
			deletes = append(deletes, op)
		case op.Kind == tree.KindAttributes:
			if later(op, n.attrs) > 0 {
				n.attrs = op
			}
			if !op.Version.ModTime.IsZero() && later(op, n.touched) > 0 {
				n.touched = op
			}
		case op.Kind == tree.KindXattr:
			if old, ok := n.xattrs[op.Name]; !ok || later(op, old) > 0 {
				n.xattrs[op.Name] = op
			}
		case op.Kind == tree.KindAssign && !n.create.Dir:
			o.assign(n, op)
		case op.Kind == tree.KindDiscard && !n.create.Dir:
			for _, d := range op.Dots {
				n.dropped[d] = n.dropped[d] || o.saw[op.Dot].Has(d)
			}
		}
	}
	for _, v := range contents {
		if !slices.ContainsFunc(contents, func(w tree.Op) bool {
			return w.Node == v.Node && w.Dot != v.Dot && o.has(w, v) &&
				(v.Kind == tree.KindCreate || !slices.Contains(w.Dots, v.Dot))
		}) {
			n := o.nodes[v.Node]
			n.live = append(n.live, v)
		}
	}
	for _, d := range deletes {
		if !slices.ContainsFunc(deletes, func(e tree.Op) bool {
			return e.Node == d.Node && e.Dot != d.Dot && o.has(e, d)
		}) {
			n := o.nodes[d.Node]
			n.deletes = append(n.deletes, d)
		}
	}
}

// deletions returns those that hold for n.
func (o *oracle) deletions(n *oracleNode) (del []tree.Op) {
	if n.id == tree.Root {
		return nil
	}
	for _, d := range n.deletes {
		if later(d, n.place) > 0 {
			del = append(del, d)
		}
	}
	for _, d := range o.deletions(o.nodes[n.place.Parent]) {
		if o.has(d, n.place) {
			del = append(del, d)
		}
	}
	return del
}

// linked returns the links that are shown.
func (o *oracle) linked(n *oracleNode) (links []*oracleNode) {
	for _, l := range n.links {
		if len(o.deletions(l)) == 0 {
			links = append(links, l)
		}
	}
	return links
}

// showing returns the version that the names of a file show, and the losers.
func (o *oracle) showing(n *oracleNode) (winner *tree.Op, losers []tree.Op) {
	winner, losers = o.file(n)
	if winner == nil && len(o.linked(n)) > 0 {
		last := slices.MaxFunc(n.live, later)
		winner = &last
		losers = slices.DeleteFunc(losers, func(l tree.Op) bool { return l.Version.Content == last.Version.Content })
	}
	return winner, losers
}

// file returns the winner, if the file keeps its own name, and the losers.
func (o *oracle) file(n *oracleNode) (winner *tree.Op, losers []tree.Op) {
	del := o.deletions(n)
	left := slices.DeleteFunc(slices.Clone(n.live), func(v tree.Op) bool {
		return slices.ContainsFunc(del, func(d tree.Op) bool {
			return o.has(d, v) && !slices.Contains(d.Dots, v.Dot)
		})
	})
	slices.SortFunc(left, func(a, b tree.Op) int { return later(b, a) })
	if len(left) > 0 && !slices.ContainsFunc(del, func(d tree.Op) bool { return later(d, left[0]) > 0 }) {
		winner, left = &left[0], left[1:]
	}
	had := map[store.Content]bool{}
	if winner != nil {
		had[winner.Version.Content] = true
	}
	for _, v := range left {
		if c := v.Version.Content; !n.dropped[v.Dot] && !had[c] {
			had[c] = true
			losers = append(losers, v)
		}
	}
	return winner, losers
}

func (o *oracle) shown(n *oracleNode) bool {
	if n.target != nil {
		return len(o.deletions(n)) == 0
	}
	if !n.create.Dir {
		w, l := o.file(n)
		return w != nil || len(l) > 0
	}
	return len(o.deletions(n)) == 0 || slices.ContainsFunc(n.children, o.shown)
}

// render writes what a group of directories shows.
func (o *oracle) render(out map[string]string, at string, group []*oracleNode) {
	dirs, files := map[string][]*oracleNode{}, map[string][]*oracleNode{}
	copies := map[string]string{}
	for _, g := range group {
		for _, n := range g.children {
			name := n.place.Name
			if n.create.Dir {
				if o.shown(n) {
					dirs[name] = append(dirs[name], n)
				}
				continue
			}
			if n.target != nil {
				if o.shown(n) {
					files[name] = append(files[name], n)
				}
				continue
			}
			if winner, _ := o.file(n); winner != nil {
				files[name] = append(files[name], n)
			}
			_, losers := o.showing(n)
			for _, l := range losers {
				copies[path.Join(at, copyName(name, l))] = describe(n, l, false) + " conflict"
			}
		}
	}
	for name, ns := range files {
		slices.SortFunc(ns, func(a, b *oracleNode) int { return later(b.place, a.place) })
		var first *tree.Op
		for i, n := range ns {
			placed := n.place
			if n.target != nil {
				n = n.target
			}
			w, _ := o.showing(n)
			if i == 0 {
				first = w
			}
			switch {
			case i == 0 && dirs[name] == nil:
				out[path.Join(at, name)] = describe(n, *w, true)
			case dirs[name] != nil || w.Version.Content != first.Version.Content:
				copies[path.Join(at, copyName(name, placed))] = describe(n, *w, true) + " conflict"
			}
		}
	}
	for name, ns := range dirs {
		slices.SortFunc(ns, func(a, b *oracleNode) int { return strings.Compare(string(a.id[:]), string(b.id[:])) })
		out[path.Join(at, name)] = describeDir(ns)
		o.render(out, path.Join(at, name), ns)
	}
	for p, what := range copies {
		if out[p] == "" {
			out[p] = what
		}
	}
}

// describe tells of a version of n, which is the winner or a loser. A time that was
// set counts for the winner, if it was set after the version was written.
func describe(n *oracleNode, v tree.Op, winner bool) string {
	shown := n.attrs.Version
	shown.ModTime = v.Version.ModTime
	if winner && later(n.touched, v) > 0 {
		shown.ModTime = n.touched.Version.ModTime
	}
	placed, holders, content := v.Dot, v.Version.Holders, v.Version.Content
	if a, ok := n.assigned[v.Dot]; ok {
		placed, holders = a.Dot, a.Version.Holders
		if a.Version.Content != (store.Content{}) {
			content = a.Version.Content
		}
	}
	return described(n.id, shown, content, v.Dot, placed, holders) + extended(n)
}

// assign enters an assignment of a version that op's author had seen: the one with the
// newest keys counts, then the latest.
func (o *oracle) assign(n *oracleNode, op tree.Op) {
	d := op.Dots[0]
	i := slices.IndexFunc(o.ops, func(v tree.Op) bool { return v.Dot == d })
	if i < 0 || !o.saw[op.Dot].Has(d) {
		return
	}
	written := o.ops[i].Version.Content
	keys := func(a tree.Op) uint32 {
		if a.Version.Content != (store.Content{}) {
			return a.Version.Content.Oldest
		}
		return written.Oldest
	}
	if c := op.Version.Content; c != (store.Content{}) && c.Size != written.Size {
		return
	}
	old, ok := n.assigned[d]
	if ok && (keys(op) < keys(old) || keys(op) == keys(old) && later(op, old) < 0) || keys(op) < written.Oldest {
		return
	}
	n.assigned[d] = op
}

func described(id store.FileID, v tree.Version, c store.Content, dot, placed store.Dot, holders []store.MachineID) string {
	return fmt.Sprintf("file %s %s %d sealed %d %s placed %s %v", id, attributes(v), c.Size, c.Oldest, dot, placed, holders)
}

func describeDir(group []*oracleNode) string {
	v := group[0].attrs.Version
	v.ModTime = group[0].touched.Version.ModTime
	return fmt.Sprintf("dir %s %s", group[0].id, attributes(v)) + extended(group[0])
}

func extended(n *oracleNode) (s string) {
	for _, name := range slices.Sorted(maps.Keys(n.xattrs)) {
		if x := n.xattrs[name]; !x.Removed {
			s += fmt.Sprintf(" %s=%q", name, x.Body)
		}
	}
	return s
}

func attributes(v tree.Version) string {
	return fmt.Sprintf("%o %d:%d %d", v.Mode, v.UID, v.GID, v.ModTime.UnixNano())
}

func copyName(name string, op tree.Op) string {
	ext := path.Ext(name)
	return strings.TrimSuffix(name, ext) + " (conflict " + op.Time.Wall().Format("2006-01-02 1504") + " " +
		op.Dot.Machine.Short() + fmt.Sprintf("-%d)", op.Dot.Seq) + ext
}

// Shown returns what the tree itself shows, in the words of [View]. Errors are those of
// the tree.
func Shown(t *tree.Tree, r store.Reader) (map[string]string, error) {
	out := map[string]string{}
	root, err := t.Lookup(r, "/")
	if err != nil {
		return nil, err
	}
	var failed error
	describe := func(e tree.Entry) bool {
		what := described(e.ID, e.Version, e.Version.Content, e.Version.Dot, e.Version.Placed, e.Version.Holders)
		if e.Dir {
			what = fmt.Sprintf("dir %s %s", e.ID, attributes(e.Version))
		}
		names, err := t.Xattrs(r, e.ID)
		failed = errors.Join(failed, err)
		for _, name := range names {
			value, err := t.Xattr(r, e.ID, name)
			failed = errors.Join(failed, err)
			what += fmt.Sprintf(" %s=%q", name, value)
		}
		if e.Conflict {
			what += " conflict"
		}
		out[e.Path] = what
		return true
	}
	describe(root)
	err = t.Walk(r, "/", describe)
	return out, errors.Join(failed, err)
}
