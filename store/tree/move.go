package tree

import (
	"errors"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
)

// moved is a directory's move in the log: what it wrote and what it found.
type moved struct {
	_       struct{} `cbor:",toarray"`
	Node    store.FileID
	To      place
	From    place
	Ignored bool // it would have closed a cycle
}

// move enters a move. Files cannot close cycles: the latest stamp is all that
// counts. Of directories a log is kept, and those after op are undone and redone.
func (w *work) move(op *Op) error {
	n, err := w.known(op, op.Node)
	if err != nil {
		return err
	}
	if err := w.knownDir(op, op.Parent); err != nil {
		return err
	}
	to := place{Parent: op.Parent, Name: op.Name, At: op.mark()}
	if n.Dir {
		return w.moveDir(op, moved{Node: op.Node, To: to})
	}
	if to.At.compare(n.Place.At) <= 0 {
		return nil
	}
	return w.rehome(op.Node, n, to)
}

// rehome puts a node in another place.
func (w *work) rehome(id store.FileID, n *node, to place) error {
	if err := w.hide(id, n); err != nil {
		return err
	}
	if err := w.tx.Delete(key(keyChild, n.Place.Parent[:], id[:])); err != nil {
		return err
	}
	if err := w.tx.Set(key(keyChild, to.Parent[:], id[:]), nil); err != nil {
		return err
	}
	n.Place = to
	return w.save(id, n)
}

func moveKey(at mark) []byte {
	return key(keyMove, u64(uint64(at.Time)), at.Machine[:], u64(at.Seq))
}

// moveDir undoes the directory moves after m, does m, and redoes them (Kleppmann
// et al., section 3.3). It works on a picture of the places and changes only those
// that differ in the end.
func (w *work) moveDir(op *Op, m moved) error {
	later, err := movesAfter(w.tx, m.To.At)
	if err != nil {
		return err
	}
	picture := map[store.FileID]place{}
	for i := len(later) - 1; i >= 0; i-- {
		if !later[i].Ignored {
			picture[later[i].Node] = later[i].From
		}
	}
	for i, l := range append([]moved{m}, later...) {
		was := l.Ignored
		l.From, err = w.placeOf(picture, l.Node)
		if errors.Is(err, store.ErrNotFound) {
			continue // forgotten since
		}
		if err != nil {
			return err
		}
		if l.Ignored, err = w.closesCycle(picture, l); err != nil {
			return err
		}
		if !l.Ignored {
			picture[l.Node] = l.To
		}
		if l.Ignored && (i == 0 || !was) {
			w.events = append(w.events, Event{Kind: MoveIgnored, File: l.Node, Dot: l.To.At.dot()})
		}
		if err := put(w.tx, moveKey(l.To.At), &l); err != nil {
			return err
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(picture), compareID) {
		to := picture[id]
		n, err := loadNode(w.tx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if n.Place != to {
			if err := w.rehome(id, &n, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// movesAfter returns the moves of the log that come after at, oldest first.
func movesAfter(r store.Reader, at mark) (moves []moved, err error) {
	var bad error
	err = r.Scan(append(moveKey(at), 0), end(key(keyMove)), func(_, v []byte) bool {
		var m moved
		bad = decode(v, &m)
		moves = append(moves, m)
		return bad == nil
	})
	return moves, errors.Join(err, bad)
}

func (w *work) placeOf(picture map[store.FileID]place, id store.FileID) (place, error) {
	if p, ok := picture[id]; ok {
		return p, nil
	}
	n, err := loadNode(w.tx, id)
	return n.Place, err
}

// closesCycle reports whether m would put a directory inside itself.
func (w *work) closesCycle(picture map[store.FileID]place, m moved) (bool, error) {
	for id := m.To.Parent; id != Root; {
		if id == m.Node {
			return true, nil
		}
		p, err := w.placeOf(picture, id)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		id = p.Parent
	}
	return false, nil
}
