package records

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/wire"
)

// Bounds of what a message may hold; what is longer is refused unread.
const (
	maxEntries = 4096
	maxTidings = 64
	maxBody    = 128 << 10 // of one encoded record
)

// writer appends fields to b.
type writer struct{ b []byte }

func (w *writer) uint(list ...uint64) {
	for _, v := range list {
		w.b = binary.AppendUvarint(w.b, v)
	}
}

// flags packs booleans into a byte, the first lowest.
func (w *writer) flags(list ...bool) {
	v := byte(0)
	for i, f := range list {
		if f {
			v |= 1 << i
		}
	}
	w.b = append(w.b, v)
}

func (w *writer) id(v dht.ID)         { w.b = append(w.b, v[:]...) }
func (w *writer) bytes(v []byte)      { w.b = wire.AppendCounted(w.b, v) }
func (w *writer) text(v string)       { w.b = wire.AppendCounted(w.b, v) }
func (w *writer) request(v RequestID) { w.b = append(w.b, v[:]...) }

func (w *writer) peer(p dht.Peer) {
	w.id(p.ID)
	w.uint(p.Incarnation)
	a, _ := p.Address.MarshalBinary() // never fails
	w.bytes(a)
}

func (w *writer) ballot(b Ballot) {
	w.uint(b.Round)
	if b.Round != 0 {
		w.id(b.ID)
		w.uint(b.Incarnation)
	}
}

func (w *writer) ref(r Ref) {
	w.uint(r.Lineage, r.Epoch)
	w.id(r.To)
	w.ballot(r.Tag)
}

func (w *writer) group(g Group) {
	w.uint(g.Lineage, g.Epoch)
	w.id(g.Arc.From)
	w.id(g.Arc.To)
	w.ballot(g.Tag)
	w.peer(g.Leader)
	w.uint(uint64(len(g.Members)))
	for _, p := range g.Members {
		w.peer(p)
	}
}

func (w *writer) decision(d Decision) {
	w.uint(d.Into, uint64(len(d.Groups)))
	for _, g := range d.Groups {
		w.group(g)
	}
}

func (w *writer) entries(list []Entry) {
	w.uint(uint64(len(list)))
	for _, e := range list {
		w.text(e.Name)
		w.uint(uint64(e.Left))
		w.bytes(e.Record)
	}
}

func (w *writer) req(q Request) {
	w.request(q.ID)
	w.b = append(w.b, byte(q.Op))
	w.flags(q.Again)
	w.text(q.Name)
	w.uint(q.Version)
	w.bytes(q.Value)
	w.uint(uint64(q.TTL))
	w.text(q.Holder)
	w.uint(uint64(q.Limit))
	w.bytes(q.Fields)
}

func (w *writer) record(r Record) {
	w.text(r.Name)
	if r.Version == 0 {
		w.bytes(nil)
		return
	}
	w.bytes(AppendRecord(nil, r))
}

func (w *writer) resp(p Response) {
	w.request(p.ID)
	w.b = append(w.b, byte(p.Status))
	w.flags(p.More)
	w.record(p.Record)
	w.peer(p.Leader)
	w.id(p.Point)
	w.text(p.Text)
	w.uint(uint64(len(p.Records)))
	for _, r := range p.Records {
		w.record(r)
	}
}

// reader takes fields from the front of a message.
type reader struct{ wire.Reader }

func (r *reader) bad()         { r.Fail(errMessage) }
func (r *reader) uint() uint64 { return shortest(&r.Reader) }

// flags reads what writer.flags wrote of n booleans.
func (r *reader) flags(list ...*bool) {
	v := r.Uint8()
	if v>>len(list) != 0 {
		r.bad()
	}
	for i, f := range list {
		*f = v>>i&1 == 1
	}
}

func (r *reader) id() (v dht.ID) { copy(v[:], r.Bytes(len(v))); return v }

func (r *reader) counted(limit int) []byte {
	n := r.uint()
	if n > uint64(limit) {
		r.bad()
		return nil
	}
	if n == 0 {
		return nil
	}
	return r.Bytes(int(n))
}

