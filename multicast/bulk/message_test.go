package bulk

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/aether-lan/aether/multicast/seal"
)

// everyMessage has one of each kind with all fields set.
func everyMessage() []Message {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	hashes := [][32]byte{{1}, {2, 3}}
	incomplete := Report{Section: 7, Pass: 2, Received: 1000, Proof: true}
	incomplete.Holes[3], incomplete.Need[4] = 0x81, 2
	return []Message{
		Offer{
			Session: 1, Object: Object{Name: "a.iso", Size: 1 << 40, Root: [32]byte{9}, Block: 1400}, Seed: [32]byte{4},
			From: netip.MustParseAddrPort("192.0.2.1:4000"), Pull: 80, Group: netip.MustParseAddrPort("[ff15::1]:9"), Receivers: 5,
		}.Sign(key),
		Register{Session: 2, Station: StationID{5}, Name: "box", Pull: 9, Contiguous: 3, Have: []byte{0xff, 1}},
		Welcome{Session: 3, Station: StationID{6}, Number: 4, Token: 1 << 63},
		Solicit{Session: 4, Number: 5, Section: 6, Pass: 7, Partial: true, Sent: 8, Proof: hashes},
		Poll{Session: 5, Number: 6, Pass: 7, Sections: []uint32{1, 1 << 31}},
		Status{
			Session: 6, Station: 7, Token: 8, Number: 9, Contiguous: 10, Complete: 11, Window: 12, Arrival: 13,
			Reports: []Report{{Section: 3, Complete: true, Received: 4}, incomplete},
		},
		Train{Session: 7, Number: 8, Section: 9, First: 10, Count: 64},
		Probe{Session: 8, Number: 9, Index: 10, Count: 24, Padding: make([]byte, 1000)},
		TrainReport{Session: 9, Station: 10, Token: 11, Number: 12, Received: 63, Span: 1 << 40},
		Pull{Session: 10, Station: 11, Token: 12, Reason: "silent", Sources: []netip.AddrPort{netip.MustParseAddrPort("[fe80::1]:9")}},
		Finished{Session: 11, Station: StationID{7}, Name: "box", OK: true, Text: "done", Pulled: 5},
		Released{Session: 12, Station: StationID{8}},
		Close{Session: 13, Text: "interrupted"}.Sign(key),
	}
}

func TestMessages_SurviveTheWire(t *testing.T) {
	for _, m := range everyMessage() {
		b := AppendMessage(nil, m)
		got, err := ParseMessage(b)
		if err != nil {
			t.Errorf("%T: %v", m, err)
			continue
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%T: got %+v, want %+v", m, got, m)
		}
		for n := range b {
			if _, err := ParseMessage(b[:n]); err == nil {
				t.Errorf("%T: the first %d of %d bytes were taken", m, n, len(b))
			}
		}
		if _, err := ParseMessage(append(b, 0)); err == nil {
			t.Errorf("%T: a byte too many was taken", m)
		}
		if n := len(b) + prefixLen + seal.Overhead; n > 1472 {
			t.Errorf("%T: %d bytes sealed do not fit a frame", m, n)
		}
	}
}

