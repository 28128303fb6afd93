package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
func (t *Tree) do(tx store.Txn, now time.Time, what, path string, f func(l *local, names []string) error) ([]Op, []Event, error) {
	w, err := newWork(tx, t.self)
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s: %w", what, err)
	}
	l := &local{work: w, now: now}
	names, err := split(path)
	if err == nil && len(names) == 0 {
		err = ErrRoot
	}
	if err == nil {
		err = f(l, names)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s %s: %w", what, path, err)
	}
	events, err := w.finish()
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s %s: %w", what, path, err)
	}
	return l.ops, events, nil
}

// issue makes op our next operation and applies it. Its stamp comes after those
// in n, what it changes, even where those come from a clock too far ahead to
// follow: who has seen a change and makes another must prevail.
func (l *local) issue(op Op, n *node) error {
	last, err := applied(l.tx, l.self)
	if err != nil {
		return err
	}
	if op.Seen, err = news(l.tx); err != nil {
		return err
	}
	ahead := min(l.state.Clock, store.TimeAt(l.now.Add(maxAhead)))
	l.state.Own = max(store.TimeAt(l.now), after(ahead), after(l.state.Own))
	op.Dot = store.Dot{Machine: l.self, Seq: last + 1}
	op.Time = l.state.Own
	if n != nil {
		op.Time = max(op.Time, after(n.latest()))
	}
	if err := op.check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadOp, err)
	}
	l.ops = append(l.ops, op)
	return l.apply(&op, l.now)
}

// latest returns the latest time among a node's registers.
func (n *node) latest() store.Time {
	t := max(n.Place.At.Time, n.Attr.At.Time)
	for _, v := range n.Versions {
		t = max(t, v.At.Time)
	}
	for _, d := range n.Deletes {
		t = max(t, d.At.Time)
	}
	return t
}

func (l *local) create(home store.FileID, name string, dir bool, v Version) error {
	return l.issue(Op{Kind: KindCreate, Parent: home, Name: name, Dir: dir, Version: v}, nil)
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
	return l.issue(op, &n)
}

