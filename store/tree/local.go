package tree

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// local is a change of our own: one call, and the operations that it takes.
type local struct {
	*work
	now time.Time
	ops []Op
}

// do runs a local change in tx and returns its operations, which are applied.
func (t *Tree) do(tx store.Txn, now time.Time, what, where string, f func(l *local) error) ([]Op, []Event, error) {
	w, err := newWork(tx, t.self)
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s: %w", what, err)
	}
	l := &local{work: w, now: now}
	if err = f(l); err != nil {
		return nil, nil, fmt.Errorf("tree: %s %s: %w", what, where, err)
	}
	events, err := w.finish()
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s %s: %w", what, where, err)
	}
	return l.ops, events, nil
}

// issue makes op our next operation and applies it. Its stamp comes after
// latest, that of what it changes, even where those come from a clock too far ahead to
// follow: who has seen a change and makes another must prevail.
func (l *local) issue(op Op, latest store.Time) error {
	err := l.alive(&op)
	if err != nil {
		return err
	}
	if op.Seen, err = l.news(); err != nil {
		return err
	}
	ahead := min(l.state.Clock, store.TimeAt(l.now.Add(maxAhead)))
	l.state.Own = max(store.TimeAt(l.now), after(ahead), after(l.state.Own))
	op.Dot = store.Dot{Machine: l.self, Seq: l.state.Last + 1}
	op.Time = max(l.state.Own, after(latest))
	if err := op.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	l.ops = append(l.ops, op)
	if err := l.apply(&op, l.now); err != nil || op.Kind != KindClose {
		return err
	}
	return l.release(l.now) // what waited for it
}

// latest returns the latest time among a node's registers.
func (n *node) latest() store.Time {
	t := max(n.Place.At.Time, n.Attr.At.Time, n.Attr.TimeAt.Time)
	for _, v := range n.Versions {
		t = max(t, v.At.Time)
	}
	for _, d := range n.Deletes {
		t = max(t, d.At.Time)
	}
	return t
}

func (l *local) create(s slot, dir bool, v Version) error {
	if dir {
		v = Version{Mode: v.Mode, UID: v.UID, GID: v.GID, ModTime: v.ModTime}
	}
	err := l.issue(Op{Kind: KindCreate, Parent: s.home, Name: s.name, Dir: dir, Version: v}, 0)
	if err != nil || !dir {
		return err
	}
	return l.lookInto(nodeOf(l.ops[len(l.ops)-1].Dot))
}

// lookInto looks into a new directory. A KV that remembers what lies in a range while
// that is little, and keeps up with it then, need not look for any of its names later.
func (l *local) lookInto(dir store.FileID) error {
	for _, kind := range []byte{keyRow, keyPast} {
		from := key(kind, dir[:])
		if err := l.tx.Txn.Scan(from, end(from), func(_, _ []byte) bool { return false }); err != nil {
			return err
		}
	}
	return nil
}

// on issues op for a node that exists.
func (l *local) on(id store.FileID, op Op) error {
	n, err := loadNode(l.tx, id)
	if err != nil {
		return err
	}
	op.Node = id
	if op.Kind == KindContent || op.Kind == KindDelete {
		for _, v := range n.View.Losers { // the author has not dealt with these
			op.Dots = append(op.Dots, v.dot())
		}
	}
	return l.issue(op, n.latest())
}

