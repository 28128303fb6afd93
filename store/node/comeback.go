package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/tree"
)

// A machine that was retired and comes back hears up to where its operations count.
// Later ones are void: it makes its tree anew without them, as all others have it, and
// then does again what they did. What has no place any more goes to
// /Recovered/MACHINE/DATE; nothing that was removed comes back under its own name.

// recoveredDir is where things go that have lost their place.
const recoveredDir = "/Recovered"

// Keys of a renewal that is under way: renewKey is there until the tree is whole again,
// and againKey has the path that the node of a void operation had.
func renewKey() []byte { return []byte{store.PrefixNode, 'r'} }

func againKey(n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{store.PrefixNode, 'u'}, n)
}

// voided notes that operations applied here are void. Of this machine's own it notes
// what they concerned, in the Txn in which it was heard.
func (c *core) voided(tx store.Txn, ev tree.Event) error {
	if ev.Dot.Machine == c.m.ID() {
		if err := c.noteVoid(tx, ev.Dot.Seq); err != nil {
			return err
		}
		c.lapsing.again = true
	}
	c.lapsing.renewing = true
	return tx.Set(renewKey(), nil)
}

// noteVoid notes the paths of what our operations behind number upTo concern.
func (c *core) noteVoid(tx store.Txn, upTo uint64) error {
	return gossip.Entries(c.m.kv, c.m.ID(), upTo, func(e gossip.Entry) bool {
		op, err := tree.ParseOp(e.Payload)
		if err != nil || op.Kind >= tree.KindHorizon {
			return true
		}
		id := op.Node
		if op.Kind == tree.KindCreate {
			id = op.Parent
		}
		name, err := c.m.tree.PathOf(tx, id)
		if err != nil {
			name = "/" + id.String()
		}
		if op.Kind == tree.KindCreate {
			name = path.Join(name, op.Name)
		}
		_ = tx.Set(againKey(e.Dot.Seq), []byte(name)) // Commit says so, too
		return true
	})
}

// loadRenewal says whether a renewal was under way when the machine was closed.
func (c *core) loadRenewal() error {
	_, err := c.m.kv.Get(renewKey())
	c.lapsing.renewing = err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return c.m.kv.Scan(againKey(0), []byte{store.PrefixNode, 'u' + 1}, func(_, _ []byte) bool {
		c.lapsing.again = true
		return false
	})
}

// wipeBatch is how many keys, and renewBatch how many operations, one Txn deals with.
const (
	wipeBatch  = 10_000
	renewBatch = 1000
)

// renew makes the tree anew if that is due.
func (c *core) renew(now time.Time) error {
	if !c.lapsing.renewing || !c.m.drive.KeepGarbage() {
		return nil // it is tried again
	}
	c.m.log.Warn("operations of a machine that was silent too long are void: the tree is made anew")
	c.lapsing.renewing = false
	for more := true; more; {
		if err := c.commit(func(tx store.Txn) (err error) {
			more, err = c.m.tree.Wipe(tx, wipeBatch)
			return err
		}); err != nil {
			return err
		}
	}
	v := c.gossip.Vector()
	for _, m := range v.Machines() {
		for after := uint64(0); after < v[m]; after += renewBatch {
			if err := c.applyAgain(now, m, after); err != nil {
				return err
			}
		}
	}
	err := c.commit(func(tx store.Txn) error { return tx.Delete(renewKey()) })
	if err == nil && !c.lapsing.again {
		c.m.drive.DropGarbage()
	}
	c.m.drive.Announce(nil, []tree.Event{{Kind: tree.NameChanged}})
	return err
}

// applyAgain applies the next operations of a machine from the log.
func (c *core) applyAgain(now time.Time, m store.MachineID, after uint64) error {
	return c.commit(func(tx store.Txn) error {
		var bad error
		n := 0
		err := gossip.Entries(c.m.kv, m, after, func(e gossip.Entry) bool {
			_, bad = c.apply(tx, now, e)
			n++
			return bad == nil && n < renewBatch
		})
		return errors.Join(err, bad)
	})
}

// again is a void operation that is being done again.
type again struct {
	*core
	stamp time.Time
	dir   string                        // where what has lost its place goes
	anew  map[store.FileID]store.FileID // nodes that void operations made, and what they are now
}

