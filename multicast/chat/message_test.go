package chat

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var (
	anaID = MemberID{0xa0, 15: 1}
	bobID = MemberID{0xb0, 15: 2}
	every = cmp.AllowUnexported(hello{}, claim{}, goodbye{}, piece{}, request{}, want{}, body{})
)

// The bytes of every packet. They must not change while the magic is AEC1.
var packetTable = []struct {
	name string
	p    packet
	hex  string
}{
	{"hello", &hello{flags: flagNew, beat: 300, interval: 3000, name: "ana", claims: []claim{{bobID, 2, 9, 8}}},
		"01" + "01" + "ac02" + "b817" + "03616e61" + "01" + "b0000000000000000000000000000002" + "02" + "08" + "09"},
	{"empty hello", &hello{beat: 1}, "01" + "00" + "01" + "00" + "00" + "00"},
	{"goodbye", &goodbye{beat: 5}, "0205"},
	{"piece", &piece{author: anaID, sequence: 200, index: 0, count: 1, bytes: []byte("hi")},
		"03" + "a0000000000000000000000000000001" + "c801" + "00" + "01" + "6869"},
	{"request", &request{wants: []want{{bobID, 4, 3, 0}, {anaID, 9, 1, 5}}},
		"04" + "02" + "b0000000000000000000000000000002" + "04" + "03" + "0000000000000000" + "a0000000000000000000000000000001" + "09" + "01" + "0000000000000005"},
}

