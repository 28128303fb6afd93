package tree

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// link enters another name of a file. It is a node of its own with a place and
// deletions; what the name shows is the file's affair.
func (w *work) link(op *Op) error {
	n, err := w.known(op, op.Node)
	if err != nil {
		return err
	}
	if n.Dir || n.isLink() {
		return errInvalid
	}
	if err := w.knownDir(op, op.Parent); err != nil {
		return err
	}
	if !n.Linked {
		n.Linked = true
		if err := put(w.tx, key(keyNode, op.Node[:]), n); err != nil {
			return err
		}
	}
	id, at := nodeOf(op.Dot), op.mark()
	if err := w.tx.Set(key(keyLink, op.Node[:], id[:]), nil); err != nil {
		return err
	}
	if err := w.tx.Set(key(keyChild, op.Parent[:], id[:]), nil); err != nil {
		return err
	}
	return w.save(id, &node{
		Target: op.Node,
		Born:   at,
		Place:  place{Parent: op.Parent, Name: op.Name, At: at},
	})
}

// linkNames returns the other names of a file that are shown, in the order of the
// links' IDs.
func linkNames(r store.Reader, file store.FileID) (names []linkName, err error) {
	from := key(keyLink, file[:])
	var links []store.FileID
	if err := r.Scan(from, end(from), func(k, _ []byte) bool {
		links = append(links, store.FileID(k[len(from):]))
		return true
	}); err != nil {
		return nil, err
	}
	for _, id := range links {
		n, err := loadNode(r, id)
		if err != nil {
			return nil, err
		}
		if n.View.Plain {
			names = append(names, linkName{Link: id, Home: n.View.Home, Name: n.Place.Name, At: n.Place.At})
		}
	}
	return names, nil
}

// countLink counts a link as a child of its directory, when it is shown, and lets
// its file look at its names again.
func (w *work) countLink(n *node, by int64) error {
	if !n.View.Plain {
		return nil
	}
	w.touch(n.Target)
	return w.countChild(n.Place.Parent, by)
}

// showNames writes the rows of a file's other names, and counts the version that
// they and its own name show.
func (w *work) showNames(id store.FileID, n *node) error {
	for i, l := range n.View.Names {
		k, r := n.linkRow(id, i)
		if err := w.setRow(k, r); err != nil {
			return err
		}
		w.slots = append(w.slots, slot{l.Home, l.Name})
	}
	if n.View.named() {
		w.count(id, n, n.View.Winner, +1)
	}
	return nil
}

func (w *work) hideNames(id store.FileID, n *node) error {
	for i, l := range n.View.Names {
		k, _ := n.linkRow(id, i)
		if err := w.dropCopy(k, slot{l.Home, l.Name}, l.At); err != nil {
			return err
		}
		if err := w.dropRow(k); err != nil {
			return err
		}
		w.slots = append(w.slots, slot{l.Home, l.Name})
	}
	if n.View.named() {
		w.count(id, n, n.View.Winner, -1)
	}
	n.View.Names = nil
	if !n.View.Plain {
		n.View.Winner = mark{}
	}
	return nil
}

// LinkAt gives the file id another name. All names show the same bytes and
// attributes and count alike; the file lasts as long as one of them. It fails with
// ErrExist, ErrIsDir for a directory, and store.ErrNotFound for a file that has no
// name any more.
func (t *Tree) LinkAt(tx store.Txn, id store.FileID, at Place, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "link", at.Name, func(l *local) error {
		n, err := loadNode(l.tx, id)
		switch {
		case err != nil:
			return err
		case n.Dir:
			return ErrIsDir
		case n.isLink() || !n.View.named():
			return store.ErrNotFound
		}
		s, err := l.at(at)
		if err != nil {
			return err
		}
		if s.exists {
			return ErrExist
		}
		return l.issue(Op{Kind: KindLink, Node: id, Parent: s.home, Name: s.name}, n.latest())
	})
}

// CreateNameless makes a file that has no name, with the version v, for a program to
// write to; [Tree.NameAt] can give it one. dir must be shown: the file belongs
// nowhere else until then. It returns its ID.
func (t *Tree) CreateNameless(tx store.Txn, dir store.FileID, v Version, now time.Time) (store.FileID, []Op, []Event, error) {
	ops, events, err := t.do(tx, now, "create", "a file without a name", func(l *local) error {
		s, err := l.at(Place{Dir: dir, Name: nameless + l.self.Short()})
		if err == nil && s.exists {
			err = ErrExist
		}
		if err == nil {
			err = l.create(s.slot, false, v)
		}
		if err != nil {
			return err
		}
		return l.on(nodeOf(l.ops[0].Dot), Op{Kind: KindDelete})
	})
	if err != nil {
		return store.FileID{}, nil, nil, err
	}
	return nodeOf(ops[0].Dot), ops, events, nil
}

// nameless begins what a file is called that is made and loses its name at once.
const nameless = ".nameless-"

// NameAt gives the file id, which has no name, the name at. A move that is later than
// a deletion takes it back. It fails with ErrExist, and ErrIsDir for a directory.
func (t *Tree) NameAt(tx store.Txn, id store.FileID, at Place, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "link", at.Name, func(l *local) error {
		n, err := loadNode(l.tx, id)
		switch {
		case err != nil:
			return err
		case n.Dir:
			return ErrIsDir
		case n.isLink():
			return store.ErrNotFound
		case n.View.named():
			return ErrExist
		}
		s, err := l.at(at)
		if err != nil {
			return err
		}
		if s.exists {
			return ErrExist
		}
		return l.on(id, Op{Kind: KindMove, Parent: s.home, Name: s.name})
	})
}

// removeName removes the name that found is shown under. A file whose own name
// goes takes that of its first link.
func (l *local) removeName(found row) error {
	if found.Via == (store.FileID{}) {
		n, err := loadNode(l.tx, found.ID)
		if err != nil {
			return err
		}
		if len(n.View.Names) > 0 {
			return l.promote(found.ID, &n)
		}
	}
	return l.on(found.bearer(), Op{Kind: KindDelete})
}

// promote puts the file id in the place of its first link, which goes.
func (l *local) promote(id store.FileID, n *node) error {
	first := n.View.Names[0]
	link, err := loadNode(l.tx, first.Link)
	if err != nil {
		return err
	}
	rows, err := claims(l.tx, slot{first.Home, first.Name})
	if err != nil {
		return err
	}
	name := first.Name
	// A file that another keeps from the name must not take it by being moved.
	if i := slices.IndexFunc(rows, func(c claim) bool { return c.row.bearer() == first.Link }); i > 0 && rows[0].row.ID != id {
		name = conflictName(name, first.At)
	}
	if err := l.on(first.Link, Op{Kind: KindDelete}); err != nil {
		return err
	}
	return l.on(id, Op{Kind: KindMove, Parent: link.Place.Parent, Name: name})
}