// upToDate reports whether this machine has all that those have that it can talk to.
func (c *core) upToDate() bool {
	ours, others := c.gossip.Vector(), 0
	for _, id := range ours.Machines() {
		if theirs, met := c.gossip.Known(id); met {
			if others++; !ours.Covers(theirs) {
				return false
			}
		}
	}
	totals, err := c.m.tree.Totals(c.m.kv)
	return others > 0 && err == nil && totals.Parked == 0
}

// doAgain does the void operations again, each in a Txn of its own, once all has come
// that happened meanwhile.
func (c *core) doAgain(now time.Time) error {
	if !c.lapsing.again || c.lapsing.renewing || !c.upToDate() {
		return nil
	}
	type item struct {
		seq  uint64
		path string
	}
	var items []item
	from := againKey(0)
	err := c.m.kv.Scan(from, []byte{store.PrefixNode, 'u' + 1}, func(k, v []byte) bool {
		if len(k) == len(from) {
			items = append(items, item{binary.BigEndian.Uint64(k[2:]), string(v)})
		}
		return true
	})
	if err != nil {
		return err
	}
	a := &again{core: c, stamp: c.m.clocks.stamp(now), anew: map[store.FileID]store.FileID{}}
	a.dir = path.Join(recoveredDir, strings.ReplaceAll(c.nameOf(c.m.ID()), "/", "_"), a.stamp.UTC().Format(time.DateOnly))
	for _, it := range items {
		var op tree.Op
		var bad error
		err := gossip.Entries(c.m.kv, c.m.ID(), it.seq-1, func(e gossip.Entry) bool {
			op, bad = tree.ParseOp(e.Payload)
			return false
		})
		if err := errors.Join(err, bad); err != nil {
			return fmt.Errorf("node: operation %d of old: %w", it.seq, err)
		}
		if err := c.change(now, nil, func(_ *tree.Tree, tx store.Txn, _ time.Time) ([]tree.Op, []tree.Event, error) {
			if err := tx.Delete(againKey(it.seq)); err != nil {
				return nil, nil, err
			}
			return a.do(tx, op, it.path)
		}); err != nil {
			return err
		}
	}
	c.lapsing.again = false
	c.m.drive.DropGarbage()
	return nil
}

// now returns what a node is now, and whether it is shown.
func (a *again) now(tx store.Txn, id store.FileID) (store.FileID, tree.Node, bool) {
	if n, ok := a.anew[id]; ok {
		id = n
	}
	n, err := a.m.tree.Node(tx, id)
	if err != nil {
		return id, n, id == tree.Root
	}
	return n.ID, n, n.Links > 0 || id == tree.Root
}

// do makes the operations that do op again. What cannot be done any more, because others
// have removed or changed what it needs, is left out, but for the bytes of files.
func (a *again) do(tx store.Txn, op tree.Op, old string) (ops []tree.Op, events []tree.Event, err error) {
	t := a.m.tree
	switch op.Kind {
	case tree.KindCreate:
		return a.create(tx, op, old)
	case tree.KindContent:
		return a.write(tx, op, old)
	case tree.KindMove:
		id, _, there := a.now(tx, op.Node)
		to, _, place := a.now(tx, op.Parent)
		from, ok := a.place(tx, id)
		if there && place && ok {
			ops, events, err = t.RenameAt(tx, from, tree.Place{Dir: to, Name: op.Name}, tree.NoReplace, a.stamp)
		}
	case tree.KindDelete:
		id, n, there := a.now(tx, op.Node)
		seen, serr := t.Saw(tx, op.Dot, n.Version.Dot)
		from, ok := a.place(tx, id)
		_, own := a.anew[op.Node]
		if there && ok && (seen && serr == nil || own || n.Dir) {
			ops, events, err = t.RemoveAt(tx, from, false, a.stamp)
		}
	case tree.KindAttributes:
		if id, _, there := a.now(tx, op.Node); there {
			change := tree.AttributeChange{Mode: &op.Version.Mode}
			if !op.Version.ModTime.IsZero() {
				change.ModTime = &op.Version.ModTime
			}
			ops, events, err = t.SetNode(tx, id, change, a.stamp)
		}
	case tree.KindXattr:
		if id, _, there := a.now(tx, op.Node); there && !op.Removed {
			ops, events, err = t.SetXattr(tx, id, op.Name, op.Body, a.stamp)
		}
	case tree.KindLink:
		id, n, there := a.now(tx, op.Node)
		to, _, place := a.now(tx, op.Parent)
		if there && place && !n.Dir {
			ops, events, err = t.LinkAt(tx, id, tree.Place{Dir: to, Name: op.Name}, a.stamp)
		}
	}
	if impossible(err) {
		return nil, nil, nil
	}
	return ops, events, err
}

