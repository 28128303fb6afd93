package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/aether-lan/aether/internal/wire"
)

func TestReader_ReadsFieldsInOrder(t *testing.T) {
	b := []byte{1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4}
	b = binary.AppendUvarint(b, 300)
	b = wire.AppendCounted(b, "name")
	r := wire.NewReader(append(b, 9))
	if v := r.Uint8(); v != 1 {
		t.Errorf("Uint8 = %d", v)
	}
	if v := r.Uint16(); v != 2 {
		t.Errorf("Uint16 = %d", v)
	}
	if v := r.Uint32(); v != 3 {
		t.Errorf("Uint32 = %d", v)
	}
	if v := r.Uint64(); v != 4 {
		t.Errorf("Uint64 = %d", v)
	}
	if v := r.Uvarint(); v != 300 {
		t.Errorf("Uvarint = %d", v)
	}
	if v := r.Counted(4); string(v) != "name" {
		t.Errorf("Counted = %q", v)
	}
	if err := r.End(); !errors.Is(err, wire.ErrTrailing) {
		t.Errorf("End = %v, want ErrTrailing", err)
	}
}

func TestReader_FirstErrorSticks(t *testing.T) {
	r := wire.NewReader([]byte{1, 2, 3})
	if v := r.Uint32(); v != 0 || !errors.Is(r.Err(), wire.ErrShort) {
		t.Fatalf("Uint32 of three bytes = %d, %v", v, r.Err())
	}
	if v := r.Uint8(); v != 0 {
		t.Errorf("after an error Uint8 = %d, want 0", v)
	}
	first := r.Err()
	r.Fail(errors.New("later"))
	if r.Err() != first || r.Len() != 0 {
		t.Errorf("the first error did not stay: %v, len %d", r.Err(), r.Len())
	}
}

func TestReader_RefusesLengths(t *testing.T) {
	for name, b := range map[string][]byte{
		"over the limit":      wire.AppendCounted(nil, "12345"),
		"beyond the packet":   {4, 'a'},
		"beyond an int":       binary.AppendUvarint(nil, 1<<63),
		"endless varint":      bytes.Repeat([]byte{0xff}, 12),
		"nothing there":       {},
		"varint cut in two":   {0x80},
		"limit and one, huge": binary.AppendUvarint(nil, 1<<40),
	} {
		r := wire.NewReader(b)
		if p := r.Counted(4); p != nil || r.Err() == nil {
			t.Errorf("%s: Counted = %q, %v", name, p, r.Err())
		}
	}
	r := wire.NewReader([]byte{1})
	if r.Bytes(-1) != nil || r.Err() == nil {
		t.Error("a negative length was accepted")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2}, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, limit uint8) {
		r := wire.NewReader(b)
		for r.Err() == nil && r.Len() > 0 {
			if p := r.Counted(int(limit)); len(p) > int(limit) {
				t.Fatalf("%d bytes over the limit %d", len(p), limit)
			}
		}
		if r.Offset() > len(b) {
			t.Fatalf("read %d of %d", r.Offset(), len(b))
		}
	})
}
