package tree

import (
	"encoding/binary"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// The major types of CBOR (RFC 8949 section 3.1) that operations consist of.
const (
	cborUint  = 0x00
	cborNeg   = 0x20
	cborBytes = 0x40
	cborText  = 0x60
	cborArray = 0x80
	cborFalse = 0xf4 // section 3.3
	cborTrue  = 0xf5
)

// appendHead appends a head with its argument in the shortest form, as canonical
// CBOR has it (RFC 8949 section 4.2.1).
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, cborNeg, uint64(-(n + 1)))
	}
	return appendHead(b, cborUint, uint64(n))
}

func appendBytes(b, s []byte) []byte {
	return append(appendHead(b, cborBytes, uint64(len(s))), s...)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, cborTrue)
	}
	return append(b, cborFalse)
}

// appendField appends what a pointer of [Op.fields] leads to.
func appendField(b []byte, f any) ([]byte, error) {
	switch f := f.(type) {
	case *store.MachineID:
		return appendBytes(b, f[:]), nil
	case *store.FileID:
		return appendBytes(b, f[:]), nil
	case *[]byte:
		return appendBytes(b, *f), nil
	case *uint64:
		return appendHead(b, cborUint, *f), nil
	case *uint32:
		return appendHead(b, cborUint, uint64(*f)), nil
	case *store.Time:
		return appendHead(b, cborUint, uint64(*f)), nil
	case *Kind:
		return appendHead(b, cborUint, uint64(*f)), nil
	case *int64:
		return appendInt(b, *f), nil
	case *bool:
		return appendBool(b, *f), nil
	case *string:
		return append(appendHead(b, cborText, uint64(len(*f))), *f...), nil
	case *store.Content:
		b = appendInt(appendHead(b, cborArray, 4), f.Size)
		b = appendHead(appendBytes(b, f.Root[:]), cborUint, uint64(f.Depth))
		return appendHead(b, cborUint, uint64(f.Oldest)), nil
	case *[]store.MachineID:
		b = appendHead(b, cborArray, uint64(len(*f)))
		for i := range *f {
			b = appendBytes(b, (*f)[i][:])
		}
		return b, nil
	case *[]dotWire:
		b = appendHead(b, cborArray, uint64(len(*f)))
		for i := range *f {
			d := &(*f)[i]
			b = appendHead(appendBytes(appendHead(b, cborArray, 2), d.Machine[:]), cborUint, d.Seq)
		}
		return b, nil
	}
	return b, fmt.Errorf("%w: field of type %T", ErrBadOp, f)
}
