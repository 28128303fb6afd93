package records

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/internal/wire"
)

// Limits of what a record holds. Larger ones are refused with [TooLarge].
const (
	MaxName    = 1 << 10  // bytes of a name
	MaxValue   = 64 << 10 // bytes of a value
	MaxHolder  = 256      // bytes of a lease's holder
	MaxUnknown = 16 << 10 // bytes of fields that this version does not know
)

// maxVersion bounds what is believed of a version. Nobody gets there one by one, and
// there is always a next one.
const maxVersion = 1 << 60

// remembered is how many of the last requests a record knows by their ID: a request
// that comes again is answered and not done twice.
const remembered = 8

// errRecord says that bytes are no record.
var errRecord = errors.New("malformed record")

// Record is what is stored under a name. Slices are shared and must not be changed.
type Record struct {
	Name string
	// Version is 1 when the name is first written and grows by 1 with each change,
	// also over a deletion as long as that is remembered (Config.Tombstone).
	Version uint64
	Value   []byte
	// TTL is after what time the record goes by itself; 0 is never. In answers it is
	// what is left of it.
	TTL time.Duration
	// Holder and Fence are of a lease: who has it, and the version at which it was
	// acquired. Fences of a name grow for ever: what a lease protects can refuse the
	// holder of a smaller one, who may not know yet that its lease is over.
	Holder string
	Fence  uint64
	// Deleted: nothing is stored; what is left of the record is its version.
	Deleted bool
	// Unknown are the fields that a newer version of this program wrote: tag and
	// counted bytes each, by rising tags. They are kept, whoever writes after.
	Unknown []byte

	memory []memo // newest last
}

// memo remembers that a request made a version.
type memo struct {
	id      RequestID
	version uint64
}

// The tags of a record's fields. A number is never used for something else.
const (
	tagVersion = 1 + iota
	tagValue
	tagTTL
	tagHolder
	tagFence
	tagDeleted
	tagMemory
	tagFirstUnknown
)

// AppendRecord appends the fields of r, without its name. A field whose value is
// zero is left out; tags rise.
func AppendRecord(b []byte, r Record) []byte {
	b = appendNumber(b, tagVersion, r.Version)
	b = appendField(b, tagValue, r.Value)
	b = appendNumber(b, tagTTL, uint64(r.TTL))
	b = appendField(b, tagHolder, []byte(r.Holder))
	b = appendNumber(b, tagFence, r.Fence)
	if r.Deleted {
		b = appendNumber(b, tagDeleted, 1)
	}
	if len(r.memory) > 0 {
		var m []byte
		for _, v := range r.memory {
			m = append(m, v.id[:]...)
			m = binary.BigEndian.AppendUint64(m, v.version)
		}
		b = appendField(b, tagMemory, m)
	}
	return append(b, r.Unknown...)
}

func appendField(b []byte, tag uint64, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return wire.AppendCounted(binary.AppendUvarint(b, tag), v)
}

func appendNumber(b []byte, tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	var n [binary.MaxVarintLen64]byte
	return appendField(b, tag, n[:binary.PutUvarint(n[:], v)])
}

// ParseRecord reads what AppendRecord writes; name is put beside it. Slices of the
// record lie in b. It fails on fields out of order, on values over their limits and
// on anything that AppendRecord would write differently.
func ParseRecord(name string, b []byte) (Record, error) {
	r := Record{Name: name}
	last := uint64(0)
	for rest := b; len(rest) > 0; {
		f, n, err := nextField(rest)
		if err == nil && f.tag <= last {
			err = errRecord
		}
		if err == nil && f.tag >= tagFirstUnknown {
			r.Unknown, rest, err = rest, nil, checkFields(rest, last)
		} else if err == nil {
			last, rest, err = f.tag, rest[n:], r.set(f)
		}
		if err != nil {
			return Record{}, fmt.Errorf("records: parse %q: %w", name, err)
		}
	}
	if len(name) > MaxName || len(r.Value) > MaxValue || len(r.Holder) > MaxHolder || len(r.Unknown) > MaxUnknown || r.Version == 0 || r.Version > maxVersion {
		return Record{}, fmt.Errorf("records: parse %q: %w: sizes, or no version", name, errRecord)
	}
	return r, nil
}