func TestPacket_Golden(t *testing.T) {
	for _, c := range packetTable {
		if got := hex.EncodeToString(c.p.append(nil)); got != c.hex {
			t.Errorf("%s: %s, want %s", c.name, got, c.hex)
		}
		b, _ := hex.DecodeString(c.hex)
		p, err := parse(b)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if d := cmp.Diff(c.p, p, every); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		for n := range b {
			if _, err := parse(b[:n]); err == nil && c.name != "piece" {
				t.Errorf("%s: cut to %d bytes it is read", c.name, n)
			}
		}
		if _, err := parse(append(b, 0)); err == nil && c.name != "piece" {
			t.Errorf("%s: with a byte behind it is read", c.name)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	id := strings.Repeat("00", 16)
	for name, s := range map[string]string{
		"nothing":                    "",
		"unknown type":               "05",
		"type zero":                  "0000",
		"name of 65 bytes":           "010001" + "00" + "41" + strings.Repeat("61", 65) + "00",
		"49 claims":                  "010001" + "00" + "00" + "31" + strings.Repeat(id+"010000", 49),
		"more claims than bytes":     "010001" + "00" + "00" + "02" + id + "010000",
		"sequence beyond the end":    "03" + id + "ffffffffffffffffff01" + "0001" + "61",
		"varint without end":         "03" + id + "ffffffffffffffffffff01" + "0001" + "61",
		"piece without bytes":        "03" + id + "01" + "0001",
		"piece of sequence 0":        "03" + id + "00" + "0001" + "61",
		"piece of no pieces":         "03" + id + "01" + "0000" + "61",
		"piece 1 of 1":               "03" + id + "01" + "0101" + "61",
		"piece of 65":                "03" + id + "01" + "0041" + "61",
		"first piece that is short":  "03" + id + "01" + "0002" + "61",
		"piece that is too long":     "03" + id + "01" + "0001" + strings.Repeat("61", pieceSize+1),
		"request for none":           "04" + "01" + id + "01" + "00" + strings.Repeat("00", 8),
		"request for 65":             "04" + "01" + id + "01" + "41" + strings.Repeat("00", 8),
		"33 requests":                "04" + "21" + strings.Repeat(id+"0101"+strings.Repeat("00", 8), 33),
		"request of far sequence":    "04" + "01" + id + "ffffffffffffffffff01" + "01" + strings.Repeat("00", 8),
		"more requests than follow":  "04" + "02" + id + "01" + "01" + strings.Repeat("00", 8),
		"more requests than 2 to 62": "04" + "ffffffffffffffff7f",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(name, err)
		}
		if p, err := parse(b); err == nil {
			t.Errorf("%s: read as %+v", name, p)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": {}, "unknown kind": {2, 1, 1, 0}, "far stamp": append([]byte{0}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x00"...),
		"year 10000": append([]byte{0, 1}, "\xff\xff\xff\xff\xff\xff\x7f\x00"...), "name without end": {0, 1, 1, 5, 'a'},
	} {
		if m, err := parseBody(b); err == nil {
			t.Errorf("message, %s: read as %+v", name, m)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range packetTable {
		f.Add(c.p.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		q, err := parse(p.append(nil))
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if d := cmp.Diff(p, q, every); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzParseBody(f *testing.F) {
	f.Add((&body{kind: KindAction, stamp: 7, sent: 1700000000000, name: "ana", text: "waves\nagain"}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseBody(b)
		if err != nil {
			return
		}
		if n, err := parseBody(m.append(nil)); err != nil || n != m {
			t.Fatalf("%+v, then %+v, %v", m, n, err)
		}
	})
}

// Every datagram fits the least MTU of IPv6, sealed or not.
func TestEnvelope_FitsTheLeastMTU(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	r := p.enter("ana")
	full := &piece{author: anaID, sequence: maxSequence, index: 0, count: maxPieces, bytes: make([]byte, pieceSize)}
	q := &request{}
	for range maxWants {
		q.wants = append(q.wants, want{anaID, maxSequence, 1, ^uint64(0)})
	}
	for i := range 300 {
		id := MemberID{byte(i), byte(i >> 8), 9}
		r.log.authors[id] = &author{id: id, next: maxSequence, held: map[uint64]*record{maxSequence - 1: {}}}
	}
	h := &hello{flags: 255, beat: maxSequence, interval: 60000, name: strings.Repeat("n", maxNameLen), claims: r.claims()}
	for _, k := range []packet{full, q, h} {
		b, err := r.env.wrap(k)
		if err != nil || len(b) > maxDatagram {
			t.Errorf("%T: %d bytes, %v", k, len(b), err)
		}
	}
	if len(h.claims) < 20 {
		t.Errorf("%d claims in a hello", len(h.claims))
	}
}

func TestCleanName(t *testing.T) {
	for name, want := range map[string]string{" ana ": "ana", "Ana María 漢字 🦆": "Ana María 漢字 🦆", strings.Repeat("n", 64): strings.Repeat("n", 64)} {
		if got, err := CleanName(name); got != want || err != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "  ", "a\nb", "a\x1b[2J", "a\u202eb", "\xff", strings.Repeat("n", 65)} {
		if got, err := CleanName(name); err == nil {
			t.Errorf("%q is accepted as %q", name, got)
		}
		if got := heardName(name); got != "?" || !utf8.ValidString(got) {
			t.Errorf("%q is heard as %q", name, got)
		}
	}
}

func TestRecord_PiecesJoinAgain(t *testing.T) {
	for _, n := range []int{1, pieceSize - 1, pieceSize, pieceSize + 1, maxBody} {
		rec := &record{bytes: bytes.Repeat([]byte("0123456789"), n/10+1)[:n]}
		a := &assembly{count: rec.pieces(), pieces: make([][]byte, rec.pieces())}
		for i := rec.pieces() - 1; i >= 0; i-- {
			p := rec.piece(anaID, 1, i)
			if q, err := parse(p.append(nil)); err != nil {
				t.Fatalf("piece %d of %d bytes: %v", i, n, err)
			} else if !a.add(q.(*piece)) || a.add(q.(*piece)) {
				t.Errorf("piece %d of %d bytes is not new once", i, n)
			}
		}
		if !a.complete() || !bytes.Equal(a.join(), rec.bytes) {
			t.Errorf("%d bytes do not join again", n)
		}
	}
}
