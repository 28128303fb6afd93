package segment

import (
	"bytes"
	"testing"

	"github.com/aether-lan/aether/store"
)

func TestRecord_EveryBitCounts(t *testing.T) {
	for _, order := range []uint64{0, 1 << 40} {
		good := appendRecord(nil, store.Ref{1, 2, 3}, Cache, order, []byte("body"))
		rec, body, err := parseRecord(good)
		if err != nil || rec.ref != (store.Ref{1, 2, 3}) || rec.class != Cache || rec.order != order || string(body) != "body" || rec.size() != int64(len(good)) {
			t.Fatalf("%+v %q %v", rec, body, err)
		}
		for i := range len(good) * 8 {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if _, _, err := parseRecord(b); err == nil {
				t.Errorf("bit %d flipped and not seen", i)
			}
		}
	}
}

// TestScan_StepsOverWhatIsNoRecord flips each bit of, and cuts after each byte of, three
// records with a gap of zeros between them.
func TestScan_StepsOverWhatIsNoRecord(t *testing.T) {
	var b []byte
	var starts []int
	for i := range 3 {
		b = append(b, make([]byte, i*300)...)
		starts = append(starts, len(b))
		b = appendRecord(b, store.Ref{byte(i)}, Log, uint64(i+1), []byte("AEch body"))
	}
	size := len(b) - starts[2]
	find := func(b []byte) (found [3]bool) {
		_, err := scan(bytes.NewReader(b), 0, int64(len(b)), func(rec record) error {
			if int(rec.offset) != starts[rec.ref[0]] {
				t.Fatalf("%s at %d", rec.ref, rec.offset)
			}
			found[rec.ref[0]] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		for j, found := range find(b) {
			if want := i/8 < starts[j] || i/8 >= starts[j]+size; found != want {
				t.Fatalf("bit %d flipped, record %d found: %v", i, j, found)
			}
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		for j, found := range find(b[:n]) {
			if want := n >= starts[j]+size; found != want {
				t.Fatalf("cut at %d, record %d found: %v", n, j, found)
			}
		}
	}
}

// countedReader counts what is read.
type countedReader struct {
	*bytes.Reader
	n int64
}

func (r *countedReader) ReadAt(p []byte, off int64) (int, error) {
	r.n += int64(len(p))
	return r.Reader.ReadAt(p, off)
}

// TestScan_HeadsWithoutBodiesCostLittle scans what is made to look like the beginning
// of a long record at every place where one fits.
func TestScan_HeadsWithoutBodiesCostLittle(t *testing.T) {
	head := recordHead(store.Ref{}, 0, 0, make([]byte, 1<<20))
	b := bytes.Repeat(head, 4<<20/len(head))
	r := &countedReader{Reader: bytes.NewReader(b)}
	if _, err := scan(r, 0, int64(len(b)), func(record) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if limit := int64(3 * searched * len(b)); r.n > limit {
		t.Errorf("%d bytes read of %d, want at most %d", r.n, len(b), limit)
	}
}

func FuzzScan(f *testing.F) {
	b := appendRecord(nil, store.Ref{1}, Replica, 0, []byte("one"))
	b = appendRecord(b, store.Ref{2}, Cache, 0, nil)
	b = appendRecord(b, store.Ref{3}, Log, 9, []byte("three"))
	f.Add(b)
	f.Add(append([]byte("AEch"), b...))
	f.Add(append(b, "AEch torn"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var upTo int64
		end, err := scan(bytes.NewReader(b), 0, int64(len(b)), func(rec record) error {
			from, to := int64(rec.offset), int64(rec.offset)+rec.size()
			again := appendRecord(nil, rec.ref, rec.class, rec.order, b[to-int64(rec.length):to])
			if from < upTo || !bytes.Equal(again, b[from:to]) {
				t.Fatalf("%+v behind %d; written again it differs", rec, upTo)
			}
			upTo = to
			return nil
		})
		if err != nil || end != upTo {
			t.Fatalf("ends at %d, want %d: %v", end, upTo, err)
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add(place{1, 2, 3, Cache, 0}.value())
	f.Add(place{1, 2, 3, Log, 4}.value())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePlace(b); err == nil && !bytes.Equal(p.value(), b) {
			t.Fatalf("%x parses to %+v", b, p)
		}
	})
}

// appendRecord appends the record of a body.
func appendRecord(b []byte, ref store.Ref, class Class, order uint64, body []byte) []byte {
	return append(append(b, recordHead(ref, class, order, body)...), body...)
}
