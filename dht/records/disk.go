package records

import (
	"encoding/binary"
	"time"
)

// Row is a change of one key of the node's store. The keys of this package begin with
// one of the letters below; its user may put a prefix before them.
type Row struct {
	Key   []byte
	Value []byte // nil: the key is deleted
}

// Batch is rows that must be on disk all or not at all, in order: a later row of a
// key wins.
type Batch []Row

// The first byte of a key.
const (
	rowFloor   = 'f' // lineage, From, To: the highest epoch ever taken part in
	rowReplica = 'g' // number: a group, what was promised and what follows
	rowLineage = 'l' // the least lineage heard of
	rowRecord  = 'r' // set, name: a record
	rowSeq     = 's' // number: the last write that the replica has
)

func numberKey(letter byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{letter}, n)
}

func recordKey(set uint64, name string) []byte {
	return append(numberKey(rowRecord, set), name...)
}

// disk knows what is not saved yet and what waits for it.
type disk struct {
	rows  Batch
	bytes int
	next  uint64 // number of the next set or replica
	seq   uint64 // of the batch handed out last
	saved uint64
	held  []held
}

// held waits until batch need is saved.
type held struct {
	need   uint64
	packet Packet
	// own and upTo, if own is set: the leader has its writes to upTo on disk.
	own  *lead
	upTo uint64
}

func (d *disk) set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	d.rows = append(d.rows, Row{key, value})
	d.bytes += len(key) + len(value)
}

func (d *disk) delete(key []byte) { d.rows = append(d.rows, Row{key, nil}) }

// pending is the batch on which everything until now depends.
func (d *disk) pending() uint64 {
	if len(d.rows) > 0 {
		return d.seq + 1
	}
	return d.seq
}

func (d *disk) number() uint64 { d.next++; return d.next }

// Unsaved returns what is to be put on disk next, if anything, and its number. It is
// handed out once; batches must be written in their order. Nothing that depends on a
// batch leaves before Saved.
func (e *Engine) Unsaved() (Batch, uint64, bool) {
	for _, r := range e.replicas {
		if r.moved {
			r.moved = false
			e.disk.set(numberKey(rowSeq, r.number), binary.AppendUvarint(nil, r.seq))
		}
	}
	if len(e.disk.rows) == 0 {
		return nil, e.disk.seq, false
	}
	b := e.disk.rows
	e.disk.rows, e.disk.bytes = nil, 0
	e.disk.seq++
	for _, l := range e.leads {
		if l.handed < int64(l.r.seq) {
			l.handed = int64(l.r.seq)
			e.disk.held = append(e.disk.held, held{need: e.disk.seq, own: l, upTo: l.r.seq})
		}
	}
	return b, e.disk.seq, true
}

// Saved says that all batches to seq are on disk, for good.
func (e *Engine) Saved(now time.Time, seq uint64) {
	e.enter(now)
	e.disk.saved = max(e.disk.saved, min(seq, e.disk.seq))
	e.release()
	e.drain()
}

// release lets go what was waiting for the disk.
func (e *Engine) release() {
	n := 0
	for _, h := range e.disk.held {
		if h.need > e.disk.saved {
			break
		}
		n++
		if h.own == nil {
			e.send(h.packet.To, h.packet.Message)
		} else if e.leading(h.own) {
			h.own.saved = int64(h.upTo)
			e.commit(h.own)
		}
	}
	e.disk.held = append(e.disk.held[:0], e.disk.held[n:]...)
}
