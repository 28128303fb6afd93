package segment

import (
	"bytes"
	"testing"

	"github.com/aether-lan/aether/store"
)

func TestRecord_EveryBitCounts(t *testing.T) {
	good := appendRecord(nil, store.Ref{1, 2, 3}, Cache, []byte("body"))
	if ref, class, body, err := parseRecord(good); err != nil || ref != (store.Ref{1, 2, 3}) || class != Cache || string(body) != "body" {
		t.Fatalf("%s %s %q %v", ref, class, body, err)
	}
	for i := range len(good) * 8 {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, _, _, err := parseRecord(b); err == nil {
			t.Errorf("bit %d flipped and not seen", i)
		}
	}
}

func FuzzScan(f *testing.F) {
	b := appendRecord(nil, store.Ref{1}, Replica, []byte("one"))
	b = appendRecord(b, store.Ref{2}, Cache, nil)
	f.Add(b)
	f.Add(append(b, "AEch torn"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		end, err := scan(bytes.NewReader(b), 0, int64(len(b)), func(ref store.Ref, class Class, offset int64, n int) {
			again = appendRecord(again, ref, class, b[offset+headSize:offset+headSize+int64(n)])
		})
		if err != nil || !bytes.Equal(again, b[:end]) {
			t.Fatalf("%d bytes scanned: %v; written again they differ", end, err)
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add(place{1, 2, 3, Cache}.value())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePlace(b); err == nil && !bytes.Equal(p.value(), b) {
			t.Fatalf("%x parses to %+v", b, p)
		}
	})
}

// appendRecord appends the record of a body.
func appendRecord(b []byte, ref store.Ref, class Class, body []byte) []byte {
	head := recordHead(ref, class, body)
	return append(append(b, head[:]...), body...)
}
