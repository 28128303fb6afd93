package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// Limits bound a map. Zero fields take the default in brackets. They decide about
// answers, so they must be the same on all nodes.
type Limits struct {
	// Sessions is how many clients are remembered; the one that was silent the longest
	// is forgotten for a new one (65536).
	Sessions uint64
	// Leases is how many there may be (65536).
	Leases uint64
	// Bytes bounds the keys and values together (1 GiB).
	Bytes uint64
}

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		v *uint64
		d uint64
	}{{&l.Sessions, 1 << 16}, {&l.Leases, 1 << 16}, {&l.Bytes, 1 << 30}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	return l
}

// Machine applies commands to the map. Apply and Reload are for one goroutine; the
// rest is for any.
type Machine struct {
	limits Limits
	o      overlay
	counts counts
	now    paxos.Slot // being applied
	due    uint64     // no lease ends before: spares looking
	events []Event    // of the batch
	ears   ears
	mu     sync.RWMutex // held while the store changes
}

// New returns the machine whose state is in store.
func New(store Store, limits Limits) (*Machine, error) {
	m := &Machine{limits: limits.withDefaults()}
	m.o.store = store
	return m, m.Reload()
}

// Reload begins anew with what the store holds, after a snapshot was put there.
// Watchers end with ErrLagging.
func (m *Machine) Reload() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.o = overlay{store: m.o.store, young: map[string]*held{}}
	m.counts = counts{}
	b, err := m.o.store.Get(keyCounts)
	if err == nil && b != nil {
		m.counts, err = parseCounts(b)
	}
	if err != nil {
		return fmt.Errorf("kv: load: %w", err)
	}
	m.o.hash, m.due = m.counts.hash, 0
	slot, _ := m.o.store.Applied()
	m.ears.reset(slot)
	return nil
}

// Applied is what became of an entry.
type Applied struct {
	Slot paxos.Slot
	// Client, Number and Op are those of a command; all are zero for what is none.
	Client Client
	Number uint64
	Op     Op
	Result Result // of a command
	Hash   uint64 // of the state after it
}

// Apply applies entries, which follow on what was applied before, to the store. An error is the store's: the state in memory is
// then not to be used any more, and the node must stop.
func (m *Machine) Apply(entries []paxos.Entry) ([]Applied, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	slot, members := m.o.store.Applied()
	list := make([]Applied, len(entries))
	for i, e := range entries {
		if slot++; e.Slot != slot {
			return nil, fmt.Errorf("kv: apply: slot %v where %v should be", e.Slot, slot)
		}
		m.now = slot
		list[i].Slot = slot
		switch e.Kind {
		case paxos.Command:
			m.command(e.Value, &list[i])
		case paxos.Change:
			next, err := e.Membership()
			if err != nil {
				return nil, fmt.Errorf("kv: apply: slot %v: %w", slot, err)
			}
			members = next
		case paxos.Noop:
		}
		list[i].Hash = m.o.hash
	}
	m.counts.hash = m.o.hash
	m.o.counts = m.counts.append(nil)
	if err := m.commit(slot, members); err != nil {
		return nil, fmt.Errorf("kv: apply: %w", err)
	}
	return list, nil
}

