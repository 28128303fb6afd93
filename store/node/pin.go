package node

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// maxPins bounds the pins of one machine.
const maxPins = 1024

// pinsEvery is how often a machine looks whether all is here that it has pinned: what
// came while it was off, or was moved to below a pin.
const pinsEvery = 10 * time.Minute

// ErrNotPinned reports a path that was not pinned itself.
var ErrNotPinned = errors.New("not pinned")

// Pin is a file or directory of which this machine keeps a copy whatever the placement
// says, with all that is below it, also what comes later.
type Pin struct {
	// Path is where it is now; empty when it has gone.
	Path string `json:"path"`
	// Files and Bytes are what is at and below it; Missing counts the files that are not
	// yet whole on this machine.
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	Missing int64 `json:"missing"`
}

// pins are the files and directories pinned, by their IDs: a pin follows what it names
// when that is moved.
type pins map[store.FileID]string // the path at the time

func pinKey(id store.FileID) []byte { return append([]byte{store.PrefixNode, 'p'}, id[:]...) }

// pinnedKey is there for each version that this machine keeps for a pin alone.
func pinnedKey(d store.Dot) []byte {
	k := append([]byte{store.PrefixNode, 'P'}, d.Machine[:]...)
	return binary.BigEndian.AppendUint64(k, d.Seq)
}

// keptForPin reports whether a version is kept here for a pin. It runs alone with the core.
func (c *core) keptForPin(d store.Dot) bool {
	if len(c.pins) == 0 {
		return false
	}
	_, err := c.m.kv.Get(pinnedKey(d))
	return err == nil
}

// pinRemoved says that a version is shown no more.
func (c *core) pinRemoved(tx store.Txn, d store.Dot) error {
	if len(c.pins) == 0 {
		return nil
	}
	return tx.Delete(pinnedKey(d))
}

// loadPins reads what is pinned.
func loadPins(r store.Reader) (pins, error) {
	ps := pins{}
	err := r.Scan([]byte{store.PrefixNode, 'p'}, []byte{store.PrefixNode, 'p' + 1}, func(k, v []byte) bool {
		if len(k) == 2+len(store.FileID{}) {
			ps[store.FileID(k[2:])] = string(v)
		}
		return true
	})
	return ps, err
}

// pinned reports whether a file is pinned or lies below what is.
func (c *core) pinned(r store.Reader, id store.FileID) bool {
	if len(c.pins) == 0 {
		return false
	}
	if _, ok := c.pins[id]; ok {
		return true
	}
	home, err := c.m.tree.Home(r, id)
	for depth := 0; err == nil && depth < 4096; depth++ { // deeper than any path
		if _, ok := c.pins[home]; ok {
			return true
		}
		if home == tree.Root {
			return false
		}
		home, err = c.m.tree.Parent(r, home)
	}
	return false
}

// pinAdded queues a version that this machine keeps only because it is pinned.
func (c *core) pinAdded(tx store.Txn, now time.Time, ev tree.Event) error {
	if !c.pinned(tx, ev.File) {
		return nil
	}
	if err := tx.Set(pinnedKey(ev.Dot), nil); err != nil {
		return err
	}
	a := replicate.Assignment{Dot: ev.Dot, File: ev.File, Content: ev.Content, Holders: append(slices.Clone(ev.Holders), c.m.ID())}
	return c.copying.Assign(tx, now, a)
}

// Pin makes this machine keep a copy of p and of all that is and comes below it.
func (m *Machine) Pin(ctx context.Context, p string) error {
	e, err := m.drive.Stat(p)
	if err != nil {
		return err
	}
	cerr := m.core.call(ctx, func() {
		if _, ok := m.core.pins[e.ID]; !ok && len(m.core.pins) >= maxPins {
			err = fmt.Errorf("node: pin %s: more than %d pins", p, maxPins)
			return
		}
		if err = m.core.commit(func(tx store.Txn) error { return tx.Set(pinKey(e.ID), []byte(e.Path)) }); err == nil {
			m.core.pins[e.ID] = e.Path
		}
	})
	if err := errors.Join(err, cerr, m.core.sync()); err != nil {
		return err
	}
	return m.fetchPinned(ctx, e)
}

// Unpin takes a pin back. What is here because of it becomes cache when room is wanted.
// It fails with ErrNotPinned.
func (m *Machine) Unpin(ctx context.Context, p string) error {
	p, err := drive.Clean(p)
	if err != nil {
		return err
	}
	e, serr := m.drive.Stat(p)
	cerr := m.core.call(ctx, func() {
		id, ok := e.ID, false
		if serr == nil {
			_, ok = m.core.pins[id]
		}
		for pinned, path := range m.core.pins { // of what has gone
			if !ok && path == p && serr != nil {
				id, ok = pinned, true
			}
		}
		if !ok {
			err = fmt.Errorf("node: unpin %s: %w", p, ErrNotPinned)
			return
		}
		if err = m.core.commit(func(tx store.Txn) error { return tx.Delete(pinKey(id)) }); err == nil {
			delete(m.core.pins, id)
		}
	})
	if err := errors.Join(err, cerr); err != nil {
		return err
	}
	if serr == nil {
		if err := m.eachFile(ctx, e, m.letGo); err != nil {
			return err
		}
	}
	m.drive.Released()
	return m.core.sync()
}

