package tree

import (
	"errors"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// Place is a name in a directory. Dir may be any directory of a group.
type Place struct {
	Dir  store.FileID
	Name string
}

// Node is a file or directory by its ID, whatever it is called.
type Node struct {
	// ID names it.
	ID store.FileID
	// Dir says that it is a directory.
	Dir bool
	// Version is what it holds; for a directory Mode and ModTime.
	Version Version
	// Changed is when it, its name or its attributes last changed.
	Changed time.Time
	// Links is how many names lead to it: 0 when it was removed.
	Links int
}

// Renaming says what a rename does with what it finds at its target.
type Renaming uint8

const (
	// Replace replaces a file, or an empty directory.
	Replace Renaming = iota
	// NoReplace fails with ErrExist.
	NoReplace
	// Exchange lets both change places.
	Exchange
)

// AttributeChange says which attributes change; nil leaves one as it is.
type AttributeChange struct {
	// Mode replaces the permission bits, never those that say what a file is.
	Mode    *uint32
	ModTime *time.Time
}

// permissions are the bits of a mode that SetNode changes: those above say whether a
// file is a symbolic link, a pipe or a socket (inode(7)).
const permissions = 0o7777

// Node returns the file or directory id, removed or not. It fails with
// store.ErrNotFound for one that was never there.
func (t *Tree) Node(r store.Reader, id store.FileID) (Node, error) {
	if id == Root {
		return Node{Dir: true, Version: Version{Mode: 0o755}, Links: 1}, nil
	}
	n, err := loadNode(r, id)
	if err != nil {
		return Node{}, fmt.Errorf("tree: node %s: %w", id, err)
	}
	return n.node(id), nil
}

func (n *node) node(id store.FileID) Node {
	out := Node{ID: id, Dir: n.Dir, Changed: n.latest().Wall()}
	if !n.View.Plain && len(n.Versions) > 0 { // removed: what it held last
		last := n.Versions[0]
		for _, v := range n.Versions {
			if v.At.compare(last.At) > 0 {
				last = v
			}
		}
		r := n.versionRow(id, last, rowFile)
		out.Version = r.entry("", "").Version
		return out
	}
	_, r := n.plainRow(id)
	out.Version = r.entry("", "").Version
	if n.View.Plain {
		out.Links = 1
	}
	return out
}

// homeOf returns where the rows of a directory's children lie. It fails with
// ErrNotDir.
func homeOf(r store.Reader, dir store.FileID) (store.FileID, error) {
	if dir == Root {
		return Root, nil
	}
	n, err := loadNode(r, dir)
	if err == nil && !n.Dir {
		err = ErrNotDir
	}
	return n.View.Group, err
}

// Child returns what the directory dir shows under name; its Path is the name alone.
// It fails with store.ErrNotFound and ErrNotDir.
func (t *Tree) Child(r store.Reader, dir store.FileID, name string) (Entry, error) {
	home, err := homeOf(r, dir)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: child %q: %w", name, err)
	}
	found, err := firstRow(r, home, name)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: child %q: %w", name, err)
	}
	e := found.entry("", "")
	e.Path = name
	return e, nil
}

// Children calls f with what the directory dir holds, as [Tree.List] does.
func (t *Tree) Children(r store.Reader, dir store.FileID, after string, f func(Entry) bool) error {
	home, err := homeOf(r, dir)
	if err == nil {
		err = list(r, home, "", after, f)
	}
	if err != nil {
		return fmt.Errorf("tree: children: %w", err)
	}
	return nil
}

// Parent returns the directory that the directory or file id lies in; the root lies
// in itself.
func (t *Tree) Parent(r store.Reader, id store.FileID) (store.FileID, error) {
	if id == Root {
		return Root, nil
	}
	n, err := loadNode(r, id)
	if err != nil {
		return Root, fmt.Errorf("tree: parent: %w", err)
	}
	return homeOf(r, n.Place.Parent)
}

// at runs a local change.
func (t *Tree) at(tx store.Txn, now time.Time, what string, f func(l *local) error) ([]Op, []Event, error) {
	w, err := newWork(tx, t.self)
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s: %w", what, err)
	}
	l := &local{work: w, now: now}
	if err := f(l); err != nil {
		return nil, nil, fmt.Errorf("tree: %s: %w", what, err)
	}
	events, err := w.finish()
	if err != nil {
		return nil, nil, fmt.Errorf("tree: %s: %w", what, err)
	}
	return l.ops, events, nil
}

// row returns what is shown at a place, if anything is.
func (l *local) row(at Place) (found row, home store.FileID, exists bool, err error) {
	if err := CheckName(at.Name); err != nil {
		return row{}, home, false, err
	}
	if home, err = homeOf(l.tx, at.Dir); err != nil {
		return row{}, home, false, err
	}
	found, err = firstRow(l.tx, home, at.Name)
	if errors.Is(err, store.ErrNotFound) {
		return row{}, home, false, nil
	}
	return found, home, err == nil, err
}

// CreateAt makes a file with the bytes and attributes of v, or a directory with its
// attributes, and returns its ID. It fails with ErrExist.
func (t *Tree) CreateAt(tx store.Txn, at Place, dir bool, v Version, now time.Time) (id store.FileID, ops []Op, events []Event, err error) {
	ops, events, err = t.at(tx, now, "create", func(l *local) error {
		_, home, exists, err := l.row(at)
		if err != nil {
			return err
		}
		if exists {
			return ErrExist
		}
		if dir {
			v = Version{Mode: v.Mode, ModTime: v.ModTime}
		}
		return l.create(home, at.Name, dir, v)
	})
	if err == nil {
		id = nodeOf(ops[0].Dot)
	}
	return id, ops, events, err
}