// vacate prepares for the file that is shown under a name to go from there: those
// that it kept from the name stay where they are shown, and hidden equals go too.
func (l *local) vacate(s slot, stay ...store.FileID) error {
	rows, err := claims(l.tx, s)
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, c := range rows[1:] {
		id := c.row.bearer()
		if slices.Contains(stay, id) {
			continue
		}
		if c.row.Content == rows[0].row.Content {
			err = l.on(id, Op{Kind: KindDelete})
		} else {
			err = l.on(id, Op{Kind: KindMove, Parent: s.home, Name: conflictName(s.name, placedAt(c.key))})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spot is a name in a directory that exists, and what is shown there.
type spot struct {
	slot
	row    row
	exists bool
}

// spot finds a name in a directory, which must be shown.
func (l *local) spot(dir store.FileID, name string) (s spot, err error) {
	s.slot = slot{dir, name}
	s.row, err = firstRow(l.tx, dir, name)
	if errors.Is(err, store.ErrNotFound) {
		return s, nil
	}
	s.exists = err == nil
	return s, err
}

// target finds what path leads to; it need not exist, but its directory must.
func (l *local) target(path string) (spot, error) {
	names, err := namesOf(path)
	if err != nil {
		return spot{}, err
	}
	last := len(names) - 1
	dir, _, err := resolve(l.tx, names[:last])
	if err == nil && dir.Kind != rowDir {
		err = ErrNotDir
	}
	if err != nil {
		return spot{}, err
	}
	return l.spot(dir.ID, names[last])
}

// source is target for what must exist.
func (l *local) source(path string) (spot, error) {
	s, err := l.target(path)
	if err == nil && !s.exists {
		err = store.ErrNotFound
	}
	return s, err
}

// Put makes v the current version of the file path, which it creates if need be;
// the parent directory must exist. An existing file keeps its mode and owner.
// Conflict copies of the file stay; a conflict copy that is written becomes a
// file of its own. It fails with ErrNotFound or ErrNotDir for the parent and
// ErrIsDir.
func (t *Tree) Put(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "put", path, func(l *local) error {
		at, err := l.target(path)
		switch {
		case err != nil:
			return err
		case !at.exists:
			return l.create(at.slot, false, v)
		case at.row.Kind == rowDir:
			return ErrIsDir
		case at.row.Kind == rowLoser:
			return l.detach(at.row, at.slot, v)
		}
		return l.write(at.row.ID, Op{Kind: KindContent, Version: v})
	})
}

// dropEquals deletes the files that are hidden because their bytes equal those of
// the one shown, lest they appear when that one changes.
func (l *local) dropEquals(s slot) error {
	rows, err := claims(l.tx, s)
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, c := range rows[1:] {
		if c.row.Content == rows[0].row.Content && c.row.ID != rows[0].row.ID {
			if err := l.on(c.row.bearer(), Op{Kind: KindDelete}); err != nil {
				return err
			}
		}
	}
	return nil
}

// detach makes the losing version found a file of its own.
func (l *local) detach(found row, at slot, v Version) error {
	if err := l.discard(found); err != nil {
		return err
	}
	if err := l.create(at, false, v); err != nil {
		return err
	}
	return l.copyXattrs(found.ID, nodeOf(l.ops[len(l.ops)-1].Dot))
}

func (l *local) discard(found row) error {
	return l.on(found.ID, Op{Kind: KindDiscard, Dots: []store.Dot{found.At.dot()}})
}

// Mkdir makes the directory path with the mode, owner and time of v. It fails
// with ErrExist, and with ErrNotFound or ErrNotDir for the parent.
func (t *Tree) Mkdir(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "mkdir", path, func(l *local) error {
		at, err := l.target(path)
		if err != nil {
			return err
		}
		if at.exists {
			return ErrExist
		}
		return l.create(at.slot, true, v)
	})
}

// Remove removes the file, conflict copy or directory path. A directory that is
// not empty is ErrNotEmpty unless recursive is set; it takes one operation
// however much it holds. Conflict copies of a file stay.
func (t *Tree) Remove(tx store.Txn, path string, recursive bool, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "remove", path, func(l *local) error {
		at, err := l.source(path)
		if err != nil {
			return err
		}
		return l.remove(at, recursive)
	})
}

func (l *local) remove(at spot, recursive bool, stay ...store.FileID) error {
	switch at.row.Kind {
	case rowLoser:
		return l.discard(at.row)
	case rowFile:
		if err := l.vacate(at.slot, stay...); err != nil {
			return err
		}
	case rowDir:
		return l.removeDir(at, recursive)
	}
	return l.removeName(at.row)
}

// removeDir removes all directories of a group.
func (l *local) removeDir(at spot, recursive bool) error {
	if !recursive {
		from, empty := key(keyRow, at.row.ID[:]), true
		if err := l.tx.Scan(from, end(from), func(_, _ []byte) bool { empty = false; return false }); err != nil {
			return err
		}
		if !empty {
			return ErrNotEmpty
		}
	}
	return l.group(at.slot, Op{Kind: KindDelete})
}

// group issues op for each directory of a group.
func (l *local) group(s slot, op Op) error {
	rows, err := claims(l.tx, s)
	if err != nil {
		return err
	}
	for _, c := range rows {
		if c.row.Kind == rowDir {
			if err := l.on(c.row.ID, op); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rename moves a file or directory to another path; a directory moves by one
// operation whatever it holds. A file replaces a file, and a directory an empty
// directory. It fails with ErrNotFound, ErrNotDir, ErrIsDir, ErrNotEmpty, or
// ErrCycle when a directory would go inside itself.
func (t *Tree) Rename(tx store.Txn, from, to string, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "rename", from, func(l *local) error {
		src, err := l.source(from)
		if err != nil {
			return err
		}
		if inside(from, to) && src.row.Kind == rowDir {
			return ErrCycle
		}
		dst, err := l.target(to)
		if err != nil {
			return err
		}
		return l.rename(src, dst, Replace)
	})
}

// SetAttributes gives the file or directory path the mode of v, but for the type
// bits, and its modification time unless that is zero. It does not conflict with
// a new version.
func (t *Tree) SetAttributes(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "set attributes", path, func(l *local) error {
		names, err := split(path)
		if err != nil {
			return err
		}
		found, _, err := resolve(l.tx, names)
		if err != nil {
			return err
		}
		return l.setAttributes(found.ID, AttributeChange{Mode: &v.Mode, ModTime: &v.ModTime})
	})
}

// Record makes an operation of somebody else who shares the log; kind is at least
// KindForeign. The tree numbers and orders it and ignores what it says.
func (t *Tree) Record(tx store.Txn, kind Kind, body []byte, now time.Time) (Op, error) {
	if kind < KindForeign {
		return Op{}, fmt.Errorf("tree: record: %w: kind %d", ErrBadOp, kind)
	}
	ops, _, err := t.do(tx, now, "record", "", func(l *local) error {
		return l.issue(Op{Kind: kind, Body: body}, 0)
	})
	if err != nil {
		return Op{}, err
	}
	return ops[0], nil
}