// vacate prepares for the file that is shown under a name to go from there: those
// that it kept from the name stay where they are shown, and hidden equals go too.
func (l *local) vacate(home store.FileID, name string, stay ...store.FileID) error {
	rows, err := claims(l.tx, slot{home, name})
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, c := range rows[1:] {
		if slices.Contains(stay, c.row.ID) {
			continue
		}
		if c.row.Content == rows[0].row.Content {
			err = l.on(c.row.ID, Op{Kind: KindDelete})
		} else {
			var n node
			if n, err = loadNode(l.tx, c.row.ID); err == nil {
				err = l.on(c.row.ID, Op{Kind: KindMove, Parent: home, Name: conflictName(name, n.Place.At)})
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Put makes v the current version of the file path, which it creates if need be;
// the parent directory must exist. An existing file keeps its mode. Conflict
// copies of the file stay; a conflict copy that is written becomes a file of its
// own. It fails with ErrNotFound or ErrNotDir for the parent and ErrIsDir.
func (t *Tree) Put(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "put", path, func(l *local, names []string) error {
		found, home, exists, err := l.target(names)
		if err != nil {
			return err
		}
		name := names[len(names)-1]
		switch {
		case !exists:
			return l.create(home, name, false, v)
		case found.Kind == rowDir:
			return ErrIsDir
		case found.Kind == rowLoser:
			if err := l.discard(found); err != nil {
				return err
			}
			return l.create(home, name, false, v)
		}
		if found.Kind == rowFile {
			if err := l.dropEquals(home, name); err != nil {
				return err
			}
		}
		return l.on(found.ID, Op{Kind: KindContent, Version: v})
	})
}

// dropEquals deletes the files that are hidden because their bytes equal those of
// the one shown, lest they appear when that one changes.
func (l *local) dropEquals(home store.FileID, name string) error {
	rows, err := claims(l.tx, slot{home, name})
	if err != nil {
		return err
	}
	for _, c := range rows[1:] {
		if c.row.Content == rows[0].row.Content {
			if err := l.on(c.row.ID, Op{Kind: KindDelete}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *local) discard(found row) error {
	return l.on(found.ID, Op{Kind: KindDiscard, Dots: []store.Dot{found.At.dot()}})
}

// target finds what names lead to; it need not exist, but its directory must.
func (l *local) target(names []string) (found row, home store.FileID, exists bool, err error) {
	dir, _, err := resolve(l.tx, names[:len(names)-1])
	if err == nil && dir.Kind != rowDir {
		err = ErrNotDir
	}
	if err != nil {
		return row{}, home, false, err
	}
	found, err = firstRow(l.tx, dir.ID, names[len(names)-1])
	if errors.Is(err, store.ErrNotFound) {
		return row{}, dir.ID, false, nil
	}
	return found, dir.ID, err == nil, err
}

// Mkdir makes the directory path with the mode and time of v. It fails with
// ErrExist, and with ErrNotFound or ErrNotDir for the parent.
func (t *Tree) Mkdir(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "mkdir", path, func(l *local, names []string) error {
		_, home, exists, err := l.target(names)
		if err != nil {
			return err
		}
		if exists {
			return ErrExist
		}
		return l.create(home, names[len(names)-1], true, Version{Mode: v.Mode, ModTime: v.ModTime})
	})
}

// Remove removes the file, conflict copy or directory path. A directory that is
// not empty is ErrNotEmpty unless recursive is set; it takes one operation
// however much it holds. Conflict copies of a file stay.
func (t *Tree) Remove(tx store.Txn, path string, recursive bool, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "remove", path, func(l *local, names []string) error {
		found, home, err := resolve(l.tx, names)
		if err != nil {
			return err
		}
		return l.remove(found, home, names[len(names)-1], recursive)
	})
}

func (l *local) remove(found row, home store.FileID, name string, recursive bool, stay ...store.FileID) error {
	switch found.Kind {
	case rowLoser:
		return l.discard(found)
	case rowFile:
		if err := l.vacate(home, name, stay...); err != nil {
			return err
		}
	case rowDir:
		return l.removeDir(found, home, name, recursive)
	}
	return l.on(found.ID, Op{Kind: KindDelete})
}

// removeDir removes all directories of a group.
func (l *local) removeDir(found row, home store.FileID, name string, recursive bool) error {
	if !recursive {
		empty := true
		if err := list(l.tx, found.ID, "", "", func(Entry) bool { empty = false; return false }); err != nil {
			return err
		}
		if !empty {
			return ErrNotEmpty
		}
	}
	return l.group(home, name, Op{Kind: KindDelete})
}

// group issues op for each directory of a group.
func (l *local) group(home store.FileID, name string, op Op) error {
	rows, err := claims(l.tx, slot{home, name})
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
	return t.do(tx, now, "rename", from, func(l *local, names []string) error {
		toNames, err := split(to)
		if err != nil {
			return err
		}
		if len(toNames) == 0 {
			return ErrRoot
		}
		src, home, err := resolve(l.tx, names)
		if err != nil || slices.Equal(names, toNames) {
			return err
		}
		if src.Kind == rowDir && strings.HasPrefix(strings.Join(toNames, "/"), strings.Join(names, "/")+"/") {
			return ErrCycle
		}
		dst, toHome, exists, err := l.target(toNames)
		if err != nil {
			return err
		}
		toName := toNames[len(toNames)-1]
		if exists {
			switch {
			case src.Kind == rowDir && dst.Kind != rowDir:
				return ErrNotDir
			case src.Kind != rowDir && dst.Kind == rowDir:
				return ErrIsDir
			}
			if err := l.remove(dst, toHome, toName, false, src.ID); err != nil {
				return err
			}
		}
		return l.rename(src, home, names[len(names)-1], toHome, toName)
	})
}

func (l *local) rename(src row, home store.FileID, name string, toHome store.FileID, toName string) error {
	move := Op{Kind: KindMove, Parent: toHome, Name: toName}
	switch src.Kind {
	case rowDir:
		return l.group(home, name, move)
	case rowLoser: // becomes a file of its own
		if err := l.discard(src); err != nil {
			return err
		}
		e := src.entry("", "")
		return l.create(toHome, toName, false, e.Version)
	case rowFile:
		if err := l.vacate(home, name); err != nil {
			return err
		}
	}
	return l.on(src.ID, move)
}

// SetAttributes gives the file or directory path the mode and modification time
// of v. It does not conflict with a new version.
func (t *Tree) SetAttributes(tx store.Txn, path string, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "set attributes", path, func(l *local, names []string) error {
		found, _, err := resolve(l.tx, names)
		if err != nil {
			return err
		}
		return l.on(found.ID, Op{Kind: KindAttributes, Version: Version{Mode: v.Mode, ModTime: v.ModTime}})
	})
}

// Record makes an operation of somebody else who shares the log; kind is at least
// KindForeign. The tree numbers and orders it and ignores what it says.
func (t *Tree) Record(tx store.Txn, kind Kind, body []byte, now time.Time) (Op, error) {
	if kind < KindForeign {
		return Op{}, fmt.Errorf("tree: record: %w: kind %d", ErrBadOp, kind)
	}
	ops, _, err := t.do(tx, now, "record", "/-", func(l *local, _ []string) error {
		return l.issue(Op{Kind: kind, Body: body}, nil)
	})
	if err != nil {
		return Op{}, err
	}
	return ops[0], nil
}