// WriteNode makes v the version of the file id, whatever it is called. base is the
// version that the writer began with: where another machine's has come since, it is
// not replaced but becomes a conflict copy. Its Mode is not changed.
func (t *Tree) WriteNode(tx store.Txn, id store.FileID, base store.Dot, v Version, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "write", func(l *local) error {
		n, err := loadNode(l.tx, id)
		switch {
		case err != nil:
			return err
		case n.Dir:
			return ErrIsDir
		case !n.View.Plain:
			return store.ErrNotFound
		}
		if rows, err := claims(l.tx, slot{n.View.Home, n.Place.Name}); err != nil {
			return err
		} else if len(rows) > 1 && rows[0].row.ID == id {
			if err := l.dropEquals(n.View.Home, n.Place.Name); err != nil {
				return err
			}
		}
		op := Op{Kind: KindContent, Version: v}
		if w := n.View.Winner; w.dot() != base && w.Machine != l.self {
			op.Dots = append(op.Dots, w.dot())
		}
		return l.on(id, op)
	})
}

// RemoveAt removes what is at a place; see [Tree.Remove].
func (t *Tree) RemoveAt(tx store.Txn, at Place, recursive bool, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "remove", func(l *local) error {
		found, home, exists, err := l.row(at)
		if err == nil && !exists {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return l.remove(found, home, at.Name, recursive)
	})
}

// RenameAt moves what is at from to the place to. It fails as [Tree.Rename] does.
func (t *Tree) RenameAt(tx store.Txn, from, to Place, how Renaming, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "rename", func(l *local) error {
		src, home, exists, err := l.row(from)
		if err == nil && !exists {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		dst, toHome, taken, err := l.row(to)
		if err != nil {
			return err
		}
		if home == toHome && from.Name == to.Name {
			return nil
		}
		if err := l.belowItself(src, toHome); err != nil {
			return err
		}
		switch {
		case how == NoReplace && taken:
			return ErrExist
		case how == Exchange && !taken:
			return store.ErrNotFound
		case how == Exchange:
			return l.exchange(src, home, from.Name, dst, toHome, to.Name)
		case taken:
			if err := replaces(src, dst); err != nil {
				return err
			}
			if err := l.remove(dst, toHome, to.Name, false, src.ID); err != nil {
				return err
			}
		}
		return l.rename(src, home, from.Name, toHome, to.Name)
	})
}

// replaces says why src may not take the place of dst.
func replaces(src, dst row) error {
	switch {
	case src.Kind == rowDir && dst.Kind != rowDir:
		return ErrNotDir
	case src.Kind != rowDir && dst.Kind == rowDir:
		return ErrIsDir
	}
	return nil
}

// belowItself returns ErrCycle when the directory src is home or lies above it.
func (l *local) belowItself(src row, home store.FileID) error {
	if src.Kind != rowDir {
		return nil
	}
	for home != Root {
		if home == src.ID {
			return ErrCycle
		}
		n, err := loadNode(l.tx, home)
		if err != nil {
			return err
		}
		if home, err = homeOf(l.tx, n.Place.Parent); err != nil {
			return err
		}
	}
	return nil
}

// exchange lets a and b change places, by two moves.
func (l *local) exchange(a row, aHome store.FileID, aName string, b row, bHome store.FileID, bName string) error {
	if err := l.belowItself(b, aHome); err != nil {
		return err
	}
	if a.Kind == rowLoser || b.Kind == rowLoser {
		return ErrExist // a version has no place of its own
	}
	if err := l.on(a.ID, Op{Kind: KindMove, Parent: bHome, Name: bName}); err != nil {
		return err
	}
	return l.on(b.ID, Op{Kind: KindMove, Parent: aHome, Name: aName})
}

// SetNode changes attributes of the file or directory id.
func (t *Tree) SetNode(tx store.Txn, id store.FileID, a AttributeChange, now time.Time) ([]Op, []Event, error) {
	return t.at(tx, now, "set attributes", func(l *local) error {
		if id == Root {
			return ErrRoot
		}
		n, err := loadNode(l.tx, id)
		if err != nil {
			return err
		}
		v := n.node(id).Version
		if a.Mode != nil {
			v.Mode = v.Mode&^permissions | *a.Mode&permissions
		}
		if a.ModTime != nil {
			v.ModTime = *a.ModTime
		}
		return l.on(id, Op{Kind: KindAttributes, Version: Version{Mode: v.Mode, ModTime: v.ModTime}})
	})
}

// Contents calls f with what everything holds that the drive shows, conflict copies
// and hidden equals among it, until f returns false.
func (t *Tree) Contents(r store.Reader, f func(store.Content) bool) error {
	from := key(keyRow)
	var bad error
	err := r.Scan(from, end(from), func(_, v []byte) bool {
		var found row
		if bad = wire.dec.Unmarshal(v, &found); bad != nil {
			return false
		}
		return found.Kind == rowDir || found.Content.Size == 0 || f(found.Content)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: contents: %w", err)
	}
	return nil
}

// ErrNoLinks reports a second name for a file: files have one.
var ErrNoLinks = errors.New("hard links are not kept")

// LinkAt gives the file id another name.
func (t *Tree) LinkAt(tx store.Txn, id store.FileID, at Place, now time.Time) ([]Op, []Event, error) {
	return nil, nil, ErrNoLinks
}
