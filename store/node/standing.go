package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Standing is how a machine stands to the pool.
type Standing uint8

// The standings. A machine of which nothing was said is a member: whoever has the
// secret may join.
const (
	// Member: it belongs.
	Member Standing = 0
	// Leaving: it belongs, and hands over what it keeps; nothing new is given to it.
	Leaving Standing = 1
	// Left: it has said goodbye.
	Left Standing = 2
	// Forgotten: others gave it up; with an invitation it may come again.
	Forgotten Standing = 3
	// Revoked: it never belongs again.
	Revoked Standing = 4
)

// String returns the word that commands show.
func (s Standing) String() string {
	words := []string{"member", "leaving", "left", "forgotten", "revoked"}
	if int(s) < len(words) {
		return words[s]
	}
	return fmt.Sprintf("standing %d", uint8(s))
}

// Errors about the members of a pool.
var (
	// ErrNoMember reports a name that is no member's.
	ErrNoMember = errors.New("no such machine in the pool")
	// ErrAmbiguous reports a name that is several members'.
	ErrAmbiguous = errors.New("several machines are called so")
	// ErrSelf reports an order about this machine that can only be given about others.
	ErrSelf = errors.New("this is the machine itself")
)

// kindStanding is the operation that says how a machine stands to the pool from now
// on. Like kindMember it travels in the log, so that all members hear of it, in
// whatever order, and all come to the same: revoked is for ever, of all else the
// latest counts.
const kindStanding = tree.KindForeign + 1

// standingRecord is the body of such an operation; who says it, and when, is in the
// operation.
type standingRecord struct {
	_        struct{} `cbor:",toarray"`
	Format   uint8
	Machine  store.MachineID
	Standing Standing
	When     int64  // Unix milliseconds, for people
	Name     string // what the machine is called, where it has not said so itself
}

const standingFormat = 1

// verdict is what is kept of a machine.
type verdict struct {
	_        struct{} `cbor:",toarray"`
	Standing Standing
	By       store.MachineID
	When     int64
	// Time and By order what is said of a machine.
	Time store.Time
	// Inviter is who let the machine in last, and Invited when; zero where nobody did.
	// Name is what it was called then.
	Inviter store.MachineID
	Invited store.Time
	Name    string
}

func standingKey(id store.MachineID) []byte {
	return append([]byte{store.PrefixNode, 'g'}, id[:]...)
}

// loadStandings reads what is kept of all machines.
func loadStandings(r store.Reader) (map[store.MachineID]verdict, error) {
	all := map[store.MachineID]verdict{}
	var bad error
	err := r.Scan(standingKey(store.MachineID{}), []byte{store.PrefixNode, 'g' + 1}, func(k, v []byte) bool {
		var s verdict
		if len(k) != 2+len(store.MachineID{}) {
			bad = fmt.Errorf("node: standings: key of %d bytes", len(k))
		} else if bad = strictCBOR.Unmarshal(v, &s); bad == nil {
			all[store.MachineID(k[2:])] = s
		}
		return bad == nil
	})
	return all, errors.Join(err, bad)
}

// judge takes what an operation says of a machine's standing and reports whether it
// changed something. Any order of the same operations ends the same.
func (ms *members) judge(tx store.Txn, op tree.Op) (id store.MachineID, changed bool, err error) {
	var r standingRecord
	if err := strictCBOR.Unmarshal(op.Body, &r); err != nil {
		return id, false, err
	}
	by := op.Dot.Machine
	own := r.Machine == by
	switch {
	case r.Format != standingFormat:
		return id, false, fmt.Errorf("format %d", r.Format)
	case r.Machine.IsZero() || r.Standing > Revoked || len(r.Name) > maxName:
		return id, false, fmt.Errorf("machine %v is %v", r.Machine, r.Standing)
	case r.Standing != Member && own != (r.Standing == Leaving || r.Standing == Left):
		return id, false, fmt.Errorf("%v says that %v is %v", by, r.Machine, r.Standing)
	}
	old := ms.standings[r.Machine]
	s := old
	if r.Standing == Member && !own && later(op.Time, by, old.Invited, old.Inviter) {
		s.Inviter, s.Invited, s.Name = by, op.Time, strings.ToValidUTF8(r.Name, "?")
	}
	newest := later(op.Time, by, old.Time, old.By) || op.Time == old.Time && by == old.By && r.Standing > old.Standing
	// Of several who revoke a machine the first one is named, everywhere the same.
	if r.Standing == Revoked && (old.Standing != Revoked || !newest) || r.Standing != Revoked && old.Standing != Revoked && newest {
		s.Standing, s.By, s.When, s.Time = r.Standing, by, r.When, op.Time
	}
	b, err := cbor.Marshal(s)
	if err != nil {
		return r.Machine, false, err
	}
	if err := tx.Set(standingKey(r.Machine), b); err != nil {
		return r.Machine, false, err
	}
	ms.standings[r.Machine] = s
	ms.places = nil
	return r.Machine, s != old, nil
}

// later reports whether what by said at t counts over what by2 said at t2.
func later(t store.Time, by store.MachineID, t2 store.Time, by2 store.MachineID) bool {
	return t > t2 || t == t2 && by.Compare(by2) > 0
}

