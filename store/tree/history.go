package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// Past is what a name led to for a while.
type Past struct {
	// Entry is what the name led to, as it was. Its Path is the one asked for.
	Entry
	// From and To say when, by the stamps of the operations that began and ended
	// it: whole milliseconds. To is zero for what is there now.
	From, To time.Time
	// By is the operation that ended it.
	By store.Dot
	// Why says how it ended; zero for what is there now.
	Why Ending
}

// interval is a Past as it is kept.
type interval struct {
	row      row
	from, to store.Time // to is present for what is there now
	by       store.Dot
	why      Ending
	also     []store.FileID
}

func (p *pastRow) interval(to store.Time) interval {
	by := store.Dot{Machine: p.By.Machine, Seq: p.By.Seq}
	return interval{row: p.Row, from: p.Began, to: to, by: by, why: p.Why, also: p.Also}
}

func (i *interval) past(path string) Past {
	p := Past{Entry: i.row.entry("", path), From: i.from.Wall(), By: i.by, Why: i.why}
	if i.to != present {
		p.To = i.to.Wall()
	}
	return p
}

// instant returns the last Time of the millisecond that t falls in, so that what
// was changed in it counts as done.
func instant(t time.Time) store.Time {
	switch ms := t.UnixMilli(); {
	case ms < 0:
		return 0
	case ms >= 1<<48:
		return present - 1
	}
	return store.TimeAt(t) | 0xffff
}

// shownNow returns what a name shows now. start, unless zero, is what is kept
// under the end present.
func shownNow(r store.Reader, home store.FileID, name string, start store.Time) (interval, error) {
	i := interval{to: present, from: start}
	from := rowPrefix(home, name)
	bad := store.ErrNotFound
	var at []byte
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		at = slices.Clone(k)
		bad = decode(v, &i.row)
		return false
	})
	if err = errors.Join(err, bad); err == nil && start == 0 {
		i.from, err = startOf(r, at, &i.row)
	}
	return i, err
}

// shownAt returns what a name showed at t, or store.ErrNotFound.
func shownAt(r store.Reader, home store.FileID, name string, t store.Time) (interval, error) {
	prefix := pastPrefix(home, name)
	var i interval
	var start store.Time
	var bad error
	err := r.Scan(append(pastPrefix(home, name), u64(uint64(t)+1)...), end(prefix), func(k, v []byte) bool {
		i, start, bad = parsePast(k, v)
		return false
	})
	if err = errors.Join(err, bad); err != nil {
		return interval{}, err
	}
	if i.to == 0 {
		if i, err = shownNow(r, home, name, start); err != nil {
			return interval{}, err
		}
	}
	if i.from > t {
		return interval{}, store.ErrNotFound
	}
	return i, nil
}

// parsePast reads what lies under a key of the past: an interval, or since when
// the name shows what it shows now.
func parsePast(k, v []byte) (i interval, start store.Time, err error) {
	_, to := pastParts(k)
	if to == present {
		if len(v) != 8 {
			return i, 0, lenError(len(v) + 1)
		}
		return i, store.Time(be64(v)), nil
	}
	var p pastRow
	if err := decode(v, &p); err != nil {
		return i, 0, fmt.Errorf("read past row: %w", err)
	}
	return p.interval(to), 0, nil
}

// resolveAt is resolve for what the directories showed at t.
func resolveAt(r store.Reader, names []string, t store.Time) (interval, error) {
	found := interval{row: row{ID: Root, Kind: rowDir}, to: present}
	for _, name := range names {
		if found.row.Kind != rowDir {
			return interval{}, ErrNotDir
		}
		var err error
		if found, err = shownAt(r, found.row.ID, name, t); err != nil {
			return interval{}, err
		}
	}
	return found, nil
}