// field is one tagged field.
type field struct {
	tag   uint64
	value []byte
}

func nextField(b []byte) (f field, n int, err error) {
	w := wire.NewReader(b)
	f.tag = shortest(w)
	size := shortest(w)
	if size == 0 || size > uint64(w.Len()) {
		return f, 0, errRecord
	}
	f.value = w.Bytes(int(size))
	return f, w.Offset(), w.Err()
}

// shortest reads a number that is written in as few bytes as it needs: what was
// parsed is then written as it was.
func shortest(w *wire.Reader) uint64 {
	from := w.Offset()
	v := w.Uvarint()
	if w.Err() == nil && w.Offset()-from != len(binary.AppendUvarint(nil, v)) {
		w.Fail(errRecord)
	}
	return v
}

// checkFields verifies that b is fields with tags that rise from over last.
func checkFields(b []byte, last uint64) error {
	for len(b) > 0 {
		f, n, err := nextField(b)
		if err != nil || f.tag <= last {
			return errRecord
		}
		last, b = f.tag, b[n:]
	}
	return nil
}

func (r *Record) set(f field) error {
	var v uint64
	if f.tag != tagValue && f.tag != tagHolder && f.tag != tagMemory {
		w := wire.NewReader(f.value)
		if v = shortest(w); w.End() != nil || v == 0 {
			return errRecord
		}
	}
	switch f.tag {
	case tagVersion:
		r.Version = v
	case tagValue:
		r.Value = f.value
	case tagTTL:
		if v > uint64(maxTTL) {
			return errRecord
		}
		r.TTL = time.Duration(v)
	case tagHolder:
		r.Holder = string(f.value)
	case tagFence:
		r.Fence = v
	case tagDeleted:
		if r.Deleted = true; v != 1 {
			return errRecord
		}
	case tagMemory:
		return r.setMemory(f.value)
	default:
		return errRecord // tag 0
	}
	return nil
}

func (r *Record) setMemory(b []byte) error {
	const size = len(RequestID{}) + 8
	if len(b)%size != 0 || len(b) > remembered*size {
		return errRecord
	}
	for ; len(b) > 0; b = b[size:] {
		m := memo{version: binary.BigEndian.Uint64(b[size-8:])}
		copy(m.id[:], b)
		r.memory = append(r.memory, m)
	}
	return nil
}

// made returns the version that the request id made.
func (r *Record) made(id RequestID) (uint64, bool) {
	for _, m := range r.memory {
		if m.id == id {
			return m.version, true
		}
	}
	return 0, false
}

// remember notes that id made the present version. The slice is a new one: readers
// may hold the old.
func (r *Record) remember(id RequestID) {
	old := r.memory
	if len(old) >= remembered {
		old = old[len(old)-remembered+1:]
	}
	r.memory = append(slices.Clip(slices.Clone(old)), memo{id, r.Version})
}

// forgotten is the newest version whose request the record may have forgotten.
func (r *Record) forgotten() uint64 {
	if len(r.memory) < remembered {
		return 0
	}
	return r.memory[0].version - 1
}

// mergeFields returns the fields of old with those of newer put over them, by tag.
// Both must be well formed.
func mergeFields(old, newer []byte) []byte {
	if len(newer) == 0 {
		return old
	}
	var out []byte
	for len(old) > 0 || len(newer) > 0 {
		a, n, errA := nextField(old)
		b, m, errB := nextField(newer)
		switch {
		case errB != nil || errA == nil && a.tag < b.tag:
			out, old = append(out, old[:n]...), old[n:]
		case errA == nil && a.tag == b.tag:
			old = old[n:]
		default:
			out, newer = append(out, newer[:m]...), newer[m:]
		}
	}
	return out
}

// size is what the record counts against Config.MaxBytes.
func (r *Record) size() int64 {
	return int64(len(r.Name) + len(r.Value) + len(r.Holder) + len(r.Unknown) + 24*len(r.memory) + 160)
}
