package tree

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// ErrNoConflict reports a path that leads to something other than a conflict copy.
var ErrNoConflict = errors.New("not a conflict copy")

// Conflict is a conflict copy: a name that exists only because of a conflict.
type Conflict struct {
	Entry
	// Of is the path that it would have, had nobody else changed what is there or taken
	// the name. There need not be anything now.
	Of string
	// Written is when its bytes were written, by the clock of who wrote them;
	// Version.Dot.Machine is that machine.
	Written time.Time
}

// Conflict returns the conflict copy that is shown at p. It fails with
// store.ErrNotFound, ErrNotDir, ErrBadName, and with ErrNoConflict for everything else.
func (t *Tree) Conflict(r store.Reader, p string) (Conflict, error) {
	names, err := split(p)
	if err != nil {
		return Conflict{}, fmt.Errorf("tree: conflict: %w", err)
	}
	found, _, err := resolve(r, names)
	if err == nil && found.Kind != rowPlaced && found.Kind != rowLoser {
		err = ErrNoConflict
	}
	var n node
	if err == nil {
		n, err = loadNode(r, found.bearer())
	}
	if err != nil {
		return Conflict{}, fmt.Errorf("tree: %s: %w", p, err)
	}
	c := Conflict{Entry: found.entry("", strings.Join(names, "/")), Written: found.At.Time.Wall()}
	c.Of = path.Join(path.Dir(c.Path), n.Place.Name)
	return c, nil
}

// fileType returns the type bits of a mode; a mode without any is a regular file's.
func fileType(mode uint32) uint32 {
	if mode&typeBits == 0 {
		return 0o100000
	}
	return mode & typeBits
}

// Keep makes the conflict copy at p what its path Of shows: a new version of what is
// there, with the copy's modification time, or a new file where nothing is. The copy
// goes; what Of showed before stays in the past. What is there must be a file of the
// copy's kind (the type bits of Mode), else it fails with ErrExist.
func (t *Tree) Keep(tx store.Txn, p string, now time.Time) ([]Op, []Event, error) {
	c, err := t.Conflict(tx, p)
	if err != nil {
		return nil, nil, err
	}
	old, err := t.Lookup(tx, c.Of)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, nil, err
	case old.Dir || fileType(old.Version.Mode) != fileType(c.Version.Mode):
		return nil, nil, fmt.Errorf("tree: keep %s: %s: %w", p, c.Of, ErrExist)
	}
	// The copy goes first: of two versions with the same bytes one is not shown, and
	// could not be removed.
	ops, events, err := t.Remove(tx, p, false, now)
	if err != nil {
		return nil, nil, err
	}
	more, after, err := t.Put(tx, c.Of, c.Version, now)
	return append(ops, more...), append(events, after...), err
}
