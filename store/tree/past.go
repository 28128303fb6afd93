package tree

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// Ending says why a name ceased to lead to something.
type Ending uint8

const (
	// Replaced says that another version, or something else, took the name.
	Replaced Ending = iota + 1
	// Removed says that it was removed, or the directory that it lay in.
	Removed
	// Moved says that it went to another name or directory.
	Moved
)

// String returns the word for people; "present" for the zero Ending.
func (e Ending) String() string {
	switch e {
	case Replaced:
		return "replaced"
	case Removed:
		return "removed"
	case Moved:
		return "moved"
	}
	return "present"
}

// pastRow is what a name showed from Began until the time in the row's key.
type pastRow struct {
	_     struct{} `cbor:",toarray"`
	Row   row
	Began store.Time
	By    dotWire
	Why   Ending
	Also  []store.FileID // directories that were shown as one with it and went too
}

// pastTotals are the sums over all past rows.
type pastTotals struct {
	_     struct{} `cbor:",toarray"`
	Rows  int64
	Bytes int64
}

// present stands for the end of what has not ended. Under it a name may hold
// since when it shows what it shows, where the row cannot tell: see startOf.
const present = store.Time(math.MaxUint64)

// pastPrefix begins the keys of what a name showed. Like rows they sort by name.
func pastPrefix(home store.FileID, name string) []byte {
	return append(key(keyPast, home[:], []byte(name)), 0)
}

func pastKey(home store.FileID, name string, end store.Time) []byte {
	return append(pastPrefix(home, name), u64(uint64(end))...)
}

// dueKey orders past rows of all names by their ends.
func dueKey(home store.FileID, name string, end store.Time) []byte {
	return key(keyDue, u64(uint64(end)), home[:], []byte(name))
}

// pastParts takes name and end out of a past row's key.
func pastParts(k []byte) (name string, end store.Time) {
	n := len(k) - 8
	return string(k[2+16 : n-1]), store.Time(be64(k[n:]))
}

// rowChange is what one transaction did to one row.
type rowChange struct {
	key           string
	before, after []byte     // nil where there is no row
	began         store.Time // before, without looking at what is kept of the name
	by            mark       // the last operation that touched it
}

// recorder gathers what happens to rows, so that what is kept of the past
// follows from the difference between before and after alone.
type recorder struct {
	by      mark       // the operation that is being applied
	latest  store.Time // beyond which a stamp comes from a clock that is wrong
	changes []rowChange
	index   map[string]int
	claims  map[slot]int // how many nodes claim a name, where that is known
}

func newRecorder() recorder {
	return recorder{index: map[string]int{}, claims: map[slot]int{}}
}

// enter makes op the operation that is being applied. One from a clock far ahead
// counts as made as late as may be, lest what it ended seem to go on for years.
func (p *recorder) enter(op *Op, now time.Time) {
	p.by, p.latest = op.mark(), store.TimeAt(now.Add(maxAhead))
	p.by.Time = min(p.by.Time, p.latest)
}

// touched notes that a row changes. before may be nil, and so may after.
func (w *work) touched(k, before, after []byte) error {
	i, ok := w.past.index[string(k)]
	if !ok {
		i = len(w.past.changes)
		c := rowChange{key: string(k), before: before}
		if before != nil {
			var err error
			if c.began, err = startOfBytes(w.tx, k, before); err != nil {
				return err
			}
		}
		w.past.index[c.key] = i
		w.past.changes = append(w.past.changes, c)
	}
	w.past.changes[i].after = after
	w.past.changes[i].by = w.past.by
	return nil
}

// startOf returns since when the row k leads to what it shows, going by the
// operations that brought it: its placement and its version. Where that is not
// so, because it was hidden or removed in between, or because an operation
// changed nothing that matters, the name has a key with the end present.
func startOf(r store.Reader, k []byte, found *row) (store.Time, error) {
	name, class := rowParts(k)
	switch class {
	case classDir:
		n, err := loadNode(r, found.ID)
		return n.Place.At.Time, err
	case classFile:
		tail := k[2+16+len(name)+2:]
		return max(found.At.Time, store.Time(^be64(tail))), nil
	}
	return found.At.Time, nil
}

func startOfBytes(r store.Reader, k, v []byte) (store.Time, error) {
	var found row
	if err := decode(v, &found); err != nil {
		return 0, err
	}
	return startOf(r, k, &found)
}

