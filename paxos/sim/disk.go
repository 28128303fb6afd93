package sim

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"

	"github.com/aether-lan/aether/paxos"
)

// sector is what a disk writes at once: after a crash each one that was not synced
// is there or is not.
const sector = 512

// disk is a file of records behind a page cache, and the application's snapshot.
// What is not synced when the machine crashes is lost sector by sector.
type disk struct {
	file   []byte
	synced int
	state  *machine // the application's snapshot: with its slot, at once
	index  paxos.Slot
	stable contents // what the synced bytes say
	cached contents // what all bytes say
}

// contents are the acceptor's state as records make it.
type contents struct {
	hard      paxos.Hard
	forgotten paxos.Slot
	entries   map[paxos.Slot]paxos.Entry
}

func newDisk() *disk {
	return &disk{stable: contents{entries: map[paxos.Slot]paxos.Entry{}}, cached: contents{entries: map[paxos.Slot]paxos.Entry{}}}
}

// appendRecord frames r: length, checksum, body.
func appendRecord(b []byte, r paxos.Record) []byte {
	at := len(b)
	b = append(b, make([]byte, 8)...)
	h := r.Hard.Append(nil)
	b = binary.AppendUvarint(b, uint64(len(h)))
	b = append(b, h...)
	b = binary.AppendUvarint(b, uint64(r.Forget))
	for _, e := range r.Entries {
		b = e.Append(b)
	}
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-8))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.ChecksumIEEE(b[at+8:]))
	return b
}

// parseRecord takes a record from the front of b; ok is false at the end and at what
// is torn.
func parseRecord(b []byte) (r paxos.Record, size int, ok bool) {
	if len(b) < 8 {
		return r, 0, false
	}
	size = int(binary.LittleEndian.Uint32(b)) + 8
	if size > len(b) || size < 10 || crc32.ChecksumIEEE(b[8:size]) != binary.LittleEndian.Uint32(b[4:]) {
		return r, 0, false
	}
	body := b[8:size]
	n, k := binary.Uvarint(body)
	hard, err := paxos.ParseHard(body[k : k+int(n)])
	if err != nil {
		return r, 0, false
	}
	r.Hard = hard
	body = body[k+int(n):]
	forget, k := binary.Uvarint(body)
	r.Forget = paxos.Slot(forget)
	for body = body[k:]; len(body) > 0; {
		var e paxos.Entry
		if e, body, err = paxos.ParseEntry(body); err != nil {
			return r, 0, false
		}
		r.Entries = append(r.Entries, e)
	}
	return r, size, true
}

func (c *contents) apply(r paxos.Record) {
	c.hard = r.Hard
	for _, e := range r.Entries {
		e.Value = slices.Clone(e.Value)
		c.entries[e.Slot] = e
	}
	for s := c.forgotten + 1; s <= r.Forget; s++ {
		delete(c.entries, s)
	}
	c.forgotten = max(c.forgotten, r.Forget)
}

// write puts r into the page cache.
func (d *disk) write(r paxos.Record) {
	d.file = appendRecord(d.file, r)
	d.cached.apply(r)
}

// sync makes the first size bytes durable and returns the entries among them.
func (d *disk) sync(size int) (entries []paxos.Entry) {
	for d.synced < size {
		r, n, ok := parseRecord(d.file[d.synced:])
		if !ok {
			panic("sim: a record that was written cannot be read")
		}
		d.stable.apply(r)
		entries = append(entries, r.Entries...)
		d.synced += n
	}
	return entries
}

// compact writes the file anew, without what was forgotten: under another name,
// synced, then renamed.
func (d *disk) compact() {
	if d.synced < len(d.file) || len(d.file) < 16<<10 {
		return
	}
	r := paxos.Record{Hard: d.stable.hard, Forget: d.stable.forgotten}
	for s := d.stable.forgotten + 1; ; s++ {
		e, ok := d.stable.entries[s]
		if !ok {
			break
		}
		r.Entries = append(r.Entries, e)
	}
	d.file = appendRecord(nil, r)
	d.synced = len(d.file)
}

// crash loses what is not synced, but for some sectors; what then cannot be read is
// cut off, as a log does when it is opened.
func (d *disk) crash(rng *rand.Rand, lose float64) {
	keep := slices.Clone(d.file)
	for at := d.synced; at < len(keep); {
		end := min((at/sector+1)*sector, len(keep))
		if rng.Float64() < lose {
			clear(keep[at:end])
		}
		at = end
	}
	d.file, d.synced = keep, 0
	d.stable = contents{entries: map[paxos.Slot]paxos.Entry{}}
	for {
		r, n, ok := parseRecord(d.file[d.synced:])
		if !ok {
			break
		}
		d.stable.apply(r)
		d.synced += n
	}
	d.file = d.file[:d.synced]
	d.cached = contents{hard: d.stable.hard, forgotten: d.stable.forgotten, entries: map[paxos.Slot]paxos.Entry{}}
	for s, e := range d.stable.entries {
		d.cached.entries[s] = e
	}
}

// load is what a node finds when it starts.
func (d *disk) load() (st paxos.State, m *machine) {
	st = paxos.State{Hard: d.stable.hard, Forgotten: d.stable.forgotten}
	if d.state != nil {
		m = d.state.clone()
		m.slot = d.index
		st.Applied = paxos.Snapshot{Slot: d.index, Members: m.members}
		st.Snapshot = st.Applied
	}
	for s := st.Applied.Slot + 1; ; s++ {
		e, ok := d.stable.entries[s]
		if !ok {
			return st, m
		}
		st.Entries = append(st.Entries, e)
	}
}

// Entries implements paxos.Storage.
func (d *disk) Entries(first paxos.Slot, limit int) (list []paxos.Entry, err error) {
	for s := first; limit > 0; s++ {
		e, ok := d.cached.entries[s]
		if !ok {
			return list, nil
		}
		list = append(list, e)
		limit -= len(e.Value) + 32
	}
	return list, nil
}
