package log

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/aether-lan/aether/paxos"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	keyHard       = []byte{'h'}
	keyForgotten  = []byte{'f'}
	keyGeneration = []byte{'g'}
)

func keyEntry(s paxos.Slot) []byte { return appendKeyEntry(nil, s) }

func appendKeyEntry(b []byte, s paxos.Slot) []byte {
	return binary.BigEndian.AppendUint64(append(b, 'e'), uint64(s))
}

func keyApplied(generation uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'m'}, generation)
}

func keyState(generation uint64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{'s'}, generation), key...)
}

// checked appends the checksum of key and value to value.
func checked(key, value []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
	return binary.BigEndian.AppendUint32(value, sum)
}

// unchecked returns the value without its checksum, or a *DamagedError.
func unchecked(key, value []byte) ([]byte, error) {
	n := len(value) - crc32.Size
	if n < 0 {
		return nil, &DamagedError{fmt.Sprintf("the record of key %x is cut off", key)}
	}
	if sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[:n]); sum != binary.BigEndian.Uint32(value[n:]) {
		return nil, &DamagedError{fmt.Sprintf("the record of key %x has a wrong checksum", key)}
	}
	return value[:n], nil
}
