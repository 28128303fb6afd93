package node

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/index"
)

// soft is what a machine tells all others of its state, again and again: each time
// replaces the time before, nothing of it is in the log, and it is rebuilt after a
// restart. On the wire it is a CBOR map with small integers for keys. A machine
// passes over keys that it does not know, so that newer ones may tell more; a key
// never changes its meaning.
type soft struct {
	// Copies is the inventory of package replicate.
	Copies []byte `cbor:"1,keyasint,omitempty"`
	// Usage is what the machine's space is used for; nil: not told yet.
	Usage *softUsage `cbor:"2,keyasint,omitempty"`
	// Queue is what the machine still has to fetch.
	Queue softQueue `cbor:"3,keyasint,omitzero"`
	// Wants is how many bytes could not be written here of late, because the pool has
	// no room: whoever keeps the past is to give it up.
	Wants int64 `cbor:"6,keyasint,omitempty"`
	// Beat changes now and then, so that those who are not connected to the machine hear
	// that it lives. Zero: it has no network.
	Beat int64 `cbor:"8,keyasint,omitempty"`
	// Listening is where the machine can be reached.
	Listening []netip.AddrPort `cbor:"9,keyasint,omitempty"`
}

// softUsage is a Space on the wire, in bytes.
type softUsage struct {
	_                            struct{} `cbor:",toarray"`
	Space, Replicas, Cache, Free int64
}

// softQueue is the size of a machine's queue of copies.
type softQueue struct {
	_     struct{} `cbor:",toarray"`
	Files int64
	Bytes int64
}

var errBadSoft = errors.New("node: malformed state of a machine")

// append writes s; its length is at most [gossip.MaxInventory].
func (s soft) append(b []byte) ([]byte, error) {
	out, err := cbor.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("node: state: %w", err)
	}
	if len(out) > gossip.MaxInventory {
		return nil, fmt.Errorf("node: state: %d bytes, at most %d", len(out), gossip.MaxInventory)
	}
	return append(b, out...), nil
}

// parseSoft is the reverse of append. It fails with errBadSoft.
func parseSoft(b []byte) (s soft, err error) {
	if len(b) > gossip.MaxInventory {
		return s, fmt.Errorf("%w: %d bytes", errBadSoft, len(b))
	}
	if err := strictCBOR.Unmarshal(b, &s); err != nil {
		return soft{}, fmt.Errorf("%w: %w", errBadSoft, err)
	}
	if u := s.Usage; u != nil {
		for _, n := range []int64{u.Space, u.Replicas, u.Cache, max(u.Free, -u.Free)} {
			if n < 0 || n > maxSpace {
				return soft{}, fmt.Errorf("%w: usage %+v", errBadSoft, *u)
			}
		}
	}
	if err := checkListening(s.Listening); err != nil {
		return soft{}, err
	}
	if s.Queue.Files < 0 || s.Queue.Bytes < 0 || s.Wants < 0 || s.Wants > maxSpace {
		return soft{}, fmt.Errorf("%w: queue %+v", errBadSoft, s.Queue)
	}
	return s, nil
}

// maxSpace bounds what is believed of a machine: 1 PiB, so that the sum over all
// machines that a pool can have is an int64.
const maxSpace = 1 << 50

// softEvery is how often this machine looks whether its usage has changed, and
// softAnyway after how long it tells also a small change.
const (
	softEvery  = 5 * time.Second
	softAnyway = time.Minute
)

// softState is what the core keeps of the machines' soft state.
type softState struct {
	due     time.Time // when to tell what is new here; zero: nothing new
	look    time.Time // when to look at the usage again
	told    time.Time // when the usage was last told
	usage   softUsage // as told
	queue   softQueue // as told
	beat    int64     // as told
	here    []netip.AddrPort
	of      map[store.MachineID]soft
	refused int // states of others that could not be read
}

// noteInventory sees to it that others are soon told what is held here.
func (c *core) noteInventory(now time.Time) {
	if c.soft.due.IsZero() {
		c.soft.due = now.Add(inventoryDelay)
	}
}

