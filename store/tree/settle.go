package tree

import (
	"errors"
	"slices"

	"github.com/aether-lan/aether/store"
)

// work is the application of one operation. Registers are changed first; then
// every node whose surroundings changed, and every name whose claimants changed,
// is looked at until nothing changes any more:
//
//	a deletion reaches down to the children it had seen;
//	a visible child reaches up to a directory that is shown for its sake;
//	a name's claimants decide which directories form one group;
//	a group decides where its children's rows lie.
type work struct {
	tx      *buffer
	spares  *spares // of which tx is one
	self    store.MachineID
	state   state
	current mark // the operation
	events  []Event

	nodes  []store.FileID // to look at
	queued map[store.FileID]bool
	slots  []slot

	seen  []shownVersion // in the order of first touch
	index map[shownKey]int
	names changedNames
	past  recorder

	first    []mark // placements that had their name when the work began
	assigned bool   // a version got other holders
}

// slot is a name in a directory.
type slot struct {
	home store.FileID
	name string
}

type shownKey struct {
	file   store.FileID
	at     mark
	placed store.Dot
}

// shownVersion counts how often a version was shown less how often it was hidden.
type shownVersion struct {
	key shownKey
	v   version
	n   int
}

func newWork(tx store.Txn, t *Tree) (*work, error) {
	s, err := loadState(tx)
	return &work{tx: t.spares.take(tx), spares: &t.spares, self: t.self, state: s,
		queued: map[store.FileID]bool{}, index: map[shownKey]int{}, past: newRecorder()}, err
}

// finish writes what is kept of the whole and returns what happened.
func (w *work) finish() ([]Event, error) {
	w.reportVersions()
	if err := w.reportNames(); err != nil {
		return nil, err
	}
	if err := w.keepPast(); err != nil {
		return nil, err
	}
	if err := put(w.tx, key(keyState), &w.state); err != nil {
		return nil, err
	}
	err := w.tx.flush()
	if err == nil {
		w.spares.give(w.tx)
		w.tx = nil
	}
	return w.events, err
}

func (w *work) touch(id store.FileID) {
	if id != Root && !w.queued[id] {
		w.queued[id] = true
		w.nodes = append(w.nodes, id)
	}
}

// save writes a node's record and sees to it that its rows follow.
func (w *work) save(id store.FileID, n *node) error {
	w.touch(id)
	return put(w.tx, key(keyNode, id[:]), n)
}

// settle ends because places form a tree and the queue of nodes is fair: what
// lies at the root is right first, then what lies in it, and so on down. Until
// then a directory may for a moment seem to lie in its own group; names are
// looked at before nodes to make that rare.
func (w *work) settle() error {
	for len(w.nodes) > 0 || len(w.slots) > 0 {
		var err error
		if last := len(w.slots) - 1; last >= 0 {
			s := w.slots[last]
			w.slots = w.slots[:last]
			err = w.settleSlot(s)
		} else {
			id := w.nodes[0]
			w.nodes = w.nodes[1:]
			delete(w.queued, id)
			err = w.settleNode(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settleNode brings a node's rows in line with its registers and its parent.
func (w *work) settleNode(id store.FileID) error {
	n, err := loadNode(w.tx, id)
	if err != nil {
		return err
	}
	parent, err := loadNode(w.tx, n.Place.Parent)
	if err != nil {
		return err
	}
	del, err := deletionsOf(w.tx, &n, &parent)
	if err != nil {
		return err
	}
	var v view
	switch {
	case n.Dir:
		v, err = w.dirView(id, &n, del)
	case n.isLink():
		v.Plain = len(del) == 0
	default:
		v, err = w.fileView(id, &n, del)
	}
	if err != nil {
		return err
	}
	v.Home = parent.View.Group
	below := n.Dir && (v.Group != n.View.Group || !equalDel(v.Del, n.View.Del))
	moved := !v.equal(&n.View)
	if !below && !moved {
		return nil
	}
	if moved {
		if err := w.hide(id, &n); err != nil {
			return err
		}
	}
	n.View = v
	if moved {
		if err := w.show(id, &n); err != nil {
			return err
		}
	}
	if below {
		if err := w.touchChildren(id); err != nil {
			return err
		}
	}
	return put(w.tx, key(keyNode, id[:]), &n)
}

func (w *work) fileView(id store.FileID, n *node, del []deletion) (view, error) {
	live, err := survivors(w.tx, n.Versions, del)
	if err != nil {
		return view{}, err
	}
	v := fileView(live, del)
	if n.Linked {
		var names []linkName
		names, err = linkNames(w.tx, id)
		n.named(&v, names)
	}
	return v, err
}

// dirView decides whether a directory is shown: always, or for the sake of a
// child when it was removed.
func (w *work) dirView(id store.FileID, n *node, del []deletion) (view, error) {
	c, err := loadContained(w.tx, id)
	v := view{Plain: len(del) == 0 || c.shown > 0, Group: id, Del: del}
	if v.Plain {
		v.Group = n.View.Group // until the slot says otherwise
	}
	return v, err
}

func (w *work) touchChildren(id store.FileID) error {
	from := key(keyChild, id[:])
	return w.tx.Scan(from, end(from), func(k, _ []byte) bool {
		w.touch(store.FileID(k[len(from):]))
		return true
	})
}

// settleSlot looks at who claims a name: directories become one group, and every
// file but the first, where no directory is, gets a conflict name, unless its
// bytes are those of the first.
func (w *work) settleSlot(s slot) error {
	rows, err := claims(w.tx, s)
	alone := w.past.claims[s] <= 1 // no copy of what lies there was made in this work
	w.past.claims[s] = len(rows)
	if err != nil || len(rows) == 0 {
		return err
	}
	first := rows[0].row
	for i, c := range rows {
		if c.row.Kind == rowDir {
			if err := w.join(c.row.ID, first.ID); err != nil {
				return err
			}
			continue
		}
		at := placedAt(c.key)
		if i == 0 && alone && (at == w.current || slices.Contains(w.first, at)) {
			continue // nobody was kept from a name by a move that was not known
		}
		k := copyRow(s.home, s.name, at)
		if at == w.current {
			w.tx.absent(k)
		}
		if i == 0 || first.Kind == rowFile && first.Content == c.row.Content {
			err = w.dropRow(k)
		} else {
			c.row.Kind = rowPlaced
			err = w.setRow(k, c.row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join makes a directory part of the group of another.
func (w *work) join(id, canonical store.FileID) error {
	n, err := loadNode(w.tx, id)
	if err != nil || n.View.Group == canonical {
		return err
	}
	n.View.Group = canonical
	if err := w.touchChildren(id); err != nil {
		return err
	}
	return put(w.tx, key(keyNode, id[:]), &n)
}

// claim is a row of a node at its own name.
type claim struct {
	key []byte
	row row
}

// claims returns the rows of the nodes of one name, the first being the one that
// is shown.
func claims(r store.Reader, s slot) (rows []claim, err error) {
	var bad error
	err = scanRows(r, s, func(k, v []byte) bool {
		if _, class := rowParts(k); class == classCopy {
			return false // classes come in order
		}
		c := claim{key: append([]byte(nil), k...)}
		bad = decode(v, &c.row)
		rows = append(rows, c)
		return bad == nil
	})
	return rows, errors.Join(err, bad)
}
