package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"
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
	// ID names it; of directories shown as one it is the canonical one's.
	ID store.FileID
	// Dir says that it is a directory.
	Dir bool
	// Version is the winner, with Mode and ModTime as shown. A file without a name
	// has the version that it had last. A directory has Mode, ModTime and owner; its
	// ModTime goes with its entries, where that of an [Entry] is the one it was given.
	Version Version
	// Changed is when anything about it was last changed, its name included (the
	// ctime of Unix), by the clock of who changed it, to the millisecond.
	Changed time.Time
	// Links is how many names lead to it, 0 when it has none any more. Losing
	// versions are not counted.
	Links int
}

// AttributeChange says which attributes to set; nil leaves one as it is.
type AttributeChange struct {
	// Mode holds permission bits. The type bits stay as they are.
	Mode *uint32
	// ModTime is kept to the nanosecond in the years from 1678 to 2261. The zero
	// time leaves it as it is.
	ModTime *time.Time
	// UID and GID are the numbers themselves, not plus one; the greatest uint32
	// leaves what is there, as chown does.
	UID, GID *uint32
}

// Node returns the node id. It fails with store.ErrNotFound for an ID that was
// never given; one whose node was removed has no Links.
func (t *Tree) Node(r store.Reader, id store.FileID) (Node, error) {
	n, err := loadNode(r, id)
	if err == nil && n.Dir && id != Root && n.View.Group != id {
		id = n.View.Group
		n, err = loadNode(r, id)
	}
	if err == nil && id == Root {
		n.Attr, err = rootAttr(r)
	}
	if err == nil && n.isLink() {
		err = store.ErrNotFound // a name is no file
	}
	if err != nil {
		return Node{}, fmt.Errorf("tree: node %s: %w", id, err)
	}
	out := Node{ID: id, Dir: n.Dir, Changed: n.latest().Wall()}
	if n.View.Plain {
		out.Links = 1
	}
	out.Links += len(n.View.Names)
	if !n.Dir && out.Links == 0 {
		n.View.Winner = slices.MaxFunc(n.Versions, func(a, b version) int { return a.At.compare(b.At) }).At
	}
	_, found := n.plainRow(id)
	out.Version = found.entry("", "").Version
	if n.Dir {
		if err := out.withEntries(r, n.Attr.TimeAt.Time); err != nil {
			return Node{}, fmt.Errorf("tree: node %s: %w", id, err)
		}
	}
	return out, nil
}

func rootAttr(r store.Reader) (attr, error) {
	s, err := loadState(r)
	return s.Root, err
}

// group returns the canonical directory of the one that dir names, which must be
// shown: where the rows of what it holds lie.
func group(r store.Reader, dir store.FileID) (store.FileID, error) {
	n, err := loadNode(r, dir)
	switch {
	case err != nil:
		return dir, err
	case !n.Dir:
		return dir, ErrNotDir
	case !n.View.Plain:
		return dir, store.ErrNotFound
	}
	return n.View.Group, nil
}

// Child returns what the directory dir shows under name, by two reads. The
// entry's Path is the name alone. It fails with store.ErrNotFound or ErrNotDir.
func (t *Tree) Child(r store.Reader, dir store.FileID, name string) (Entry, error) {
	home, err := group(r, dir)
	if err == nil {
		err = CheckName(name)
	}
	var found row
	if err == nil {
		found, err = firstRow(r, home, name)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("tree: child %s: %w", name, err)
	}
	e := found.entry("", "")
	e.Path = name
	return e, nil
}

// Children is [Tree.List] for the directory dir. The entries' Paths are names
// alone.
func (t *Tree) Children(r store.Reader, dir store.FileID, after string, f func(Entry) bool) error {
	home, err := group(r, dir)
	if err == nil {
		err = list(r, home, "", after, func(e Entry) bool {
			e.Path = e.Path[1:]
			return f(e)
		})
	}
	if err != nil {
		return fmt.Errorf("tree: children of %s: %w", dir, err)
	}
	return nil
}

// Parent returns the directory in which the directory id lies: the canonical one
// of its group. The root lies in itself.
func (t *Tree) Parent(r store.Reader, id store.FileID) (store.FileID, error) {
	n, err := loadNode(r, id)
	if err == nil && !n.Dir {
		err = ErrNotDir
	}
	if err != nil {
		return Root, fmt.Errorf("tree: parent of %s: %w", id, err)
	}
	return n.View.Home, nil
}

// Home returns the directory in which a file or directory lies: the canonical one of
// its group. A file with several names lies where it was made, or moved to last. The
// root lies in itself.
func (t *Tree) Home(r store.Reader, id store.FileID) (store.FileID, error) {
	n, err := loadNode(r, id)
	if err != nil {
		return Root, fmt.Errorf("tree: home of %s: %w", id, err)
	}
	return n.View.Home, nil
}

// at finds a place, whose directory must be shown.
func (l *local) at(p Place) (spot, error) {
	if err := CheckName(p.Name); err != nil {
		return spot{}, err
	}
	home, err := group(l.tx, p.Dir)
	if err != nil {
		return spot{}, err
	}
	return l.spot(home, p.Name)
}

