package tree

import (
	"encoding/binary"
	"errors"

	"github.com/aether-lan/aether/store"
)

// The records that every change reads and writes are encoded by hand: fields in
// their order, numbers as varints (encoding/binary), lists after their length.
// They never leave the machine, but the digest of a row is compared between
// machines: a record has one encoding only.

// errRecord reports a record that cannot be read.
var errRecord = errors.New("tree: damaged record")

type encoder struct{ b []byte }

func (e *encoder) uint(n uint64)  { e.b = binary.AppendUvarint(e.b, n) }
func (e *encoder) int(n int64)    { e.b = binary.AppendVarint(e.b, n) }
func (e *encoder) bytes(b []byte) { e.b = append(e.b, b...) }

func (e *encoder) bool(v bool) {
	if v {
		e.b = append(e.b, 1)
	} else {
		e.b = append(e.b, 0)
	}
}

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) mark(m mark) {
	e.bytes(m.Machine[:])
	e.uint(m.Seq)
	e.uint(uint64(m.Time))
}

func (e *encoder) content(c store.Content) {
	e.int(c.Size)
	e.bytes(c.Root[:])
	e.b = append(e.b, c.Depth)
	e.uint(uint64(c.Oldest))
}

func (e *encoder) sealed(c store.Content) {
	if e.bool(c != (store.Content{})); c != (store.Content{}) {
		e.content(c)
	}
}

func (e *encoder) machines(ms []store.MachineID) {
	e.uint(uint64(len(ms)))
	for i := range ms {
		e.bytes(ms[i][:])
	}
}

func (e *encoder) attr(a *attr) {
	e.uint(uint64(a.Mode))
	e.uint(uint64(a.UID))
	e.uint(uint64(a.GID))
	e.mark(a.At)
	e.int(a.ModTime)
	e.mark(a.TimeAt)
}

func (e *encoder) deletions(ds []deletion) {
	e.uint(uint64(len(ds)))
	for i := range ds {
		e.mark(ds[i].At)
		e.uint(uint64(len(ds[i].Spare)))
		for _, s := range ds[i].Spare {
			e.bytes(s.Machine[:])
			e.uint(s.Seq)
		}
	}
}

func (e *encoder) node(n *node) {
	e.bool(n.Dir)
	e.bool(n.Linked)
	e.bytes(n.Target[:])
	e.mark(n.Born)
	e.bytes(n.Place.Parent[:])
	e.string(n.Place.Name)
	e.mark(n.Place.At)
	e.attr(&n.Attr)
	e.uint(uint64(len(n.Versions)))
	for i := range n.Versions {
		v := &n.Versions[i]
		e.mark(v.At)
		e.content(v.Content)
		e.int(v.ModTime)
		e.machines(v.Holders)
		e.bool(v.Discarded)
		if e.bool(v.Placed.Seq != 0); v.Placed.Seq != 0 {
			e.mark(v.Placed)
			e.sealed(v.Sealed)
		}
	}
	e.deletions(n.Deletes)
	e.bytes(n.View.Home[:])
	e.bool(n.View.Plain)
	e.mark(n.View.Winner)
	e.uint(uint64(len(n.View.Losers)))
	for _, l := range n.View.Losers {
		e.mark(l)
	}
	e.uint(uint64(len(n.View.Names)))
	for i := range n.View.Names {
		l := &n.View.Names[i]
		e.bytes(l.Link[:])
		e.bytes(l.Home[:])
		e.string(l.Name)
		e.mark(l.At)
	}
	e.bytes(n.View.Group[:])
	e.deletions(n.View.Del)
}

func (e *encoder) row(r *row) {
	e.bytes(r.ID[:])
	e.b = append(e.b, byte(r.Kind))
	e.mark(r.At)
	e.content(r.Content)
	e.uint(uint64(r.Mode))
	e.uint(uint64(r.UID))
	e.uint(uint64(r.GID))
	e.int(r.ModTime)
	e.machines(r.Holders)
	if e.uint(r.Placed.Seq); r.Placed.Seq != 0 {
		e.bytes(r.Placed.Machine[:])
		e.sealed(r.Sealed)
	}
	e.bytes(r.Via[:])
	e.bool(r.Again)
}

func (e *encoder) state(s *state) {
	e.uint(uint64(s.Clock))
	e.uint(uint64(s.Own))
	e.int(s.Files)
	e.int(s.Bytes)
	e.int(s.Conflicts)
	e.int(s.Parked)
	e.int(s.News)
	e.uint(s.Last)
	e.bytes(s.Sum[:])
	e.attr(&s.Root)
	e.int(s.Past.Rows)
	e.int(s.Past.Bytes)
	e.uint(uint64(s.Horizon))
	e.bool(s.Lapsed)
}

// encode returns the bytes of a record.
func encode(v any) ([]byte, error) {
	e := encoder{b: make([]byte, 0, 256)}
	switch v := v.(type) {
	case *node:
		e.b = make([]byte, 0, 512)
		e.node(v)
	case *row:
		e.row(v)
	case *state:
		e.state(v)
	default:
		return wire.enc.Marshal(v)
	}
	return e.b, nil
}