// impossible reports whether err says that the drive is not what an operation needs.
func impossible(err error) bool {
	for _, e := range []error{store.ErrNotFound, tree.ErrExist, tree.ErrIsDir, tree.ErrNotDir, tree.ErrNotEmpty, tree.ErrCycle} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// place returns where a node is shown under its own name.
func (a *again) place(tx store.Txn, id store.FileID) (tree.Place, bool) {
	p, err := a.m.tree.PathOf(tx, id)
	if err != nil {
		return tree.Place{}, false
	}
	e, err := a.m.tree.Lookup(tx, p)
	if err != nil || e.ID != id {
		return tree.Place{}, false
	}
	dir, err := a.m.tree.Lookup(tx, path.Dir(p))
	return tree.Place{Dir: dir.ID, Name: path.Base(p)}, err == nil
}

// create makes a file or directory again: where it was, or where the lost things are.
func (a *again) create(tx store.Txn, op tree.Op, old string) ([]tree.Op, []tree.Event, error) {
	op.Version.Holders = a.holdersAgain(op.Version.Holders)
	made := tree.NodeOf(op.Dot)
	if dir, _, there := a.now(tx, op.Parent); there {
		if e, err := a.m.tree.Child(tx, dir, op.Name); err == nil && e.Dir && op.Dir {
			a.anew[made] = e.ID // others have made the same directory
			return nil, nil, nil
		}
		id, ops, events, err := a.m.tree.CreateAt(tx, tree.Place{Dir: dir, Name: op.Name}, op.Dir, op.Version, a.stamp)
		if err == nil {
			a.anew[made] = id
			return ops, events, nil
		}
		if !impossible(err) {
			return nil, nil, err
		}
	}
	if op.Dir {
		return nil, nil, nil // what lies in it brings its own
	}
	return a.recover(tx, made, op.Version, old)
}

// write gives a file its bytes again. Others may have changed it meanwhile: then both
// versions stay, as always where neither has seen the other.
func (a *again) write(tx store.Txn, op tree.Op, old string) ([]tree.Op, []tree.Event, error) {
	op.Version.Holders = a.holdersAgain(op.Version.Holders)
	id, n, there := a.now(tx, op.Node)
	if !there || n.Dir {
		return a.recover(tx, op.Node, op.Version, old)
	}
	base := n.Version.Dot
	if _, own := a.anew[op.Node]; !own {
		if ok, err := a.m.tree.Saw(tx, op.Dot, base); err != nil || !ok {
			base = store.Dot{}
		}
	}
	return a.m.tree.WriteNode(tx, id, base, op.Version, a.stamp)
}

// recover puts bytes where the lost things are, under their old path.
func (a *again) recover(tx store.Txn, id store.FileID, v tree.Version, old string) (ops []tree.Op, events []tree.Event, err error) {
	name := path.Join(a.dir, old)
	dir := tree.Root
	for _, part := range strings.Split(strings.Trim(path.Dir(name), "/"), "/") {
		e, err := a.m.tree.Child(tx, dir, part)
		if errors.Is(err, store.ErrNotFound) {
			var made []tree.Op
			var evs []tree.Event
			dir, made, evs, err = a.m.tree.CreateAt(tx, tree.Place{Dir: dir, Name: part}, true, tree.Version{Mode: 0o755}, a.stamp)
			ops, events = append(ops, made...), append(events, evs...)
		} else {
			dir = e.ID
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for n := 1; ; n++ {
		base := path.Base(name)
		if n > 1 {
			base = fmt.Sprintf("%s %d", base, n)
		}
		made, more, evs, err := a.m.tree.CreateAt(tx, tree.Place{Dir: dir, Name: base}, false, v, a.stamp)
		if errors.Is(err, tree.ErrExist) && n < 1000 {
			continue
		}
		a.anew[id] = made
		return append(ops, more...), append(events, evs...), err
	}
}
