package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// ErrElsewhere reports a directory that cannot be brought back because it was
// moved, not removed.
var ErrElsewhere = errors.New("directory is elsewhere")

// Restore brings back what path led to at when; see [Tree.LookupAt] for the
// instant. If the file there now is the same one, or took its place without a
// break, it gets the old bytes as a new version. A file or directory that was
// removed comes back by one operation with all that was in it when it was removed;
// a file that was moved away is copied. Where something else has the name, it gets
// a name like "stem (restored 2025-01-31 1405).ext". Without operations it was
// there already. It fails with store.ErrNotFound, which names the directory if
// that is what is missing, and with ErrElsewhere.
func (t *Tree) Restore(tx store.Txn, path string, when time.Time, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "restore", path, func(l *local) error {
		names, err := namesOf(path)
		if err != nil {
			return err
		}
		at := instant(when)
		b := back{local: l, names: names}
		if err = b.find(at); err == nil {
			_, err = b.bring()
		}
		return err
	})
}

// Undo takes back the last change at path: it brings back the version before, or
// what was removed or moved away. It returns what came back, with the path where it
// is now; the rules are those of [Tree.Restore]. Undo after undo brings the newer
// version back. It fails with store.ErrNotFound when there is nothing to bring
// back, and with ErrCycle when a directory would go back into itself.
func (t *Tree) Undo(tx store.Txn, path string, now time.Time) (Past, []Op, []Event, error) {
	var p Past
	ops, events, err := t.do(tx, now, "undo", path, func(l *local) error {
		names, err := namesOf(path)
		if err != nil {
			return err
		}
		b := back{local: l, names: names}
		var full string
		if err = b.findLast(); err == nil {
			full, err = b.bring()
		}
		if err != nil {
			return err
		}
		p = b.what.past(full)
		found, _, err := resolve(l.tx, b.names)
		p.ID = found.ID
		return err
	})
	return p, ops, events, err
}

// namesOf is split for a path that must not be the root.
func namesOf(path string) ([]string, error) {
	names, err := split(path)
	if err == nil && len(names) == 0 {
		err = ErrRoot
	}
	return names, err
}

// back is the return of something to a path.
type back struct {
	*local
	names    []string // where to; the last changes if it is taken
	what     interval
	unbroken bool // each thing at the path since has replaced the one before
	move     bool // fetch it from where it was moved to
}

