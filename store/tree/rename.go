package tree

import (
	"fmt"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// Renaming says what a rename does when the new name is taken.
type Renaming uint8

// What a rename does when the new name is taken.
const (
	Replace   Renaming = iota // a file replaces a file, a directory an empty directory
	NoReplace                 // ErrExist
	Exchange                  // each gets the other's name; both must be there
)

// RenameAt moves what from shows to the place to. A directory moves by one
// operation whatever it holds. Two names of one node, and a place and itself, are
// left as they are. It fails with store.ErrNotFound, ErrNotDir, ErrIsDir,
// ErrNotEmpty, ErrExist, or ErrCycle when a directory would go inside itself.
func (t *Tree) RenameAt(tx store.Txn, from, to Place, how Renaming, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "rename", from.Name, func(l *local) error {
		src, err := l.at(from)
		if err != nil {
			return err
		}
		dst, err := l.at(to)
		if err != nil {
			return err
		}
		return l.rename(src, dst, how)
	})
}

func (l *local) rename(src, dst spot, how Renaming) error {
	switch {
	case !src.exists, how == Exchange && !dst.exists:
		return store.ErrNotFound
	case how == NoReplace && dst.exists:
		return ErrExist
	case src.slot == dst.slot, dst.exists && src.row.sameNode(&dst.row):
		return nil
	}
	if err := l.checkCycle(src, dst); err != nil {
		return err
	}
	if how == Exchange {
		if err := l.checkCycle(dst, src); err != nil {
			return err
		}
		return l.exchange(src, dst)
	}
	if dst.exists {
		switch {
		case src.row.Kind == rowDir && dst.row.Kind != rowDir:
			return ErrNotDir
		case src.row.Kind != rowDir && dst.row.Kind == rowDir:
			return ErrIsDir
		}
		if err := l.remove(dst, false, src.row.bearer()); err != nil {
			return err
		}
	}
	if src.row.Kind == rowFile {
		if err := l.vacate(src.slot); err != nil {
			return err
		}
	}
	return l.shift(src, dst.slot)
}

// sameNode reports whether two rows show one version of one node.
func (r *row) sameNode(o *row) bool { return r.ID == o.ID && r.At == o.At }

// exchange swaps what two names show.
func (l *local) exchange(a, b spot) error {
	for _, s := range []spot{a, b} {
		if s.row.Kind == rowFile {
			if err := l.vacate(s.slot); err != nil {
				return err
			}
		}
	}
	if a.row.Kind != rowDir || b.row.Kind != rowDir {
		if err := l.shift(a, b.slot); err != nil {
			return err
		}
		return l.shift(b, a.slot)
	}
	// Two directories of one name would be shown as one for a moment, and all
	// that they hold would be shown anew: they pass by a third name.
	third, err := l.spot(a.home, fmt.Sprintf(".exchange-%x", a.row.ID))
	if err != nil {
		return err
	}
	if third.exists {
		return ErrExist
	}
	if err := l.shift(a, third.slot); err != nil {
		return err
	}
	if err := l.shift(b, a.slot); err != nil {
		return err
	}
	a.slot = third.slot
	return l.shift(a, b.slot)
}

// shift moves what src shows.
func (l *local) shift(src spot, to slot) error {
	move := Op{Kind: KindMove, Parent: to.home, Name: to.name}
	switch src.row.Kind {
	case rowDir:
		return l.group(src.slot, move)
	case rowLoser: // becomes a file of its own
		return l.detach(src.row, to, src.row.entry("", "").Version)
	}
	return l.on(src.row.bearer(), move)
}

// checkCycle refuses to put the directory src inside itself.
func (l *local) checkCycle(src, dst spot) error {
	if src.row.Kind != rowDir {
		return nil
	}
	for id := dst.home; id != Root; {
		if id == src.row.ID {
			return ErrCycle
		}
		n, err := loadNode(l.tx, id)
		if err != nil {
			return err
		}
		id = n.View.Home
	}
	return nil
}

// inside reports whether the path p lies below dir.
func inside(dir, p string) bool {
	return strings.HasPrefix("/"+strings.Trim(p, "/"), "/"+strings.Trim(dir, "/")+"/")
}
