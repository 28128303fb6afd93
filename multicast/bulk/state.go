package bulk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/aether-lan/aether/internal/wire"
)

// A state file stands beside an unfinished file and says which sections of it were
// verified. It is only a hint: each section is verified again before it counts, so
// neither a crash nor a lie in it does harm.
//
//	header: "aether bulk state 1\n" ‖ root (32) ‖ size (8) ‖ block (2)
//	record: section (4) ‖ number of hashes (1) ‖ hashes to the root ‖ CRC-32 (4)
const stateMagic = "aether bulk state 1\n"

// stateRecord is a section that was verified.
type stateRecord struct {
	section int
	proof   [][32]byte
}

// errOtherObject says that a state file is not of the object offered.
var errOtherObject = errors.New("the state is of another object")

func appendStateHeader(b []byte, o *Object) []byte {
	b = append(b, stateMagic...)
	b = append(b, o.Root[:]...)
	b = appendUint64(b, uint64(o.Size))
	return binary.BigEndian.AppendUint16(b, uint16(o.Block))
}

func appendStateRecord(b []byte, rec stateRecord) []byte {
	from := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(rec.section))
	b = appendHashes(b, rec.proof)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
}

// parseState reads the records of a state file of o. What follows a record that is
// cut short or damaged is left out: the machine stopped while it was written.
func parseState(b []byte, o *Object) ([]stateRecord, error) {
	head := appendStateHeader(nil, o)
	if len(b) < len(head) || string(b[:len(head)]) != string(head) {
		return nil, fmt.Errorf("bulk: read state: %w", errOtherObject)
	}
	var list []stateRecord
	r := wire.NewReader(b[len(head):])
	for r.Len() > 0 {
		rec, ok := readStateRecord(r, b[len(head):])
		if !ok || rec.section >= o.Sections() {
			break
		}
		list = append(list, rec)
	}
	return list, nil
}

// readStateRecord reads the next record of all; ok is false when it is not whole.
func readStateRecord(r *wire.Reader, all []byte) (rec stateRecord, ok bool) {
	from := r.Offset()
	rec = stateRecord{section: int(r.Uint32()), proof: readHashes(r)}
	to := r.Offset()
	sum := r.Uint32()
	return rec, r.Err() == nil && sum == crc32.ChecksumIEEE(all[from:to])
}