// The longest of each message fit an Ethernet frame, sealed.
func TestMessages_LongestFitAFrame(t *testing.T) {
	status := Status{Reports: make([]Report, maxReports)}
	pull := Pull{Reason: strings.Repeat("x", maxText)}
	for range maxSources {
		pull.Sources = append(pull.Sources, netip.MustParseAddrPort("[2001:db8::1]:9"))
	}
	for _, m := range []Message{
		status, pull, Poll{Sections: make([]uint32, maxPoll)}, Solicit{Proof: make([][32]byte, 24)},
		Register{Name: strings.Repeat("x", maxName), Have: make([]byte, maxHave)},
		Offer{Object: Object{Name: strings.Repeat("x", maxName)}}, Probe{Padding: make([]byte, MaxBlock-80)},
	} {
		if n := len(AppendMessage(nil, m)) + prefixLen + seal.Overhead; n > 1500-48 {
			t.Errorf("%T has up to %d bytes, which with IPv6 does not fit a frame", m, n)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, m := range everyMessage() {
		f.Add(AppendMessage(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		again, err := ParseMessage(AppendMessage(nil, m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}

func TestOffer_Verify(t *testing.T) {
	good := everyMessage()[0].(Offer)
	if err := good.Verify(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Offer){
		"name": func(o *Offer) { o.Name = "b.iso" }, "size": func(o *Offer) { o.Size++ }, "root": func(o *Offer) { o.Root[0]++ },
		"from": func(o *Offer) { o.From = netip.MustParseAddrPort("192.0.2.2:4000") }, "key": func(o *Offer) { o.Key[0]++ },
		"session": func(o *Offer) { o.Session++ }, "seed": func(o *Offer) { o.Seed[1]++ }, "group": func(o *Offer) { o.Group = simGroup },
	} {
		o := good
		change(&o)
		if o.Verify() == nil {
			t.Errorf("a changed %s was taken", name)
		}
	}
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	for name, change := range map[string]func(*Offer){
		"path": func(o *Offer) { o.Name = "../x" }, "block": func(o *Offer) { o.Block = 9000 }, "negative": func(o *Offer) { o.Size = -1 },
		"to a group": func(o *Offer) { o.From = simGroup }, "not a group": func(o *Offer) { o.Group = simAddr(1) },
		"huge": func(o *Offer) { o.Size = 1 << 62 }, "no port": func(o *Offer) { o.From = netip.AddrPortFrom(o.From.Addr(), 0) },
	} {
		o := good
		change(&o)
		if o.Sign(key).Verify() == nil {
			t.Errorf("an offer with a bad %s was taken", name)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "image.iso", "with space", "ümläut.txt", "a..b", "con sole", "COM10", "-rf"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "../x", "a/b", `a\b`, "/etc/passwd", "a\x00b", "a\nb", ".bashrc", "CON", "nul.txt", "com1.log", "a.", "a ",
		"C:x", "x" + partSuffix, "x" + stateSuffix, "\xff", strings.Repeat("x", 250), "a\u0085b",
	} {
		if CheckName(name) == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestEnvelope_SealsBlocksAndMessages(t *testing.T) {
	secret := seal.Secret{1}
	offer := everyMessage()[0].(Offer)
	var boxes []*envelope
	for i := range 3 {
		s := &secret
		if i == 2 {
			s = &seal.Secret{2}
		}
		e, err := newEnvelope(s, newDice(uint64(i)))
		if err == nil {
			err = e.session(&offer)
		}
		if err != nil {
			t.Fatal(err)
		}
		boxes = append(boxes, e)
	}
	block := Block{Session: offer.Session, Section: 3, Index: 4, Content: []byte("content")}
	sealed := boxes[0].appendBlock(nil, &block)
	if bytes.Contains(sealed, []byte("content")) || len(sealed) != boxes[0].blockLen(7) {
		t.Errorf("the block is %q", sealed)
	}
	if again := boxes[0].appendBlock(nil, &block); !bytes.Equal(again, sealed) {
		t.Error("the same block is another packet: a nonce would cover two texts")
	}
	if _, got, err := boxes[1].open(bytes.Clone(sealed)); err != nil || !reflect.DeepEqual(got, block) {
		t.Errorf("opened %+v, %v", got, err)
	}
	if _, _, err := boxes[2].open(bytes.Clone(sealed)); !errors.Is(err, seal.ErrNotAuthentic) {
		t.Errorf("with another secret: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x10
		if _, _, err := boxes[1].open(bad); err == nil {
			t.Errorf("byte %d changed, and the block was taken", i)
		}
	}
	packet, _ := boxes[0].wrap(offer)
	if m, _, err := boxes[1].open(bytes.Clone(packet)); err != nil || !reflect.DeepEqual(m, Message(offer)) {
		t.Errorf("opened %+v, %v", m, err)
	}
	if _, _, err := boxes[1].open(bytes.Clone(packet)); !errors.Is(err, seal.ErrReplay) {
		t.Errorf("a replay: %v", err)
	}
	plain, _ := newEnvelope(nil, nil)
	if _, _, err := plain.open(bytes.Clone(packet)); !errors.Is(err, ErrSealed) {
		t.Errorf("without a secret: %v", err)
	}
	open, _ := plain.wrap(offer)
	if _, _, err := boxes[1].open(open); !errors.Is(err, ErrPlain) {
		t.Errorf("with a secret, a plain packet: %v", err)
	}
}
