package tree

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// Past is what a name led to for a while.
type Past struct {
	Entry // as it was
	// From and To say when; To is zero for what is there now.
	From, To time.Time
	// By is the operation that ended it.
	By store.Dot
	// Why is how it ended.
	Why Ending
}

// until is the last reading of a clock that counts as when.
func until(when time.Time) store.Time {
	return store.TimeAt(when.Add(time.Millisecond)) - 1
}

// began returns since when a row that is shown has been as it is.
func began(r store.Reader, found row) (store.Time, error) {
	n, err := loadNode(r, found.ID)
	return max(n.Place.At.Time, found.At.Time), err
}

// History calls f with what path led to, newest first: what is there now, if there is
// something, and then what was there before, as far back as it is kept. The
// directory of path may be gone, too. It fails with store.ErrNotFound when path never
// led to anything.
func (t *Tree) History(r store.Reader, path string, f func(Past) bool) error {
	err := t.history(r, path, f)
	if err != nil {
		return fmt.Errorf("tree: history %s: %w", path, err)
	}
	return nil
}

func (t *Tree) history(r store.Reader, path string, f func(Past) bool) error {
	at, err := everAt(r, path)
	if err != nil {
		return err
	}
	known := false
	if found, err := firstRow(r, at.home, at.name); err == nil {
		since, err := began(r, found)
		if err != nil {
			return err
		}
		known = true
		if !f(Past{Entry: found.entryAt(path), From: since.Wall()}) {
			return nil
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	var all []past
	err = eachPast(r, at, 0, func(p past, _ []byte) bool { all = append(all, p); return true })
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(all) {
		known = true
		if !f(p.shown(path)) {
			return nil
		}
	}
	if !known {
		return store.ErrNotFound
	}
	return nil
}

func (p *past) shown(path string) Past {
	return Past{
		Entry: p.Row.entryAt(path), From: p.Began.Wall(), To: p.End.Wall(),
		By: store.Dot{Machine: p.By.Machine, Seq: p.By.Seq}, Why: p.Why,
	}
}

func (r *row) entryAt(p string) Entry {
	e := r.entry("", "")
	e.Path = path.Clean("/" + p)
	return e
}

// everAt returns the slot of a path whose directories need only have been there once.
func everAt(r store.Reader, path string) (slot, error) {
	names, err := split(path)
	if err != nil || len(names) == 0 {
		return slot{}, errors.Join(err, rootError(len(names)))
	}
	home := Root
	for _, name := range names[:len(names)-1] {
		found, err := firstRow(r, home, name)
		if errors.Is(err, store.ErrNotFound) || err == nil && found.Kind != rowDir {
			err = store.ErrNotFound
			if perr := eachPast(r, slot{home, name}, 0, func(p past, _ []byte) bool {
				if p.Row.Kind == rowDir {
					found, err = p.Row, nil
				}
				return true
			}); perr != nil {
				return slot{}, perr
			}
		}
		if err != nil {
			return slot{}, err
		}
		home = found.ID
	}
	return slot{home, names[len(names)-1]}, nil
}

func rootError(n int) error {
	if n == 0 {
		return ErrRoot
	}
	return nil
}

// rowAt returns what a name led to at t.
func rowAt(r store.Reader, s slot, t store.Time) (best row, err error) {
	var bestTail []byte
	take := func(found row, tail []byte) {
		if bestTail == nil || bytes.Compare(tail, bestTail) < 0 {
			best, bestTail = found, bytes.Clone(tail)
		}
	}
	from := rowPrefix(s.home, s.name)
	var bad error
	err = r.Scan(from, end(from), func(k, v []byte) bool {
		var found row
		if bad = decode(v, &found); bad != nil {
			return false
		}
		since, e := began(r, found)
		if bad = e; bad != nil {
			return false
		}
		if since <= t {
			_, tail := splitRow(k)
			take(found, tail)
		}
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return best, err
	}
	err = eachPast(r, s, t, func(p past, tail []byte) bool {
		if p.Began <= t {
			take(p.Row, tail)
		}
		return true
	})
	if err == nil && bestTail == nil {
		err = store.ErrNotFound
	}
	return best, err
}

// homeAt returns the directory that names led to at t.
func homeAt(r store.Reader, names []string, t store.Time) (store.FileID, error) {
	home := Root
	for _, name := range names {
		found, err := rowAt(r, slot{home, name}, t)
		if err != nil {
			return home, err
		}
		if found.Kind != rowDir {
			return home, ErrNotDir
		}
		home = found.ID
	}
	return home, nil
}

// LookupAt returns what path led to at an instant, as far as that is kept. It fails as
// [Tree.Lookup] does.
func (t *Tree) LookupAt(r store.Reader, path string, when time.Time) (Entry, error) {
	names, err := split(path)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup: %w", err)
	}
	if len(names) == 0 {
		return t.Lookup(r, path)
	}
	last := len(names) - 1
	home, err := homeAt(r, names[:last], until(when))
	var found row
	if err == nil {
		found, err = rowAt(r, slot{home, names[last]}, until(when))
	}
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup %s: %w", path, err)
	}
	return found.entryAt(path), nil
}

// ListAt is [Tree.List] as it would have been at an instant.
func (t *Tree) ListAt(r store.Reader, path string, when time.Time, after string, f func(Entry) bool) error {
	names, err := split(path)
	var home store.FileID
	if err == nil {
		home, err = homeAt(r, names, until(when))
	}
	for more := err == nil; more; {
		var next []string
		if next, err = namesAfter(r, home, after); err != nil || len(next) == 0 {
			break
		}
		for _, name := range next {
			after = name
			found, ferr := rowAt(r, slot{home, name}, until(when))
			if errors.Is(ferr, store.ErrNotFound) {
				continue
			}
			if err = ferr; err != nil || !f(found.entryAt(strings.Join(append(slices.Clone(names), name), "/"))) {
				more = false
				break
			}
		}
	}
	if err != nil {
		return fmt.Errorf("tree: list %s: %w", path, err)
	}
	return nil
}

// namesAfter returns some names of a directory behind after, present and past ones, in
// order and without a gap.
func namesAfter(r store.Reader, home store.FileID, after string) ([]string, error) {
	var names []string
	limit := "" // where one of the scans stopped: behind it the other knows no more
	for _, kind := range []byte{keyRow, keyPast} {
		from := key(kind, home[:], []byte(after))
		if after != "" {
			from = append(from, 1)
		}
		n := 0
		last := ""
		err := r.Scan(from, end(key(kind, home[:])), func(k, _ []byte) bool {
			rest := k[2+16:]
			name := string(rest[:bytes.IndexByte(rest, 0)])
			if name == last {
				return true
			}
			if n++; n > page {
				if limit == "" || last < limit {
					limit = last
				}
				return false
			}
			last = name
			names = append(names, name)
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if limit != "" {
		names = slices.DeleteFunc(names, func(n string) bool { return n > limit })
	}
	return names, nil
}

// Restore makes path what it was at an instant. A file that has other bytes gets a new
// version with those of then; what was removed comes back, a directory with all that
// lay in it, by one operation. Where the name is another's now, the new one is beside
// it, under a name that says so; Restore returns the path. It fails with
// store.ErrNotFound when nothing was there, or the directory of path is gone, and with
// ErrExist when it is there unchanged.
func (t *Tree) Restore(tx store.Txn, path string, when time.Time, now time.Time) (string, []Op, []Event, error) {
	return t.restore(tx, path, now, func(r store.Reader, at slot) (row, error) { return rowAt(r, at, until(when)) })
}

// Undo takes back the last change of what path leads to: see [Tree.Restore].
func (t *Tree) Undo(tx store.Txn, path string, now time.Time) (string, []Op, []Event, error) {
	return t.restore(tx, path, now, func(r store.Reader, at slot) (found row, err error) {
		err = store.ErrNotFound
		var last store.Time
		var lastTail []byte
		perr := eachPast(r, at, 0, func(p past, tail []byte) bool {
			if p.End > last || bytes.Compare(tail, lastTail) < 0 {
				found, last, lastTail, err = p.Row, p.End, bytes.Clone(tail), nil
			}
			return true
		})
		return found, errors.Join(err, perr)
	})
}

func (t *Tree) restore(tx store.Txn, p string, now time.Time, choose func(store.Reader, slot) (row, error)) (string, []Op, []Event, error) {
	got := path.Clean("/" + p)
	ops, events, err := t.do(tx, now, "restore", p, func(l *local) error {
		at, err := everAt(l.tx, p)
		if err != nil {
			return err
		}
		was, err := choose(l.tx, at)
		if err != nil {
			return err
		}
		if at.home != Root {
			if _, err := group(l.tx, at.home); err != nil {
				return fmt.Errorf("its directory %s is gone, restore that first: %w", path.Dir(got), err)
			}
		}
		now, err := firstRow(l.tx, at.home, at.name)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return err
		case now.ID == was.ID && now.Kind == rowFile && was.Kind == rowFile:
			if now.Content == was.Content {
				return ErrExist
			}
			return l.on(was.ID, Op{Kind: KindContent, Version: was.entry("", "").Version})
		case now.ID == was.ID:
			return ErrExist
		default:
			at.name = besides(at.name, l.now)
			got = path.Join(path.Dir(got), at.name)
		}
		return l.revive(was, at)
	})
	return got, ops, events, err
}

// revive brings a row back at a place that is free.
func (l *local) revive(was row, at slot) error {
	n, err := loadNode(l.tx, was.ID)
	if err != nil {
		return err
	}
	v := was.entry("", "").Version
	switch {
	case was.Kind == rowLoser || n.View.Plain && !n.Dir: // a version, or a file that lives on elsewhere
		return l.create(at, false, v)
	case n.View.Plain:
		return fmt.Errorf("%w: the directory was moved, not removed", ErrExist)
	}
	if err := l.on(was.ID, Op{Kind: KindMove, Parent: at.home, Name: at.name}); err != nil {
		return err
	}
	if n, err = loadNode(l.tx, was.ID); err != nil || n.Dir || n.version(n.View.Winner).Content == was.Content {
		return err
	}
	return l.on(was.ID, Op{Kind: KindContent, Version: v})
}

// besides is the name of what is restored while another has its name.
func besides(name string, now time.Time) string {
	ext := path.Ext(name)
	if ext == name || len(ext) > 32 {
		ext = ""
	}
	tag := now.UTC().Format(" (restored 2006-01-02 150405)")
	stem := strings.TrimSuffix(name, ext)
	for len(stem)+len(tag)+len(ext) > maxName {
		stem = strings.ToValidUTF8(stem[:len(stem)-1], "")
	}
	return stem + tag + ext
}

// PastContents calls f with what all past rows hold, until f returns false.
func (t *Tree) PastContents(r store.Reader, f func(store.Content) bool) error {
	from := key(keyPast)
	var bad error
	err := r.Scan(from, end(from), func(_, v []byte) bool {
		var p past
		if bad = wire.dec.Unmarshal(v, &p); bad != nil {
			return false
		}
		return p.Row.Content.Size == 0 || f(p.Row.Content)
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: past contents: %w", err)
	}
	return nil
}

// ForgetPast forgets at most limit past rows that ended before an instant, the oldest
// first, and returns how many.
func (t *Tree) ForgetPast(tx store.Txn, before time.Time, limit int) (forgotten int, err error) {
	var doomed [][]byte
	err = tx.Scan(key(keyPastTime), key(keyPastTime, u64(uint64(store.TimeAt(before)))), func(k, _ []byte) bool {
		doomed = append(doomed, bytes.Clone(k))
		return len(doomed) < limit
	})
	var sum pastTotals
	for _, k := range doomed {
		if err != nil {
			break
		}
		rowKey := append(key(keyRow), k[2+8:]...)
		pk := pastKey(rowKey, store.Time(be64(k[2:])))
		p, gerr := get[past](tx, pk)
		if gerr == nil {
			sum.Rows--
			sum.Bytes -= p.Row.Content.Size
		}
		err = errors.Join(tx.Delete(k), tx.Delete(pk))
	}
	if err == nil {
		err = addPast(tx, sum)
	}
	if err != nil {
		return 0, fmt.Errorf("tree: forget: %w", err)
	}
	return len(doomed), nil
}

// PastTotals returns how many past rows there are, the sum of the sizes of what they
// hold, and when the oldest of them ended.
func (t *Tree) PastTotals(r store.Reader) (rows, size int64, oldest time.Time, err error) {
	sum, err := loadPast(r)
	if err != nil {
		return 0, 0, oldest, fmt.Errorf("tree: past: %w", err)
	}
	err = r.Scan(key(keyPastTime), end(key(keyPastTime)), func(k, _ []byte) bool {
		oldest = store.Time(be64(k[2:])).Wall()
		return false
	})
	return sum.Rows, sum.Bytes, oldest, err
}