// seek takes the first interval of names that match accepts, given what is there
// now, if anything.
func (b *back) seek(match func(now *interval, home store.FileID, i interval) bool) error {
	var now *interval
	found, unbroken := false, true
	var first *store.FileID
	err := pasts(b.tx, b.names, func(home store.FileID, i interval) bool {
		if first == nil {
			first = &home
		}
		if i.to == present {
			now = &i
		} else {
			unbroken = unbroken && i.why == Replaced && home == *first
		}
		if found = match(now, home, i); found {
			b.what = i
		}
		return !found
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	b.unbroken = unbroken && now != nil
	return err
}

// find seeks what the path led to at a time: going by the directories of that
// time, and else by the past of those that are there now.
func (b *back) find(at store.Time) error {
	last := len(b.names) - 1
	dir, dirErr := resolveAt(b.tx, b.names[:last], at)
	if dirErr == nil {
		err := b.seek(func(_ *interval, home store.FileID, i interval) bool {
			return home == dir.row.ID && i.from <= at && at < i.to
		})
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return b.seek(func(_ *interval, _ store.FileID, i interval) bool { return i.from <= at && at < i.to })
}

// findLast seeks what the last change took away. What equals the present is passed
// over: it was brought back before.
func (b *back) findLast() error {
	free := true
	err := b.seek(func(now *interval, _ store.FileID, i interval) bool {
		if i.to == present {
			return false
		}
		free = now == nil
		return free || !(&appearance{row: now.row}).same(&appearance{row: i.row})
	})
	b.move = free && b.what.why == Moved
	return err
}

// bring does it and returns the path.
func (b *back) bring() (string, error) {
	if err := b.parent(); err != nil {
		return "", err
	}
	at, err := b.target(strings.Join(b.names, "/"))
	if err != nil {
		return "", err
	}
	old, found, home, exists := &b.what.row, at.row, at.home, at.exists
	switch {
	case exists && found.Kind == old.Kind && (&appearance{row: found}).same(&appearance{row: *old}):
	case exists && b.newer(&found):
		err = b.overwrite(&found)
	default:
		if exists {
			if err := b.otherName(home); err != nil {
				return "", err
			}
		}
		err = b.revive(home)
	}
	return "/" + strings.Join(b.names, "/"), err
}

// parent reports the directory that has to be restored first.
func (b *back) parent() error {
	for n := 1; n < len(b.names); n++ {
		dir := b.names[:n]
		found, _, err := resolve(b.tx, dir)
		if err == nil && found.Kind != rowDir {
			err = ErrNotDir
		}
		if err != nil {
			return fmt.Errorf("directory /%s: %w", strings.Join(dir, "/"), err)
		}
	}
	return nil
}

// newer reports whether found is what became of the old file.
func (b *back) newer(found *row) bool {
	file := func(k rowKind) bool { return k == rowFile || k == rowPlaced }
	return file(found.Kind) && file(b.what.row.Kind) && (found.ID == b.what.row.ID || b.unbroken)
}

func (b *back) version() Version {
	e := b.what.row.entry("", "")
	return e.Version
}

func (b *back) overwrite(found *row) error {
	if found.Content == b.what.row.Content {
		return nil
	}
	return b.write(found.ID, Op{Kind: KindContent, Version: b.version()})
}

// otherName finds a name that is free.
func (b *back) otherName(home store.FileID) error {
	last := len(b.names) - 1
	name, date := b.names[last], b.now.UTC().Format("2006-01-02 1504")
	b.names = slices.Clone(b.names)
	for n := 1; n <= maxRestored; n++ {
		tag := " (restored " + date + ")"
		if n > 1 {
			tag = fmt.Sprintf(" (restored %s %d)", date, n)
		}
		b.names[last] = tagged(name, tag)
		if _, err := firstRow(b.tx, home, b.names[last]); errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return ErrExist
}

// maxRestored bounds how many things of one name are restored in one minute.
const maxRestored = 1000

// revive makes the old thing appear where nothing is. A move that is later than a
// deletion takes the deletion back; see deletionsOf.
func (b *back) revive(home store.FileID) error {
	old := &b.what.row
	name := b.names[len(b.names)-1]
	n, err := loadNode(b.tx, old.ID)
	if err != nil {
		return err
	}
	alive := n.View.named()
	switch {
	case old.Kind == rowDir:
		return b.reviveDirs(home, name, alive)
	case alive && n.Linked && n.version(n.View.Winner).Content == old.Content:
		return b.issue(Op{Kind: KindLink, Node: old.ID, Parent: home, Name: name}, n.latest())
	case old.Kind == rowLoser, alive && (!b.move || n.Linked):
		if err := b.create(slot{home, name}, false, b.version()); err != nil {
			return err
		}
		return b.copyXattrs(old.ID, nodeOf(b.ops[len(b.ops)-1].Dot))
	case alive:
		if err := b.leave(old.ID, &n); err != nil {
			return err
		}
	}
	if err := b.on(old.ID, Op{Kind: KindMove, Parent: home, Name: name}); err != nil {
		return err
	}
	if n, err = loadNode(b.tx, old.ID); err != nil {
		return err
	}
	if !b.move && n.version(n.View.Winner).Content != old.Content {
		return b.on(old.ID, Op{Kind: KindContent, Version: b.version()})
	}
	return nil
}

// leave prepares for a file to go from where it is shown.
func (b *back) leave(id store.FileID, n *node) error {
	rows, err := claims(b.tx, slot{n.View.Home, n.Place.Name})
	if err != nil || len(rows) == 0 || rows[0].row.ID != id {
		return err
	}
	return b.vacate(slot{n.View.Home, n.Place.Name})
}

// reviveDirs brings back a directory, and those that were shown as one with it.
func (b *back) reviveDirs(home store.FileID, name string, alive bool) error {
	if alive && !b.move {
		return ErrElsewhere
	}
	for i, id := range append([]store.FileID{b.what.row.ID}, b.what.also...) {
		if i > 0 {
			n, err := loadNode(b.tx, id)
			if err != nil {
				return err
			}
			if n.View.Plain && !b.move {
				continue // it was brought back, or moved, by itself
			}
		}
		if inside, err := within(b.tx, home, id); err != nil {
			return err
		} else if inside {
			return ErrCycle
		}
		if err := b.on(id, Op{Kind: KindMove, Parent: home, Name: name}); err != nil {
			return err
		}
	}
	return nil
}

// within reports whether dir is id or lies below it.
func within(r store.Reader, dir, id store.FileID) (bool, error) {
	for dir != Root && dir != id {
		n, err := loadNode(r, dir)
		if err != nil {
			return false, err
		}
		dir = n.Place.Parent
	}
	return dir == id, nil
}
