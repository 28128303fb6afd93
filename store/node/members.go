package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/tree"
)

// kindMember is the operation with which a machine introduces itself to the pool.
// It travels in the same log as the changes of the tree, so that every machine
// knows every other, also one that it has never met.
const kindMember = tree.KindForeign

// memberRecord is the body of such an operation.
type memberRecord struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Space uint64
	// Laptop says that the machine is often away; see store.Machine.
	Laptop bool
}

// maxName bounds a machine's name in bytes.
const maxName = 255

// members are the machines of the pool as this one knows them.
type members struct {
	byID      map[store.MachineID]member
	standings map[store.MachineID]verdict // of machines of which something was said
	places    *place.Map                  // of all members; nil: to be made
}

// member is what is kept of a machine.
type member struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Space uint64
	// Laptop says that the machine is often away.
	Laptop bool
	// Seen is when a connection to it last stood, in Unix milliseconds.
	Seen int64
	// Addresses are where it was last reached or found.
	Addresses []netip.AddrPort
}

// maxAddresses bounds the addresses remembered of one machine.
const maxAddresses = 16

func memberKey(id store.MachineID) []byte {
	return append([]byte{store.PrefixNode, 'm'}, id[:]...)
}

// loadMembers reads what is remembered.
func loadMembers(r store.Reader) (members, error) {
	ms := members{byID: map[store.MachineID]member{}}
	var bad error
	err := r.Scan([]byte{store.PrefixNode, 'm'}, []byte{store.PrefixNode, 'm' + 1}, func(k, v []byte) bool {
		var m member
		if len(k) != 2+len(store.MachineID{}) {
			bad = fmt.Errorf("node: members: key of %d bytes", len(k))
		} else if bad = strictCBOR.Unmarshal(v, &m); bad == nil {
			ms.byID[store.MachineID(k[2:])] = m
		}
		return bad == nil
	})
	var serr error
	ms.standings, serr = loadStandings(r)
	return ms, errors.Join(err, bad, serr)
}

func (ms *members) save(tx store.Txn, id store.MachineID, m member) error {
	b, err := cbor.Marshal(m)
	if err != nil {
		return fmt.Errorf("node: members: %w", err)
	}
	if err := tx.Set(memberKey(id), b); err != nil {
		return err
	}
	ms.byID[id] = m
	ms.places = nil
	return nil
}

// learn takes what a machine says of itself.
func (ms *members) learn(tx store.Txn, id store.MachineID, body []byte) error {
	var r memberRecord
	if err := strictCBOR.Unmarshal(body, &r); err != nil {
		return err
	}
	if len(r.Name) > maxName {
		return fmt.Errorf("a name of %d bytes", len(r.Name))
	}
	m := ms.byID[id]
	m.Name, m.Space, m.Laptop = strings.ToValidUTF8(r.Name, "?"), r.Space, r.Laptop
	return ms.save(tx, id, m)
}

// list returns the members that keep files, in the order of their IDs: not those that
// are leaving, and none that left, was forgotten or revoked.
func (ms *members) list() []store.Machine {
	return slices.DeleteFunc(ms.all(), func(x store.Machine) bool {
		return ms.byID[x.ID].Name == "" || !ms.keeps(x.ID)
	})
}

// all returns the machines that belong or belonged, in the order of their IDs: those that
// have introduced themselves, and those that were let in and will.
func (ms *members) all() []store.Machine {
	var all []store.Machine
	for id, m := range ms.byID {
		if m.Name != "" {
			all = append(all, store.Machine{ID: id, Name: m.Name, Space: m.Space, Laptop: m.Laptop})
		}
	}
	for id, s := range ms.standings {
		if ms.byID[id].Name == "" && !s.Inviter.IsZero() {
			all = append(all, store.Machine{ID: id, Name: s.Name}) // was let in and did not come yet
		}
	}
	slices.SortFunc(all, func(a, b store.Machine) int { return a.ID.Compare(b.ID) })
	return all
}

// introduce puts this machine's record into the log when it is new or has changed.
func (c *core) introduce(now time.Time) error {
	me := memberRecord{Name: c.m.Name(), Space: uint64(c.m.space()), Laptop: c.m.laptop()}
	if old, ok := c.members.byID[c.m.ID()]; ok && old.Name == me.Name && old.Space == me.Space && old.Laptop == me.Laptop {
		return nil
	}
	body, err := cbor.Marshal(me)
	if err != nil {
		return fmt.Errorf("node: introduce: %w", err)
	}
	return c.commit(func(tx store.Txn) error {
		op, err := c.m.tree.Record(tx, kindMember, body, c.m.clocks.stamp(now))
		if err != nil {
			return err
		}
		if err := c.members.learn(tx, c.m.ID(), body); err != nil {
			return err
		}
		return c.log(tx, op)
	})
}

// known is a machine and where it may be reached.
type known struct {
	id    store.MachineID
	addrs []netip.AddrPort
}

// remembered returns the machines that were reached before, and where.
func (c *core) remembered() []known {
	var out []known
	_ = c.call(c.m.background, func() {
		for id, m := range c.members.byID {
			if id != c.m.ID() && len(m.Addresses) > 0 && c.members.within(id) {
				out = append(out, known{id, slices.Clone(m.Addresses)})
			}
		}
	})
	return out
}

// met notes that a connection to a machine stands, which it was reached at by addrs, if
// by any.
func (c *core) met(id store.MachineID, addrs []netip.AddrPort) {
	c.keepMember(id, addrs, c.m.now())
}

// remember keeps addresses of a machine for the next start, newest first.
func (c *core) remember(id store.MachineID, addrs []netip.AddrPort) {
	c.keepMember(id, addrs, time.Time{})
}

// keepMember keeps addresses of a machine and, unless it is zero, when it was seen.
func (c *core) keepMember(id store.MachineID, addrs []netip.AddrPort, seen time.Time) {
	err := c.call(c.m.background, func() {
		m := c.members.byID[id]
		if !seen.IsZero() {
			m.Seen = seen.UnixMilli()
		}
		for _, a := range m.Addresses {
			if !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
		m.Addresses = addrs[:min(len(addrs), maxAddresses)]
		err := c.commit(func(tx store.Txn) error { return c.members.save(tx, id, m) })
		if err != nil {
			c.m.log.Warn("a machine's address cannot be remembered", "error", err)
		}
	})
	if err != nil {
		c.m.log.Debug("remember", "error", err)
	}
}
