package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
)

// ListAt calls f with what the directory path held at when, in the order of names
// as bytes, beginning after the name after (from the start where it is empty),
// until f returns false. It reads a page at a time; f may use the tree. Errors are
// those of [Tree.LookupAt].
func (t *Tree) ListAt(r store.Reader, path string, when time.Time, after string, f func(Entry) bool) error {
	names, err := split(path)
	if err != nil {
		return fmt.Errorf("tree: list at: %w", err)
	}
	at := instant(when)
	dir, err := resolveAt(r, names, at)
	if err == nil && dir.row.Kind != rowDir {
		err = ErrNotDir
	}
	if err == nil {
		m := merge{r: r, home: dir.row.ID, at: at}
		m.now.last, m.then.last = after, after
		err = m.run("/"+strings.Join(names, "/"), f)
	}
	if err != nil {
		return fmt.Errorf("tree: list %s at %s: %w", path, when.Format(time.RFC3339), err)
	}
	return nil
}

// named is what is known of one name: its first row now, or its first past row
// that had not ended.
type named struct {
	name  string
	key   []byte // of the row
	i     interval
	start store.Time // of the row that is shown now, where it is kept
}

// pages hands out names, one page after another.
type pages struct {
	last string // name up to which everything was read
	done bool
	read []named
}

// merge goes through the rows of a directory and its past rows side by side.
type merge struct {
	r    store.Reader
	home store.FileID
	at   store.Time
	now  pages
	then pages
}

func (m *merge) run(dir string, f func(Entry) bool) error {
	for {
		if err := errors.Join(m.fill(&m.now, m.readNow), m.fill(&m.then, m.readThen)); err != nil {
			return err
		}
		if len(m.now.read) == 0 && len(m.then.read) == 0 {
			return nil
		}
		found, ok, err := m.next()
		if err != nil {
			return err
		}
		if ok && !f(found.i.row.entry(dir, found.name)) {
			return nil
		}
	}
}

// next takes the first name, which may have shown nothing.
func (m *merge) next() (found named, ok bool, err error) {
	now, then := m.now.read, m.then.read
	switch {
	case len(now) == 0 || len(then) > 0 && then[0].name < now[0].name:
		found, m.then.read = then[0], then[1:]
		return found, found.i.to != 0 && found.i.from <= m.at, nil
	case len(then) == 0 || now[0].name < then[0].name:
		found, m.now.read = now[0], now[1:]
	default:
		found, m.now.read, m.then.read = now[0], now[1:], then[1:]
		if then[0].i.to != 0 {
			return then[0], then[0].i.from <= m.at, nil
		}
		found.start = then[0].start
	}
	if found.start == 0 {
		found.start, err = startOf(m.r, found.key, &found.i.row)
	}
	return found, found.start <= m.at, err
}

// fill reads the next page when the last one is used up.
func (m *merge) fill(p *pages, read func(p *pages) error) error {
	for len(p.read) == 0 && !p.done {
		if err := read(p); err != nil {
			return err
		}
	}
	return nil
}

// readNow reads the first rows of the names that follow.
func (m *merge) readNow(p *pages) error {
	from := key(keyRow, m.home[:], []byte(p.last))
	if p.last != "" {
		from = append(from, 1) // after every row of last: names hold no NUL
	}
	var bad error
	p.read, p.done = nil, true
	err := m.r.Scan(from, end(key(keyRow, m.home[:])), func(k, v []byte) bool {
		name, _ := rowParts(k)
		if name == p.last {
			return true
		}
		n := named{name: name, key: slices.Clone(k)}
		bad = decode(v, &n.i.row)
		p.last, p.read = name, append(p.read, n)
		p.done = bad == nil && len(p.read) < page
		return p.done
	})
	return errors.Join(err, bad)
}

// patience is how many past rows of one name are passed over before a fresh scan
// leaps over the rest.
const patience = 16

// readThen reads, of the names that follow, what each showed first of all that
// had not ended.
func (m *merge) readThen(p *pages) error {
	from := key(keyPast, m.home[:], []byte(p.last))
	if p.last != "" {
		from = append(from, 1)
	}
	p.read = nil
	for from != nil {
		var err error
		if from, err = m.scanThen(p, from); err != nil {
			return err
		}
	}
	return nil
}

// scanThen is one scan of readThen. It returns where the next one begins, if one
// is needed to leap over many rows of one name.
func (m *merge) scanThen(p *pages, from []byte) (leap []byte, err error) {
	var bad error
	passed, of := 0, ""
	p.done = true
	err = m.r.Scan(from, end(key(keyPast, m.home[:])), func(k, v []byte) bool {
		name, to := pastParts(k)
		if name != of {
			passed, of = 0, name
		}
		if name == p.last || to <= m.at {
			if passed++; passed > patience {
				leap = m.leap(name, name == p.last)
			}
			return leap == nil
		}
		n := named{name: name}
		n.i, n.start, bad = parsePast(k, v)
		p.last, p.read = name, append(p.read, n)
		p.done = bad == nil && len(p.read) < page
		return p.done
	})
	return leap, errors.Join(err, bad)
}

// leap returns the key after all past rows of a name, or after those that had
// ended.
func (m *merge) leap(name string, all bool) []byte {
	prefix := pastPrefix(m.home, name)
	if all {
		return end(prefix)
	}
	return append(prefix, u64(uint64(m.at)+1)...)
}