// keepPast writes what the names that changed showed before, where they show
// something else now. One pass over the changes; all of one name lie together.
func (w *work) keepPast() error {
	changes := w.past.changes
	slices.SortFunc(changes, func(a, b rowChange) int { return strings.Compare(a.key, b.key) })
	for len(changes) > 0 {
		s := slotOf(changes[0].key)
		n := 1
		for n < len(changes) && slotOf(changes[n].key) == s {
			n++
		}
		if err := w.keepName(s, changes[:n]); err != nil {
			return fmt.Errorf("keep past: %w", err)
		}
		changes = changes[n:]
	}
	return nil
}

func slotOf(rowKey string) slot {
	name, _ := rowParts([]byte(rowKey))
	return slot{home: store.FileID([]byte(rowKey[2:18])), name: name}
}

// appearance is the row that a name shows.
type appearance struct {
	row
	began store.Time
}

func (a *appearance) same(b *appearance) bool {
	return a.ID == b.ID && (a.Kind == rowDir) == (b.Kind == rowDir) && a.Content == b.Content
}

// keepName does keepPast for one name, given all changes of its rows.
func (w *work) keepName(s slot, changes []rowChange) error {
	changes, err := w.whole(s, changes)
	if err != nil {
		return err
	}
	var was, is *appearance
	var by mark
	var also []store.FileID
	for i := range changes {
		c := &changes[i]
		if c.by.compare(by) > 0 {
			by = c.by
		}
		if c.before != nil {
			a := appearance{began: c.began}
			if err := decode(c.before, &a.row); err != nil {
				return err
			}
			if was == nil {
				was = &a
			} else if a.Kind == rowDir && c.after == nil {
				also = append(also, a.ID)
			}
		}
		if c.after != nil && is == nil {
			a := appearance{}
			if err := decode(c.after, &a.row); err != nil {
				return err
			}
			if a.began, err = startOf(w.tx, []byte(c.key), &a.row); err != nil {
				return err
			}
			is = &a
		}
	}
	start := by.Time
	switch {
	case was == nil && is == nil:
		return nil
	case was != nil && is != nil && was.same(is):
		return w.keepStart(s, was.began, is.began)
	case was != nil:
		if start, err = w.keepRow(s, was, is == nil, by, also); err != nil {
			return err
		}
	}
	if is != nil && (is.began < start || is.began > max(start, w.past.latest)) {
		return w.tx.Set(pastKey(s.home, s.name, present), u64(uint64(start)))
	}
	return nil
}

// whole adds the rows of a name that did not change, in the order of keys. Mostly
// it is known that there are none.
func (w *work) whole(s slot, changes []rowChange) ([]rowChange, error) {
	left := 0
	for _, c := range changes {
		if _, class := rowParts([]byte(c.key)); class != classCopy && c.after != nil {
			left++
		}
	}
	if n, ok := w.past.claims[s]; ok && n == left && !strings.Contains(s.name, conflictTag) {
		return changes, nil
	}
	all := slices.Clone(changes)
	from := rowPrefix(s.home, s.name)
	err := w.tx.Scan(from, end(from), func(k, v []byte) bool {
		if _, ok := w.past.index[string(k)]; !ok {
			b := slices.Clone(v)
			all = append(all, rowChange{key: string(k), before: b, after: b})
		}
		return true
	})
	for i := range all[len(changes):] {
		c := &all[len(changes)+i]
		if err != nil {
			return nil, err
		}
		c.began, err = startOfBytes(w.tx, []byte(c.key), c.before)
	}
	slices.SortFunc(all, func(a, b rowChange) int { return strings.Compare(a.key, b.key) })
	return all, err
}

// keepStart keeps since when a name shows what it goes on showing.
func (w *work) keepStart(s slot, was, is store.Time) error {
	if was == is {
		return nil
	}
	k := pastKey(s.home, s.name, present)
	if _, err := w.tx.Get(k); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return w.tx.Set(k, u64(uint64(was)))
}