// decode reads what encode wrote.
func decode(b []byte, v any) error {
	d := decoder{b: b}
	switch v := v.(type) {
	case *node:
		d.node(v)
	case *row:
		d.row(v)
	case *state:
		d.state(v)
	default:
		return wire.dec.Unmarshal(b, v)
	}
	if d.bad || len(d.b) > 0 {
		return errRecord
	}
	return nil
}

// decoder reads; once bad it reads zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		n = -1
	}
	d.take(n)
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		n = -1
	}
	d.take(n)
	return v
}

// count reads the length of a list whose entries have at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.take(-1)
		return 0
	}
	return int(n)
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool() bool { return d.byte() != 0 }

func (d *decoder) mark() (m mark) {
	copy(m.Machine[:], d.take(len(m.Machine)))
	m.Seq = d.uint()
	m.Time = store.Time(d.uint())
	return m
}

func (d *decoder) content() (c store.Content) {
	c.Size = d.int()
	copy(c.Root[:], d.take(len(c.Root)))
	c.Depth = d.byte()
	c.Oldest = uint32(d.uint())
	return c
}

func (d *decoder) sealed() (c store.Content) {
	if d.bool() {
		c = d.content()
	}
	return c
}

func (d *decoder) machines() (ms []store.MachineID) {
	n := d.count(len(store.MachineID{}))
	if n > 0 {
		ms = make([]store.MachineID, n)
	}
	for i := range ms {
		copy(ms[i][:], d.take(len(ms[i])))
	}
	return ms
}

func (d *decoder) attr() (a attr) {
	a.Mode = uint32(d.uint())
	a.UID = uint32(d.uint())
	a.GID = uint32(d.uint())
	a.At = d.mark()
	a.ModTime = d.int()
	a.TimeAt = d.mark()
	return a
}

func (d *decoder) deletions() (ds []deletion) {
	for range d.count(18) {
		del := deletion{At: d.mark()}
		for range d.count(17) {
			var s dotWire
			copy(s.Machine[:], d.take(len(s.Machine)))
			s.Seq = d.uint()
			del.Spare = append(del.Spare, s)
		}
		ds = append(ds, del)
	}
	return ds
}

func (d *decoder) node(n *node) {
	n.Dir = d.bool()
	n.Linked = d.bool()
	copy(n.Target[:], d.take(len(n.Target)))
	n.Born = d.mark()
	copy(n.Place.Parent[:], d.take(len(n.Place.Parent)))
	n.Place.Name = string(d.take(d.count(1)))
	n.Place.At = d.mark()
	n.Attr = d.attr()
	n.Versions = make([]version, d.count(50))
	for i := range n.Versions {
		v := &n.Versions[i]
		v.At = d.mark()
		v.Content = d.content()
		v.ModTime = d.int()
		v.Holders = d.machines()
		v.Discarded = d.bool()
		if d.bool() {
			v.Placed = d.mark()
			v.Sealed = d.sealed()
		}
	}
	n.Deletes = d.deletions()
	copy(n.View.Home[:], d.take(len(n.View.Home)))
	n.View.Plain = d.bool()
	n.View.Winner = d.mark()
	for range d.count(18) {
		n.View.Losers = append(n.View.Losers, d.mark())
	}
	for range d.count(51) {
		var l linkName
		copy(l.Link[:], d.take(len(l.Link)))
		copy(l.Home[:], d.take(len(l.Home)))
		l.Name = string(d.take(d.count(1)))
		l.At = d.mark()
		n.View.Names = append(n.View.Names, l)
	}
	copy(n.View.Group[:], d.take(len(n.View.Group)))
	n.View.Del = d.deletions()
}

func (d *decoder) row(r *row) {
	copy(r.ID[:], d.take(len(r.ID)))
	r.Kind = rowKind(d.byte())
	r.At = d.mark()
	r.Content = d.content()
	r.Mode = uint32(d.uint())
	r.UID = uint32(d.uint())
	r.GID = uint32(d.uint())
	r.ModTime = d.int()
	r.Holders = d.machines()
	if r.Placed.Seq = d.uint(); r.Placed.Seq != 0 {
		copy(r.Placed.Machine[:], d.take(len(r.Placed.Machine)))
		r.Sealed = d.sealed()
	}
	copy(r.Via[:], d.take(len(r.Via)))
	r.Again = d.bool()
}

func (d *decoder) state(s *state) {
	s.Clock = store.Time(d.uint())
	s.Own = store.Time(d.uint())
	s.Files = d.int()
	s.Bytes = d.int()
	s.Conflicts = d.int()
	s.Parked = d.int()
	s.News = d.int()
	s.Last = d.uint()
	copy(s.Sum[:], d.take(len(s.Sum)))
	s.Root = d.attr()
	s.Past.Rows = d.int()
	s.Past.Bytes = d.int()
	s.Horizon = store.Time(d.uint())
	s.Lapsed = d.bool()
}