// tellSoft tells what is due.
func (c *core) tellSoft(now time.Time) {
	if !now.Before(c.soft.look) {
		c.soft.look = now.Add(softEvery)
		here := c.m.listening()
		moved := !slices.Equal(here, c.soft.here)
		c.soft.here = here
		if moved || c.usageChanged(now) {
			c.noteInventory(now)
		}
	}
	if c.soft.due.IsZero() || now.Before(c.soft.due) {
		return
	}
	c.soft.due = time.Time{}
	mine := c.mine()
	b, err := mine.append(nil)
	if err == nil {
		err = c.gossip.SetInventory(now, b)
	}
	if err != nil {
		c.m.log.Warn("what is held here cannot be told", "error", err)
		return
	}
	c.soft.told, c.soft.usage, c.soft.queue, c.soft.beat = now, *mine.Usage, mine.Queue, mine.Beat
}

// mine returns this machine's state.
func (c *core) mine() soft {
	files, bytes := c.copying.Pending()
	u := c.m.usage()
	return soft{Copies: c.provedInventory(), Usage: &u, Queue: softQueue{Files: int64(files), Bytes: bytes}, Wants: c.choosing.wants,
		Beat: c.beat(c.m.now()), Listening: c.soft.here}
}

// usageChanged reports whether the usage is worth telling: it changed by more than a
// hundredth of the space, or at all and long ago.
func (c *core) usageChanged(now time.Time) bool {
	if c.beat(now) != c.soft.beat {
		return true
	}
	u, old := c.m.usage(), c.soft.usage
	files, bytes := c.copying.Pending()
	if u == old && c.soft.queue == (softQueue{Files: int64(files), Bytes: bytes}) {
		return false
	}
	step := u.Space / 100
	return u.Space != old.Space || far(u.Replicas, old.Replicas, step) || far(u.Cache, old.Cache, step) ||
		far(u.Free, old.Free, step) || now.Sub(c.soft.told) >= softAnyway
}

func far(a, b, step int64) bool { return a-b > step || b-a > step }

// usage returns what this machine's space is used for.
func (m *Machine) usage() softUsage {
	u := m.bodies.Usage()
	return softUsage{Space: u.Space, Replicas: u.Replicas, Cache: u.Cache, Free: u.Free}
}

// hearSoft takes what a machine says of its state.
func (c *core) hearSoft(now time.Time, id store.MachineID, b []byte) error {
	s, err := parseSoft(b)
	if err == nil && s.Copies != nil {
		err = c.copying.PeerHolds(now, id, s.Copies)
	}
	if err != nil {
		c.soft.refused++
		return err
	}
	s.Copies = nil // copying has them
	if len(s.Listening) > 0 && !slices.Equal(s.Listening, c.soft.of[id].Listening) {
		c.m.jobs.Go(func() { c.m.approach(id, s.Listening) })
	}
	if s.Usage != nil {
		c.told(now, id)
	}
	if c.foreign > 0 && s.Copies == nil {
		c.m.drive.Released()
	}
	if s.Wants > 0 {
		c.wantRoom()
	}
	c.soft.of[id] = s
	return nil
}

// inventory takes what a machine says it holds, and remembers it: the copies that a
// machine keeps count while it is away.
func (c *core) inventory(now time.Time, ev gossip.Inventory) {
	c.absent.heard(now, ev.Machine)
	if err := c.hearSoft(now, ev.Machine, ev.Bytes); err != nil {
		c.m.log.Warn("the state of a machine cannot be read", "machine", ev.Machine.String(), "error", err)
		c.m.alarm(AlarmFault, ev.Machine.String(), "its state cannot be read: "+err.Error())
		return
	}
	err := c.commit(func(tx store.Txn) error { return tx.Set(inventoryKey(ev.Machine), ev.Bytes) })
	switch {
	case errors.Is(err, index.ErrFull):
		c.m.log.Debug("the state of a machine is not remembered", "error", err) // it comes again
	case err != nil:
		c.fail(err)
	}
}

func inventoryKey(id store.MachineID) []byte {
	return append([]byte{store.PrefixNode, 'i'}, id[:]...)
}

// recall takes the states remembered.
func (c *core) recall(now time.Time) error {
	return c.m.kv.Scan([]byte{store.PrefixNode, 'i'}, []byte{store.PrefixNode, 'i' + 1}, func(k, v []byte) bool {
		if len(k) == 2+len(store.MachineID{}) {
			_ = c.hearSoft(now, store.MachineID(k[2:]), slices.Clone(v)) // else it comes again
		}
		return true
	})
}