func (m *Machine) commit(slot paxos.Slot, members paxos.Membership) error {
	if m.o.err != nil {
		return m.o.err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.o.store.Apply(slot, members, m.o.all()); err != nil {
		return err
	}
	m.o.made()
	m.ears.tell(m.events, slot)
	m.events = nil
	return nil
}

// command makes one command and notes the answer.
func (m *Machine) command(b []byte, a *Applied) {
	c, err := ParseCommand(b)
	if err != nil {
		a.Result = Result{Code: BadCommand}
		return
	}
	a.Client, a.Number, a.Op = c.Client, c.Number, c.Op
	a.Result = m.answer(c)
}

// answer makes one command and returns the answer.
func (m *Machine) answer(c Command) Result {
	if ms := c.Time.UnixMilli(); ms > 0 {
		m.counts.time = max(m.counts.time, uint64(ms))
	}
	m.expire()
	switch c.Op {
	case Tick:
		return Result{Version: m.now}
	case Begin:
		return m.begin(c.Client)
	case End:
		return m.end(c.Client)
	}
	s, err := m.session(c.Client)
	if err != nil {
		return Result{Code: NoSession}
	}
	if c.Number == s.number && s.number > 0 { // again: the answer is the same
		r, err := ParseResult(s.result)
		if err != nil {
			return Result{Code: NoSession}
		}
		return r
	}
	if c.Number != s.number+1 {
		return Result{Code: NoSession} // an old one, or one was skipped
	}
	r := m.make(c)
	s.number, s.result = c.Number, r.Append(make([]byte, 0, 3*binary.MaxVarintLen64+len(r.Value)))
	m.touch(c.Client, s)
	return r
}

// make makes a command of a session.
func (m *Machine) make(c Command) Result {
	switch c.Op {
	case Put:
		return m.put(c)
	case Delete:
		return m.delete(c)
	case Grant:
		return m.grant(c.TTL)
	case Refresh:
		return m.refresh(c.Lease)
	case Revoke:
		return m.revoke(c.Lease)
	}
	return Result{Code: BadCommand}
}

// value returns what a key has.
func (m *Machine) value(key []byte) (Value, bool) { return m.valueOf(m.o.read(m.o.key('k', key))) }

func (m *Machine) valueOf(h *held) (Value, bool) {
	if h.value == nil {
		return Value{}, false
	}
	v, err := parseValue(h.value)
	if err != nil {
		m.fail(err)
		return Value{}, false
	}
	return v, true
}

func (m *Machine) fail(err error) {
	if m.o.err == nil {
		m.o.err = err
	}
}

// holds reports whether what a key has is what a command expects.
func (e Expect) holds(v Value, ok bool) bool {
	switch e.Condition {
	case Absent:
		return !ok
	case HasValue:
		return ok && bytes.Equal(v.Value, e.Value)
	case HasVersion:
		return ok && v.Version == e.Version
	case Any:
	}
	return true
}

// refuse answers a command whose expectation does not hold.
func refuse(v Value, ok bool) Result {
	if !ok {
		return Result{Code: NotFound}
	}
	return Result{Code: Mismatch, Version: v.Version, Value: bytes.Clone(v.Value)}
}

func (m *Machine) put(c Command) Result {
	h := m.o.read(m.o.key('k', c.Key))
	old, ok := m.valueOf(h)
	if !c.Expect.holds(old, ok) {
		return refuse(old, ok)
	}
	if c.Lease != 0 && m.o.get(keyLease(c.Lease)) == nil {
		return Result{Code: NoLease}
	}
	size, was := uint64(len(c.Key)+len(c.Value)), uint64(0)
	if ok {
		was = uint64(len(c.Key) + len(old.Value))
	}
	if m.counts.bytes-was+size > m.limits.Bytes {
		return Result{Code: Full}
	}
	v := Value{Value: c.Value, Version: m.now, Created: m.now, Lease: c.Lease}
	if ok {
		v.Created = old.Created
		m.detach(old.Lease, c.Key)
	} else {
		m.counts.keys++
	}
	m.counts.bytes += size - was
	b := v.append(make([]byte, 0, 3*binary.MaxVarintLen64+len(c.Value)))
	m.o.change(h, b)
	if c.Lease != 0 {
		m.o.set(keyOfLease(c.Lease, c.Key), []byte{})
	}
	m.events = append(m.events, Event{Key: bytes.Clone(c.Key), Value: b[len(b)-len(c.Value):], Version: m.now})
	return Result{Version: m.now}
}

func (m *Machine) delete(c Command) Result {
	old, ok := m.value(c.Key)
	if !ok && c.Expect.Condition == Any {
		return Result{Code: NotFound}
	}
	if !c.Expect.holds(old, ok) || !ok {
		return refuse(old, ok)
	}
	m.remove(c.Key, old)
	return Result{Version: m.now, Value: bytes.Clone(old.Value)}
}

// remove deletes a key that is there.
func (m *Machine) remove(key []byte, old Value) {
	m.detach(old.Lease, key)
	m.counts.keys--
	m.counts.bytes -= uint64(len(key) + len(old.Value))
	m.o.set(keyValue(key), nil)
	m.events = append(m.events, Event{Key: bytes.Clone(key), Version: m.now, Deleted: true})
}

func (m *Machine) detach(lease uint64, key []byte) {
	if lease != 0 {
		m.o.set(keyOfLease(lease, key), nil)
	}
}

// Get returns what a key has on this node, and whether it has anything. It is
// linearizable only after the cluster has confirmed a read: see paxos.Node.Read.
func (m *Machine) Get(key []byte) (Value, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, err := m.o.store.Get(keyValue(key))
	if err != nil || b == nil {
		return Value{}, false, err
	}
	v, err := parseValue(b)
	v.Value = bytes.Clone(v.Value)
	return v, err == nil, err
}

// Range calls f with the keys that begin with prefix, from from on, in order, until
// it returns false. f keeps neither key nor value.
func (m *Machine) Range(prefix, from []byte, f func(key []byte, v Value) bool) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	var failed error
	err := m.o.store.Scan(keyValue(from), after(keyValue(prefix)), func(k, b []byte) bool {
		var v Value
		if v, failed = parseValue(b); failed != nil {
			return false
		}
		return f(k[1:], v)
	})
	if err == nil {
		err = failed
	}
	return err
}

// after returns the first key that does not begin with prefix, which is not empty.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Status says how large the state is, for people.
type Status struct {
	Keys, Bytes, Sessions, Leases uint64
	Time                          time.Time // of the state
	Slot                          paxos.Slot
	Hash                          uint64 // of the state after Slot
}

// Status returns how large the state is after what was applied last.
func (m *Machine) Status() (Status, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, err := m.o.store.Get(keyCounts)
	if err != nil || b == nil {
		return Status{}, err
	}
	c, err := parseCounts(b)
	slot, _ := m.o.store.Applied()
	return Status{c.keys, c.bytes, c.sessions, c.leases, time.UnixMilli(int64(c.time)).UTC(), slot, c.hash}, err
}

// NextExpiry returns when the next lease ends by the state's time; ok is false when
// there is none. The leader proposes a Tick then, if nothing else brings the time.
func (m *Machine) NextExpiry() (t time.Time, ok bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	err = m.o.store.Scan([]byte{'x'}, []byte{'x' + 1}, func(k, _ []byte) bool {
		t, ok = time.UnixMilli(int64(binary.BigEndian.Uint64(k[1:]))), true
		return false
	})
	return t, ok, err
}
