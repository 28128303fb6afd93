package tree

import (
	"bytes"
	"errors"

	"github.com/aether-lan/aether/store"
)

// maxNames is how many changed names one call reports one by one.
const maxNames = 4096

// changedNames gathers the names of which a row was touched, and what they showed
// before.
type changedNames struct {
	before []shownName
	index  map[slot]bool
	more   bool // there are more than maxNames
}

type shownName struct {
	slot
	row []byte // as kept; nil where nothing was shown
}

// noted reports whether a row of the name may have been changed already.
func (c *changedNames) noted(s slot) bool { return c.more || c.index[s] }

// noteName is called before the row k is changed.
func (w *work) noteName(k []byte) error {
	c := &w.names
	name, _ := rowParts(k)
	s := slot{store.FileID(k[2:18]), name}
	if c.noted(s) {
		return nil
	}
	if len(c.before) == maxNames {
		c.more = true
		return nil
	}
	first, err := firstBytes(w.tx, s)
	if err != nil {
		return err
	}
	if c.index == nil {
		c.index = map[slot]bool{}
	}
	c.index[s] = true
	c.before = append(c.before, shownName{s, first})
	return nil
}

// reportNames adds the events of the names that show something else now.
func (w *work) reportNames() error {
	for _, b := range w.names.before {
		now, err := firstBytes(w.tx, b.slot)
		if err != nil {
			return err
		}
		if sameRow(b.row, now) {
			continue
		}
		if !sameBearer(b.row, now) {
			if err := w.entriesChanged(b.home); err != nil {
				return err
			}
		}
		if now == nil {
			now = b.row
		}
		var r row
		if err := decode(now, &r); err != nil {
			return err
		}
		w.events = append(w.events, Event{Kind: NameChanged, Dir: b.home, Name: b.name, File: r.ID})
	}
	if w.names.more {
		w.events = append(w.events, Event{Kind: NameChanged})
	}
	return nil
}

// bearing is the length of a row's last two fields, which say which of a file's
// names it is. Nobody sees that.
const bearing = 16 + 1

// sameRow reports whether two rows, as kept, look alike.
func sameRow(a, b []byte) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return bytes.Equal(a[:len(a)-bearing], b[:len(b)-bearing])
}

// firstBytes returns the row that is shown under a name, as kept, or nil.
func firstBytes(r store.Reader, s slot) (first []byte, err error) {
	err = scanRows(r, s, func(_, v []byte) bool {
		first = bytes.Clone(v)
		return false
	})
	return first, err
}

// scanRows calls f with the rows of one name, the one that is shown first.
func scanRows(r store.Reader, s slot, f func(k, v []byte) bool) error {
	from := rowPrefix(s.home, s.name)
	to := end(from)
	if b, ok := r.(*buffer); ok { // they will be asked for again
		if err := b.load(from, to); err != nil {
			return err
		}
	}
	return r.Scan(from, to, f)
}

// firstRow returns the row that is shown under a name.
func firstRow(r store.Reader, home store.FileID, name string) (found row, err error) {
	bad := store.ErrNotFound
	err = scanRows(r, slot{home, name}, func(_, v []byte) bool {
		bad = decode(v, &found)
		return false
	})
	return found, errors.Join(err, bad)
}