// letGo takes files out of the queue that are there only for a pin.
func (m *Machine) letGo(ctx context.Context, batch []tree.Entry) (err error) {
	cerr := m.core.call(ctx, func() {
		err = m.core.commit(func(tx store.Txn) error {
			for _, e := range batch {
				if slices.Contains(e.Version.Holders, m.ID()) || m.core.pinned(tx, e.ID) {
					continue
				}
				if err := errors.Join(m.core.copying.Forget(tx, e.Version.Placed), tx.Delete(pinnedKey(e.Version.Placed))); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return errors.Join(err, cerr)
}

// fetchPinned queues what is missing here at and below e.
func (m *Machine) fetchPinned(ctx context.Context, e tree.Entry) error {
	return m.eachFile(ctx, e, func(ctx context.Context, batch []tree.Entry) error {
		batch = slices.DeleteFunc(batch, func(e tree.Entry) bool { return slices.Contains(e.Version.Holders, m.ID()) })
		if err := m.noteKept(ctx, batch); err != nil {
			return err
		}
		var missing []replicate.Assignment
		for _, e := range batch {
			if a := assignmentOf(e); !m.stays(a.Content) {
				a.Holders = append(slices.Clone(a.Holders), m.ID())
				missing = append(missing, a)
			}
		}
		return m.requeue(ctx, missing)
	})
}

// noteKept notes that versions are kept for a pin.
func (m *Machine) noteKept(ctx context.Context, batch []tree.Entry) (err error) {
	cerr := m.core.call(ctx, func() {
		err = m.core.commit(func(tx store.Txn) error {
			for _, e := range batch {
				if err := tx.Set(pinnedKey(e.Version.Placed), nil); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return errors.Join(err, cerr)
}

// stays reports whether all of c is here, and makes it a replica.
func (m *Machine) stays(c store.Content) bool {
	return m.keys.Walk(c, m.bodies.Get, func(p chunk.Part) error {
		if p.Absent || !m.drive.Hold(p.Ref) {
			return store.ErrNotFound
		}
		return nil
	}) == nil
}

// here reports whether all of c is here.
func (m *Machine) here(c store.Content) bool {
	return m.keys.Walk(c, m.bodies.Get, func(p chunk.Part) error {
		if p.Absent || !m.drive.Has(p.Ref) {
			return store.ErrNotFound
		}
		return nil
	}) == nil
}

// eachFile calls f with the files at and below e, some at a time.
func (m *Machine) eachFile(ctx context.Context, e tree.Entry, f func(context.Context, []tree.Entry) error) error {
	if !e.Dir {
		return f(ctx, []tree.Entry{e})
	}
	var batch []tree.Entry
	var inner error
	flush := func() {
		if inner == nil {
			inner = f(ctx, batch)
		}
		batch = nil
	}
	err := m.tree.Walk(m.kv, e.Path, func(e tree.Entry) bool {
		if !e.Dir {
			batch = append(batch, e)
		}
		if len(batch) == statusBatch {
			flush()
		}
		return inner == nil && ctx.Err() == nil
	})
	flush()
	return errors.Join(err, inner, ctx.Err())
}

// Pins returns what is pinned, by path.
func (m *Machine) Pins(ctx context.Context) (all []Pin, err error) {
	ids := map[store.FileID]string{}
	if err := m.core.call(ctx, func() {
		for id, p := range m.core.pins {
			ids[id] = p
		}
	}); err != nil {
		return nil, err
	}
	for id, then := range ids {
		e, ok := m.findPin(id, then)
		if !ok {
			all = append(all, Pin{Path: then})
			continue
		}
		p := Pin{Path: e.Path}
		err := m.eachFile(ctx, e, func(_ context.Context, batch []tree.Entry) error {
			for _, e := range batch {
				p.Files++
				p.Bytes += e.Version.Content.Size
				if !m.here(e.Version.Content) {
					p.Missing++
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Pin) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}

// findPin returns where what was pinned is now.
func (m *Machine) findPin(id store.FileID, then string) (tree.Entry, bool) {
	if e, err := m.drive.Stat(then); err == nil && e.ID == id {
		return e, true
	}
	var found tree.Entry
	ok := false
	err := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if ok = e.ID == id; ok {
			found = e
		}
		return !ok
	})
	return found, ok && err == nil
}

// keepPins sees to it, until ctx ends, that what is pinned is here.
func (m *Machine) keepPins(ctx context.Context) error {
	t := time.NewTicker(pinsEvery)
	defer t.Stop()
	for {
		ids := map[store.FileID]string{}
		if m.core.call(ctx, func() {
			for id, p := range m.core.pins {
				ids[id] = p
			}
		}) != nil {
			return nil
		}
		for id, then := range ids {
			if e, ok := m.findPin(id, then); ok {
				if err := m.fetchPinned(ctx, e); err != nil && ctx.Err() == nil {
					m.log.Warn("what is pinned cannot be looked at", "path", e.Path, "error", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func servePins(m *Machine, w http.ResponseWriter, r *http.Request) error {
	all, err := m.Pins(r.Context())
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, p := range all {
		_ = enc.Encode(p) // whoever asked may have gone
	}
	return nil
}

// Pin makes the machine keep a copy of p and of all that is and comes below it.
func (c *Client) Pin(ctx context.Context, p string) error { return c.order(ctx, "pin", "path", p) }

// Unpin takes a pin back.
func (c *Client) Unpin(ctx context.Context, p string) error { return c.order(ctx, "unpin", "path", p) }

// Pins calls f with what is pinned, by path.
func (c *Client) Pins(ctx context.Context, f func(Pin) error) error {
	body, err := c.do(ctx, http.MethodGet, "pins", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	return eachLine(body, f)
}
