package tree

import (
	"errors"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// accept applies op, or parks it, and then whatever was waiting for it.
func (w *work) accept(op *Op, now time.Time) error {
	last, err := applied(w.tx, op.Dot.Machine)
	if err != nil || op.Dot.Seq <= last {
		return err
	}
	ok, err := w.ready(op)
	if err != nil {
		return err
	}
	if !ok {
		fresh, err := park(w.tx, op)
		if fresh {
			w.state.Parked++
		}
		if err == nil && w.state.Lapsed {
			err = w.release(now) // what it has seen may wait for a close
		}
		return err
	}
	if err := w.apply(op, now); err != nil {
		return err
	}
	return w.release(now)
}

// release applies what waits and need wait no more.
func (w *work) release(now time.Time) error {
	for w.state.Parked > 0 {
		op, err := w.unpark()
		if err != nil || op == nil {
			return err
		}
		w.state.Parked--
		if err := w.apply(op, now); err != nil {
			return err
		}
	}
	return nil
}

// apply enters op, which is ready, and settles what follows from it.
func (w *work) apply(op *Op, now time.Time) error {
	if w.state.Lapsed {
		if skip, err := void(w.tx, op); skip || err != nil {
			return errors.Join(err, w.record(op))
		}
	}
	if err := w.record(op); err != nil {
		return err
	}
	if op.Time > store.TimeAt(now.Add(maxAhead)) {
		w.events = append(w.events, Event{Kind: Alarm, Dot: op.Dot})
	}
	w.current = op.mark()
	w.state.Clock = max(w.state.Clock, op.Time)
	w.past.enter(op, now)
	err := w.enter(op)
	if errors.Is(err, errInvalid) {
		w.events = append(w.events, Event{Kind: Invalid, File: op.Node, Dot: op.Dot})
		return nil
	}
	if err != nil {
		return err
	}
	return w.settle()
}

// errInvalid says that an operation makes no sense. All machines find the same.
var errInvalid = errors.New("tree: invalid operation")

// enter changes the registers that op writes.
func (w *work) enter(op *Op) error {
	switch op.Kind {
	case KindCreate:
		return w.create(op)
	case KindMove:
		return w.move(op)
	case KindLink:
		return w.link(op)
	case KindXattr:
		return w.setXattr(op)
	case KindHorizon, KindRetire, KindClose, KindPurge:
		return w.lapse(op)
	case KindAttributes:
		if op.Node == Root {
			return w.setRoot(op)
		}
		fallthrough
	case KindContent, KindDelete, KindDiscard, KindAssign:
		n, err := w.known(op, op.Node)
		if err != nil {
			return err
		}
		return w.change(op, n)
	}
	return nil // somebody else's
}

// known returns the node id, which op's author must have seen. The check must not
// ask whether the node happens to be here: that depends on the order of arrival.
func (w *work) known(op *Op, id store.FileID) (*node, error) {
	if id == Root {
		return nil, errInvalid
	}
	n, err := loadNode(w.tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errInvalid
	}
	if err != nil {
		return nil, err
	}
	ok, err := saw(w.tx, op.Dot, n.Born.dot())
	if err == nil && !ok {
		err = errInvalid
	}
	return &n, err
}

// knownDir is known for a directory that may be the root.
func (w *work) knownDir(op *Op, id store.FileID) error {
	if id == Root {
		return nil
	}
	n, err := w.known(op, id)
	if err == nil && !n.Dir {
		err = errInvalid
	}
	return err
}

// setRoot enters the attributes of the root directory.
func (w *work) setRoot(op *Op) error {
	was := w.state.Root
	for _, by := range []int64{-1, +1} {
		var e encoder
		e.attr(&w.state.Root)
		w.digest(key(keyNode, Root[:]), e.b, by)
		if by < 0 {
			w.state.Root = w.state.Root.merge(attrOf(op))
		}
	}
	if w.state.Root != was { // the root has no name that could have changed
		w.events = append(w.events, Event{Kind: NameChanged})
	}
	return nil
}

func (w *work) create(op *Op) error {
	if err := w.knownDir(op, op.Parent); err != nil {
		return err
	}
	id, at := nodeOf(op.Dot), op.mark()
	n := node{
		Dir:   op.Dir,
		Born:  at,
		Place: place{Parent: op.Parent, Name: op.Name, At: at},
		Attr:  attrOf(op),
		View:  view{Group: id},
	}
	if !op.Dir {
		n.Versions = []version{versionOf(op)}
	}
	if err := w.tx.Set(key(keyChild, op.Parent[:], id[:]), nil); err != nil {
		return err
	}
	return w.save(id, &n)
}

func attrOf(op *Op) attr {
	v := op.Version
	return attr{Mode: v.Mode, UID: v.UID, GID: v.GID, At: op.mark(), ModTime: unixNano(v.ModTime), TimeAt: op.mark()}
}

func versionOf(op *Op) version {
	v := op.Version
	return version{At: op.mark(), Content: v.Content, ModTime: unixNano(v.ModTime), Holders: v.Holders}
}

// change applies an operation that concerns one node and leaves it in its place.
func (w *work) change(op *Op, n *node) error {
	if op.Kind != KindDelete && (op.Kind != KindAttributes && n.Dir || n.isLink()) {
		return errInvalid
	}
	if err := w.hide(op.Node, n); err != nil {
		return err
	}
	var err error
	switch op.Kind {
	case KindContent:
		n.Versions, err = replaced(w.tx, op, n)
		n.Versions = append(n.Versions, versionOf(op))
	case KindDelete:
		n.Deletes, err = seenDeletes(w.tx, op, n.Deletes)
		n.Deletes = append(n.Deletes, deletion{At: op.mark(), Spare: toWire(op.Dots)})
	case KindAttributes:
		n.Attr = n.Attr.merge(attrOf(op))
	case KindAssign:
		err = w.assign(op, n)
	case KindDiscard:
		for i, v := range n.Versions {
			if slices.Contains(op.Dots, v.At.dot()) {
				ok, serr := saw(w.tx, op.Dot, v.At.dot())
				err = errors.Join(err, serr)
				n.Versions[i].Discarded = v.Discarded || ok
			}
		}
	}
	if err != nil {
		return err
	}
	return w.save(op.Node, n)
}

// merge enters what an operation says into the registers.
func (a attr) merge(b attr) attr {
	t, at := a.ModTime, a.TimeAt
	if b.ModTime != 0 && b.TimeAt.compare(at) > 0 {
		t, at = b.ModTime, b.TimeAt
	}
	if b.At.compare(a.At) > 0 {
		a = b
	}
	a.ModTime, a.TimeAt = t, at
	return a
}

// replaced returns the versions that op, a new one, leaves. The first version of
// all was seen by everybody and cannot have lost to one that left it.
func replaced(r store.Reader, op *Op, n *node) (keep []version, err error) {
	for _, v := range n.Versions {
		ok, err := saw(r, op.Dot, v.At.dot())
		if err != nil {
			return nil, err
		}
		if !ok || v.At != n.Born && slices.Contains(op.Dots, v.At.dot()) {
			keep = append(keep, v)
		}
	}
	return keep, nil
}

// seenDeletes returns the deletions that op, a new one, had not seen. What it had
// seen it repeats.
func seenDeletes(r store.Reader, op *Op, deletes []deletion) (keep []deletion, err error) {
	for _, d := range deletes {
		ok, err := saw(r, op.Dot, d.At.dot())
		if err != nil {
			return nil, err
		}
		if !ok {
			keep = append(keep, d)
		}
	}
	return keep, nil
}