// keeps reports whether a machine is given copies: a member that is not about to go.
func (ms *members) keeps(id store.MachineID) bool { return ms.standings[id].Standing == Member }

// within reports whether a machine belongs to the pool, as far as this one knows.
func (ms *members) within(id store.MachineID) bool { return ms.standings[id].Standing <= Leaving }

// judged draws the conclusions from an operation of kindStanding.
func (c *core) judged(tx store.Txn, op tree.Op) error {
	id, changed, err := c.members.judge(tx, op)
	if err != nil {
		c.m.log.Warn("what is said of a machine makes no sense", "operation", op.Dot.String(), "error", err)
		return nil
	}
	if !changed {
		return nil
	}
	s := c.members.standings[id]
	c.m.log.Info("a machine's standing has changed", "machine", id.String(), "standing", s.Standing.String(), "by", s.By.String())
	c.wantBalance()
	if !c.members.within(id) { // what it did wrong is of no concern any more
		for _, kind := range []string{AlarmForked, AlarmFault, AlarmFlood} {
			c.m.clear(kind, id.String())
		}
	}
	if s.Standing > Left && id != c.m.ID() { // who leaves hangs up when it has been heard
		c.m.part(id)
	}
	return nil
}

// part ends the connection with a machine that does not belong any more, and dials it
// no more.
func (m *Machine) part(id store.MachineID) {
	mesh := m.mesh.Load()
	if mesh == nil {
		return
	}
	for _, a := range m.core.members.byID[id].Addresses {
		mesh.RemoveAddress(a)
	}
	if conn := mesh.Conn(link.PeerID(id)); conn != nil {
		_ = conn.Close() // never fails
	}
}

// declare says in the log how a machine stands from now on, and returns once that is
// on the disk.
func (m *Machine) declare(ctx context.Context, id store.MachineID, s Standing, name string) error {
	var err error
	cerr := m.core.call(ctx, func() {
		now := m.now()
		var body []byte
		body, err = cbor.Marshal(standingRecord{Format: standingFormat, Machine: id, Standing: s, When: now.UnixMilli(), Name: name})
		if err != nil {
			return
		}
		err = m.core.commit(func(tx store.Txn) error {
			op, err := m.tree.Record(tx, kindStanding, body, now)
			if err != nil {
				return err
			}
			if err := m.core.judged(tx, op); err != nil {
				return err
			}
			return m.core.log(tx, op)
		})
	})
	if err = errors.Join(cerr, err); err == nil {
		err = m.core.sync()
	}
	if err != nil {
		return fmt.Errorf("node: %v is %v: %w", id, s, err)
	}
	return nil
}

// mayHave reports whether a machine may be given what members alone may have.
func (m *Machine) mayHave(peer store.MachineID) bool {
	ok := false
	_ = m.core.call(m.background, func() { ok = m.core.members.within(peer) })
	return ok
}

// Revoke ends a machine's membership for ever: every member that hears of it refuses
// the machine, and a new generation of the pool's secret begins, which it is not given.
// What it had it keeps.
func (m *Machine) Revoke(ctx context.Context, id store.MachineID) error {
	if id == m.ID() {
		return fmt.Errorf("node: revoke: %w; give the order on another machine, or leave", ErrSelf)
	}
	if err := m.declare(ctx, id, Revoked, ""); err != nil {
		return err
	}
	return m.newGeneration(ctx)
}

// Forget gives up a machine that will not come back: its copies are made anew. With an
// invitation it may come again.
func (m *Machine) Forget(ctx context.Context, id store.MachineID) error {
	if id == m.ID() {
		return fmt.Errorf("node: forget: %w; to end its membership leave", ErrSelf)
	}
	return m.declare(ctx, id, Forgotten, "")
}

// FindMember returns the member that word names: by its name, its ID, or letters that
// one ID alone begins with. The error wraps ErrNoMember, or ErrAmbiguous and lists who
// is meant.
func (m *Machine) FindMember(ctx context.Context, word string) (store.MachineID, error) {
	var all []store.Machine
	if err := m.core.call(ctx, func() { all = m.core.members.all() }); err != nil {
		return store.MachineID{}, err
	}
	pick := func(is func(store.Machine) bool) (found []store.Machine) {
		for _, x := range all {
			if is(x) {
				found = append(found, x)
			}
		}
		return found
	}
	found := pick(func(x store.Machine) bool { return x.ID.String() == word })
	if len(found) == 0 {
		found = pick(func(x store.Machine) bool { return x.Name == word })
	}
	if len(found) == 0 && word != "" {
		found = pick(func(x store.Machine) bool { return strings.HasPrefix(x.ID.String(), word) })
	}
	switch len(found) {
	case 0:
		return store.MachineID{}, fmt.Errorf("node: %q: %w", word, ErrNoMember)
	case 1:
		return found[0].ID, nil
	}
	var list []string
	for _, x := range found {
		list = append(list, fmt.Sprintf("%s (%s)", x.Name, x.ID))
	}
	slices.Sort(list)
	return store.MachineID{}, fmt.Errorf("node: %q: %w: %s", word, ErrAmbiguous, strings.Join(list, ", "))
}
