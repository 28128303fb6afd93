package records

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/aether-lan/aether/internal/wire"
)

func lineageValue(l uint64) []byte { return binary.AppendUvarint(nil, l) }

// saveReplica writes what a replica must not forget, but for its records.
func (e *Engine) saveReplica(r *replica) {
	w := &writer{}
	w.b = append(w.b, byte(r.phase))
	w.flags(r.installed, r.staging.own, r.staging.whole)
	w.uint(r.shelf.set)
	w.group(r.group)
	w.ballot(r.acceptor.promised)
	w.ballot(r.acceptor.accepted)
	w.decision(r.acceptor.decision)
	w.ref(r.staging.of)
	e.disk.set(numberKey(rowReplica, r.number), w.b)
	e.survey.due = e.now
}

func parseReplica(b []byte) (*replica, uint64, error) {
	rd := &reader{*wire.NewReader(b)}
	r := &replica{phase: phase(rd.Uint8())}
	rd.flags(&r.installed, &r.staging.own, &r.staging.whole)
	set := rd.uint()
	r.group = rd.group()
	r.acceptor = acceptor{rd.ballot(), rd.ballot(), rd.decision()}
	r.staging.of = rd.ref()
	if r.phase == 0 || r.phase > past {
		rd.bad()
	}
	r.ref = r.group.Ref()
	return r, set, rd.End()
}

// Restore returns the engine of a node from the rows that it had saved, by rising keys.
// It fails when they are damaged: then the node must not take part under its ID.
func Restore(cfg Config, rows iter.Seq2[[]byte, []byte]) (*Engine, error) {
	e := New(cfg)
	l := loader{e: e, shelves: map[uint64]*shelf{}}
	for key, value := range rows {
		if err := l.row(slices.Clone(key), slices.Clone(value)); err != nil {
			return nil, fmt.Errorf("records: restore: %w", err)
		}
	}
	if err := l.end(); err != nil {
		return nil, fmt.Errorf("records: restore: %w", err)
	}
	e.drain()
	return e, nil
}

// loader puts rows together.
type loader struct {
	e       *Engine
	shelves map[uint64]*shelf
}

func (l *loader) row(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("a row without a key")
	}
	r := wire.NewReader(key[1:])
	switch key[0] {
	case rowLineage:
		v := wire.NewReader(value)
		l.e.lineage = v.Uvarint()
		return v.End()
	case rowFloor:
		f := floor{lineage: r.Uint64()}
		copy(f.arc.From[:], r.Bytes(len(f.arc.From)))
		copy(f.arc.To[:], r.Bytes(len(f.arc.To)))
		v := wire.NewReader(value)
		f.epoch = v.Uvarint()
		l.e.known.floors = append(l.e.known.floors, f)
		if err := r.End(); err != nil {
			return err
		}
		return v.End()
	case rowReplica:
		return l.replica(r.Uint64(), value)
	case rowSeq:
		return l.seq(r.Uint64(), value)
	case rowRecord:
		return l.record(r.Uint64(), string(r.Rest()), value)
	}
	return fmt.Errorf("a row of kind %q", key[0])
}

func (l *loader) replica(number uint64, value []byte) error {
	r, set, err := parseReplica(value)
	if err != nil {
		return err
	}
	r.number, r.shelf = number, newShelf(set)
	l.e.disk.next = max(l.e.disk.next, number, set)
	l.e.replicas = append(l.e.replicas, r)
	return nil
}

func (l *loader) seq(number uint64, value []byte) error {
	v := wire.NewReader(value)
	for _, r := range l.e.replicas {
		if r.number == number {
			r.seq = v.Uvarint()
		}
	}
	v.Rest()
	return v.End()
}

func (l *loader) record(set uint64, name string, value []byte) error {
	i, err := l.e.item(Entry{Name: name, Record: value})
	if err != nil {
		return err
	}
	l.e.disk.next = max(l.e.disk.next, set)
	if l.shelves[set] == nil {
		l.shelves[set] = newShelf(set)
	}
	l.shelves[set].put(i)
	return nil
}

// end gives the records to the groups that keep them. Several may have rows of one
// set, of arcs that do not overlap: the later epoch has them, others left them behind.
func (l *loader) end() error {
	e := l.e
	list := slices.Clone(e.replicas)
	slices.SortFunc(list, func(a, b *replica) int { return cmp.Compare(b.group.Epoch, a.group.Epoch) })
	for _, r := range list {
		s := l.shelves[r.shelf.set]
		if s == nil || r.phase == past || r.staging.own {
			continue
		}
		for _, n := range slices.Clone(s.sorted()) {
			if i := s.items[n]; r.group.Arc.Contains(i.key) {
				r.shelf.put(i)
				s.drop(n)
			}
		}
	}
	for _, set := range sortedKeys(l.shelves) {
		for _, n := range l.shelves[set].sorted() {
			e.disk.delete(recordKey(set, n)) // nobody's any more
		}
	}
	for _, r := range list {
		switch {
		case r.phase == staged && !r.staging.whole:
			e.remove(r)
		case r.phase != staged:
			e.known.list = append(e.known.list, Tiding{Group: r.group})
		}
		for _, g := range r.acceptor.decision.Groups {
			if r.phase == past {
				e.learn(Tiding{Group: g})
			}
		}
	}
	for _, r := range list {
		if e.floor(r.group.Lineage, r.group.Arc) < r.group.Epoch && r.phase != staged {
			return fmt.Errorf("%v: the floor is missing", r.group)
		}
	}
	return nil
}

func sortedKeys(m map[uint64]*shelf) []uint64 {
	list := make([]uint64, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