// keepRow writes a past row and returns when it ended: when by was made, but
// after it began and after everything else that the name has shown.
func (w *work) keepRow(s slot, was *appearance, gone bool, by mark, also []store.FileID) (store.Time, error) {
	prefix := pastPrefix(s.home, s.name)
	last, v, err := w.tx.Last(prefix, end(prefix))
	if err == nil && len(v) == 8 && store.Time(be64(last[len(last)-8:])) == present {
		was.began = store.Time(be64(v))
		if err := w.tx.Delete(last); err != nil {
			return 0, err
		}
		last, _, err = w.tx.Last(prefix, last)
	}
	ended := max(by.Time, after(was.began))
	switch {
	case err == nil:
		_, before := pastParts(last)
		ended = max(ended, after(before))
	case !errors.Is(err, store.ErrNotFound):
		return 0, err
	}
	ended = min(ended, present-1)
	p := pastRow{Row: was.row, Began: was.began, By: dotWire{Machine: by.Machine, Seq: by.Seq}, Why: Replaced, Also: also}
	if gone {
		if p.Why, err = w.whyGone(s, &was.row); err != nil {
			return 0, err
		}
	}
	w.state.Past.Rows++
	w.state.Past.Bytes += was.Content.Size
	if err := w.tx.Set(dueKey(s.home, s.name, ended), nil); err != nil {
		return 0, err
	}
	return ended, put(w.tx, pastKey(s.home, s.name, ended), &p)
}

// whyGone tells whether what a name showed is shown elsewhere. Of a file with
// several names that is not told.
func (w *work) whyGone(s slot, was *row) (Ending, error) {
	n, err := loadNode(w.tx, was.ID)
	if err != nil {
		return Removed, err
	}
	if n.Linked { // the name is gone even where the file has another
		return Removed, nil
	}
	elsewhere := n.View.Home != s.home || n.Place.Name != s.name
	shown := n.View.Plain
	if was.Kind == rowLoser {
		shown = n.View.Plain && n.View.Winner == was.At || slices.Contains(n.View.Losers, was.At)
	}
	if shown && elsewhere {
		return Moved, nil
	}
	return Removed, nil
}

// PastVersions calls f with all versions that the past holds, until f returns false:
// what garbage collection must keep beside the present. A version comes as often as it
// is held. f must not change r.
func (t *Tree) PastVersions(r store.Reader, f func(Version) bool) error {
	from := key(keyPast)
	var bad error
	err := r.Scan(from, end(from), func(k, v []byte) bool {
		if _, ended := pastParts(k); ended == present {
			return true
		}
		var p pastRow
		if bad = decode(v, &p); bad != nil {
			return false
		}
		return p.Row.Kind == rowDir || f(p.Row.version())
	})
	if err = errors.Join(err, bad); err != nil {
		return fmt.Errorf("tree: past versions: %w", err)
	}
	return nil
}

// PastTotals returns the number of past rows, the sum of their sizes in bytes
// (equal bytes count every time), and when the oldest of them ended; zero where
// there is none. It is two short reads.
func (t *Tree) PastTotals(r store.Reader) (rows, bytes int64, oldest time.Time, err error) {
	s, err := loadState(r)
	if err == nil {
		from := key(keyDue)
		err = r.Scan(from, end(from), func(k, _ []byte) bool {
			oldest = store.Time(be64(k[len(from):])).Wall()
			return false
		})
	}
	if err != nil {
		return 0, 0, time.Time{}, fmt.Errorf("tree: past totals: %w", err)
	}
	return s.Past.Rows, s.Past.Bytes, oldest, nil
}

// ForgetPast drops at most limit past rows that ended before the millisecond of
// before, oldest first, and returns how many. Fewer than limit means that none is
// left. The time that it takes goes by limit alone.
func (t *Tree) ForgetPast(tx store.Txn, before time.Time, limit int) (forgotten int, err error) {
	if limit <= 0 {
		return 0, nil
	}
	forgotten, err = forgetPast(tx, store.TimeAt(before), limit)
	if err != nil {
		return 0, fmt.Errorf("tree: forget past: %w", err)
	}
	return forgotten, nil
}

func forgetPast(tx store.Txn, before store.Time, limit int) (int, error) {
	var due [][]byte
	err := tx.Scan(key(keyDue), key(keyDue, u64(uint64(before))), func(k, _ []byte) bool {
		due = append(due, slices.Clone(k))
		return len(due) < limit
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	s, err := loadState(tx)
	if err != nil {
		return 0, err
	}
	for _, d := range due {
		home, name := store.FileID(d[10:26]), string(d[26:])
		k := pastKey(home, name, store.Time(be64(d[2:])))
		p, err := get[pastRow](tx, k)
		if err != nil {
			return 0, err
		}
		s.Past.Rows--
		s.Past.Bytes -= p.Row.Content.Size
		if err := errors.Join(tx.Delete(k), tx.Delete(d)); err != nil {
			return 0, err
		}
	}
	return len(due), put(tx, key(keyState), &s)
}