// LookupAt returns what path led to at when, to the millisecond: what changed in
// the millisecond counts as changed. It goes by the stamps of changes, which may be
// up to a minute ahead of the clock where another machine's clock is. Attributes
// have no past of their own: they are as they were when the bytes were replaced.
// It fails with store.ErrNotFound, also for what was forgotten, with ErrNotDir or
// ErrBadName.
func (t *Tree) LookupAt(r store.Reader, path string, when time.Time) (Entry, error) {
	names, err := split(path)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup at: %w", err)
	}
	found, err := resolveAt(r, names, instant(when))
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup %s at %s: %w", path, when.Format(time.RFC3339), err)
	}
	return found.row.entry("", strings.Join(names, "/")), nil
}

// history calls f with all that a name has shown, newest first, until f returns
// false. It reads one interval at a time, however many there are.
func history(r store.Reader, home store.FileID, name string, f func(interval) bool) error {
	prefix := pastPrefix(home, name)
	cursor := end(prefix)
	var start store.Time
	if v, err := r.Get(pastKey(home, name, present)); err == nil && len(v) == 8 {
		start = store.Time(be64(v))
		cursor = pastKey(home, name, present)
	} else if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	now, err := shownNow(r, home, name, start)
	if err == nil && !f(now) {
		return nil
	}
	for err == nil || errors.Is(err, store.ErrNotFound) {
		k, v, err := r.Last(prefix, cursor)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		var i interval
		if err == nil {
			i, _, err = parsePast(k, v)
		}
		if err != nil || !f(i) {
			return err
		}
		cursor = k
	}
	return err
}

// spell is a directory that a path led to until some time.
type spell struct {
	home  store.FileID
	until interval // what ended it: the end of the directory or of one around it
}

// maxSpells bounds how many directories, one after another under one path, are
// looked through for what lay in them.
const maxSpells = 64

// spells returns the directories that names have led to, the present one first.
func spells(r store.Reader, names []string) ([]spell, error) {
	all := []spell{{home: Root, until: interval{to: present}}}
	for _, name := range names {
		var next []spell
		known := map[store.FileID]bool{}
		for _, s := range all {
			err := history(r, s.home, name, func(i interval) bool {
				if i.row.Kind != rowDir || known[i.row.ID] || i.from >= s.until.to {
					return true
				}
				known[i.row.ID] = true
				dir := spell{home: i.row.ID, until: i}
				if i.to > s.until.to {
					dir.until = s.until
				}
				next = append(next, dir)
				return len(next) < maxSpells
			})
			if err != nil {
				return nil, err
			}
		}
		all = next
	}
	return all, nil
}

// pasts calls f with all that names have led to, directory by directory, newest
// first in each, until f returns false.
func pasts(r store.Reader, names []string, f func(home store.FileID, i interval) bool) error {
	last := len(names) - 1
	dirs, err := spells(r, names[:last])
	more := true
	for _, s := range dirs {
		if err != nil || !more {
			break
		}
		err = history(r, s.home, names[last], func(i interval) bool {
			if i.from >= s.until.to {
				return true // came when the directory was no longer here
			}
			if i.to > s.until.to {
				i.to, i.by, i.why = s.until.to, s.until.by, s.until.why
			}
			more = f(s.home, i)
			return more
		})
	}
	return err
}

// History calls f with everything that path has led to as far as is remembered:
// what is there now, if anything, then what was, newest first, until f returns
// false. The directories around it may be gone. A directory that was renamed
// brings the past of its files along. Where several directories had the path one
// after another, what lay in them follows directory by directory. It fails with
// store.ErrNotFound where the path never led to anything. f must not change r.
func (t *Tree) History(r store.Reader, path string, f func(Past) bool) error {
	names, err := split(path)
	if err == nil && len(names) == 0 {
		err = ErrRoot
	}
	if err != nil {
		return fmt.Errorf("tree: history: %w", err)
	}
	any, full := false, "/"+strings.Join(names, "/")
	err = pasts(r, names, func(_ store.FileID, i interval) bool {
		any = true
		return f(i.past(full))
	})
	if err == nil && !any {
		err = store.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("tree: history %s: %w", full, err)
	}
	return nil
}