// CreateAt makes a file with the version v, or a directory with its mode, owner
// and time, and returns its ID. It fails with ErrExist, and with
// store.ErrNotFound or ErrNotDir for the directory.
func (t *Tree) CreateAt(tx store.Txn, at Place, dir bool, v Version, now time.Time) (store.FileID, []Op, []Event, error) {
	ops, events, err := t.do(tx, now, "create", at.Name, func(l *local) error {
		s, err := l.at(at)
		if err != nil {
			return err
		}
		if s.exists {
			return ErrExist
		}
		return l.create(s.slot, dir, v)
	})
	if err != nil {
		return store.FileID{}, nil, nil, err
	}
	return nodeOf(ops[0].Dot), ops, events, nil
}

// WriteNode makes v the current version of the file id, wherever its names are.
// base names the version that the writer had before it when it began; zero is
// none. A current version of another machine that is not base came while the
// writer was at work: the writer has not seen it, even though this machine has,
// and it is kept as a conflict copy. A file that another machine removed
// meanwhile is there again. It fails with store.ErrNotFound for a file that was
// removed here, and ErrIsDir.
func (t *Tree) WriteNode(tx store.Txn, id store.FileID, base store.Dot, v Version, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "write", id.String(), func(l *local) error {
		n, err := loadNode(l.tx, id)
		switch {
		case err != nil:
			return err
		case n.Dir:
			return ErrIsDir
		case n.isLink():
			return store.ErrNotFound
		}
		op := Op{Kind: KindContent, Version: v}
		if w := n.View.Winner; n.View.named() && w.Machine != l.self && w.dot() != base {
			op.Dots = append(op.Dots, w.dot())
		}
		return l.write(id, op)
	})
}

// write makes a new version of the file id. A file whose own name is gone takes
// that of a link, lest the new version bring its own back.
func (l *local) write(id store.FileID, op Op) error {
	n, err := loadNode(l.tx, id)
	switch {
	case err != nil:
		return err
	case n.View.Plain:
	case len(n.View.Names) > 0:
		err = l.promote(id, &n)
	default:
		err = l.removedHere(&n)
	}
	if err == nil {
		err = l.claimNames(id)
	}
	if err != nil {
		return err
	}
	return l.on(id, op)
}

// claimNames deletes the files that are hidden behind the bytes of the file id
// under the names that it has.
func (l *local) claimNames(id store.FileID) error {
	n, err := loadNode(l.tx, id)
	if err != nil || !n.View.Plain {
		return err
	}
	names := []slot{{n.View.Home, n.Place.Name}}
	for _, m := range n.View.Names {
		names = append(names, slot{m.Home, m.Name})
	}
	for _, at := range names {
		first, err := firstRow(l.tx, at.home, at.name)
		if err == nil && first.ID == id && first.Kind == rowFile {
			err = l.dropEquals(at)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// removedHere returns store.ErrNotFound when a deletion that holds for n was made
// on this machine.
func (l *local) removedHere(n *node) error {
	parent, err := loadNode(l.tx, n.Place.Parent)
	if err != nil {
		return err
	}
	del, err := deletionsOf(l.tx, n, &parent)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(del, func(d deletion) bool { return d.At.Machine == l.self }) {
		return store.ErrNotFound
	}
	return nil
}

// RemoveAt removes what the place shows: see [Tree.Remove].
func (t *Tree) RemoveAt(tx store.Txn, at Place, recursive bool, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "remove", at.Name, func(l *local) error {
		s, err := l.at(at)
		if err == nil && !s.exists {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return l.remove(s, recursive)
	})
}

// SetNode sets attributes of the file or directory id, one that has no name any
// more included. It does not conflict with a new version. It fails with
// store.ErrNotFound.
func (t *Tree) SetNode(tx store.Txn, id store.FileID, a AttributeChange, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "set attributes", id.String(), func(l *local) error {
		n, err := loadNode(l.tx, id)
		if err != nil {
			return err
		}
		if n.Dir {
			id = n.View.Group
		}
		return l.setAttributes(id, a)
	})
}

// typeBits are the bits of Mode that say what kind of file it is.
const typeBits = 0o170000

func (l *local) setAttributes(id store.FileID, a AttributeChange) error {
	n, err := loadNode(l.tx, id)
	if err != nil {
		return err
	}
	if id == Root {
		n.Attr = l.state.Root
	}
	v := Version{Mode: n.Attr.Mode, UID: n.Attr.UID, GID: n.Attr.GID}
	if a.Mode != nil {
		v.Mode = v.Mode&typeBits | *a.Mode&^typeBits
	}
	if a.ModTime != nil {
		v.ModTime = *a.ModTime
	}
	if a.UID != nil && *a.UID != math.MaxUint32 {
		v.UID = *a.UID + 1
	}
	if a.GID != nil && *a.GID != math.MaxUint32 {
		v.GID = *a.GID + 1
	}
	if v.ModTime.IsZero() && v.Mode == n.Attr.Mode && v.UID == n.Attr.UID && v.GID == n.Attr.GID {
		return nil
	}
	return l.issue(Op{Kind: KindAttributes, Node: id, Version: v}, n.latest())
}