// count reads the length of a list whose elements have at least one byte each.
func (r *reader) count(limit int) int {
	n := r.uint()
	if n > uint64(limit) || n > uint64(r.Len()) {
		r.bad()
		return 0
	}
	return int(n)
}

func (r *reader) request() (v RequestID) { copy(v[:], r.Bytes(len(v))); return v }

func (r *reader) duration() time.Duration {
	v := r.uint()
	if v > uint64(maxTTL) {
		r.bad()
	}
	return time.Duration(v)
}

func (r *reader) peer() (p dht.Peer) {
	p.ID, p.Incarnation = r.id(), r.uint()
	if err := p.Address.UnmarshalBinary(r.counted(64)); err != nil {
		r.bad()
	}
	if p.Address != (netip.AddrPort{}) && !p.Address.IsValid() {
		r.bad()
	}
	return p
}

func (r *reader) ballot() (b Ballot) {
	if b.Round = r.uint(); b.Round != 0 {
		b.ID, b.Incarnation = r.id(), r.uint()
	}
	if b.Round > maxRound {
		r.bad() // nobody gets there one by one, and there must be a higher one
	}
	return b
}

// maxRound bounds the rounds of ballots, and maxEpoch the epochs: there is always a
// next one.
const (
	maxRound = 1 << 60
	maxEpoch = 1 << 60
)

func (r *reader) ref() Ref {
	v := Ref{Lineage: r.uint(), Epoch: r.uint(), To: r.id(), Tag: r.ballot()}
	if v.Epoch > maxEpoch {
		r.bad()
	}
	return v
}

func (r *reader) group() (g Group) {
	g.Lineage, g.Epoch = r.uint(), r.uint()
	g.Arc = Arc{r.id(), r.id()}
	g.Tag, g.Leader = r.ballot(), r.peer()
	n := r.count(MaxMembers)
	for range n {
		g.Members = append(g.Members, r.peer())
	}
	if r.Err() == nil && (!g.Has(g.Leader.ID) || g.Epoch == 0 || g.Epoch > maxEpoch || g.Lineage == 0 || twice(g.Members)) {
		r.bad()
	}
	return g
}

// twice reports whether a node is in the list more than once.
func twice(list []dht.Peer) bool {
	for i, p := range list {
		for _, q := range list[:i] {
			if p.ID == q.ID {
				return true
			}
		}
	}
	return false
}

func (r *reader) decision() (d Decision) {
	d.Into = r.uint()
	for range r.count(2) {
		d.Groups = append(d.Groups, r.group())
	}
	return d
}

func (r *reader) entries() (list []Entry) {
	for range r.count(maxEntries) {
		e := Entry{Name: string(r.counted(MaxName)), Left: r.duration(), Record: r.counted(maxBody)}
		if r.Err() != nil {
			return nil
		}
		list = append(list, e)
	}
	return list
}

func (r *reader) req() (q Request) {
	q.ID, q.Op = r.request(), Op(r.Uint8())
	r.flags(&q.Again)
	q.Name, q.Version = string(r.counted(MaxName)), r.uint()
	q.Value, q.TTL, q.Holder = r.counted(maxBody), r.duration(), string(r.counted(MaxHolder))
	if limit := r.uint(); limit <= maxEntries {
		q.Limit = int(limit)
	} else {
		r.bad()
	}
	if q.Fields = r.counted(MaxUnknown); checkFields(q.Fields, tagFirstUnknown-1) != nil || q.Op == 0 || q.Op > merge {
		r.bad()
	}
	return q
}

func (r *reader) record() Record {
	name, b := string(r.counted(MaxName)), r.counted(maxBody)
	if len(b) == 0 {
		return Record{Name: name}
	}
	v, err := ParseRecord(name, b)
	if err != nil {
		r.Fail(err)
	}
	return v
}

func (r *reader) resp() (p Response) {
	p.ID, p.Status = r.request(), Status(r.Uint8())
	r.flags(&p.More)
	p.Record, p.Leader, p.Point = r.record(), r.peer(), r.id()
	p.Text = string(r.counted(MaxName))
	for range r.count(maxEntries) {
		v := r.record()
		if r.Err() != nil {
			break
		}
		p.Records = append(p.Records, v)
	}
	if p.Status == 0 || p.Status > Invalid {
		r.bad()
	}
	return p
}
