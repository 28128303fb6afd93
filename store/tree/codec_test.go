package tree_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func someOps() []tree.Op {
	m := store.MachineID{1}
	dot := store.Dot{Machine: m, Seq: 7}
	seen := []store.Dot{{Machine: store.MachineID{2}, Seq: 3}, {Machine: store.MachineID{3}, Seq: 1}}
	v := tree.Version{Content: store.Content{Size: 5, Root: store.Ref{1}}, Mode: 0o644, ModTime: time.Unix(5, 6).UTC(), Holders: []store.MachineID{m}}
	content := v
	content.Mode = 0
	owned := v
	owned.UID, owned.GID = 1001, 1
	return []tree.Op{
		{Dot: dot, Time: 9, Kind: tree.KindCreate, Name: "x", Version: owned},
		{Dot: dot, Time: 9, Kind: tree.KindAttributes, Node: store.FileID{1}, Version: tree.Version{Mode: 7, GID: 1}},
		{Dot: dot, Time: 9, Kind: tree.KindAttributes, Node: store.FileID{1}, Version: tree.Version{ModTime: time.Unix(0, 0).UTC()}, More: [][]byte{{1}}},
		{Dot: dot, Time: 9, Seen: seen, Kind: tree.KindCreate, Parent: tree.Root, Name: "a b.txt", Version: v},
		{Dot: dot, Time: 9, Kind: tree.KindCreate, Parent: store.FileID{4}, Name: "dir", Dir: true},
		{Dot: dot, Time: 9, Kind: tree.KindContent, Node: store.FileID{1}, Version: content, Dots: seen},
		{Dot: dot, Time: 9, Kind: tree.KindMove, Node: store.FileID{1}, Parent: store.FileID{2}, Name: "x"},
		{Dot: dot, Time: 9, Kind: tree.KindDelete, Node: store.FileID{1}, Dots: seen},
		{Dot: dot, Time: 9, Kind: tree.KindAttributes, Node: store.FileID{1}, Version: tree.Version{Mode: 7, ModTime: v.ModTime}},
		{Dot: dot, Time: 9, Kind: tree.KindAssign, Node: store.FileID{1}, Version: tree.Version{Holders: v.Holders}, Dots: []store.Dot{dot}},
		{Dot: dot, Time: 9, Kind: tree.KindAssign, Node: store.FileID{1}, Version: tree.Version{Content: store.Content{Size: 5, Root: store.Ref{1}, Depth: 1, Oldest: 1 << 31}, Holders: v.Holders}, Dots: []store.Dot{dot}},
		{Dot: dot, Time: 9, Kind: tree.KindDiscard, Node: store.FileID{1}, Dots: seen},
		{Dot: dot, Time: 9, Kind: tree.KindXattr, Node: store.FileID{1}, Name: "user.x", Body: []byte{1, 0}},
		{Dot: dot, Time: 9, Kind: tree.KindLink, Node: store.FileID{1}, Parent: store.FileID{2}, Name: "x"},
		{Dot: dot, Time: 9, Kind: tree.KindXattr, Node: store.FileID{1}, Name: "user.x", Removed: true},
		{Dot: dot, Time: 9, Kind: tree.KindForeign, Body: []byte("member")},
		{Dot: dot, Time: 9, Kind: 33, More: [][]byte{{0x01}, {0x63, 'a', 'b', 'c'}}},                             // of a newer version
		{Dot: dot, Time: 9, Kind: tree.KindMove, Node: store.FileID{1}, Name: "x", More: [][]byte{{0x82, 1, 2}}}, // with a newer field
	}
}

func TestOp_RoundTrip(t *testing.T) {
	for _, op := range someOps() {
		b, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.ParseOp(b)
		if err != nil {
			t.Fatalf("%+v: %v", op, err)
		}
		again, err := got.Append(nil)
		if err != nil || !bytes.Equal(b, again) || got.Name != op.Name || len(got.More) != len(op.More) ||
			!bytes.Equal(got.Body, op.Body) || got.Removed != op.Removed ||
			got.Version.UID != op.Version.UID || got.Version.GID != op.Version.GID || len(got.Seen) != len(op.Seen) || !got.Version.ModTime.Equal(op.Version.ModTime) {
			t.Errorf("%+v became %+v, %v", op, got, err)
		}
	}
}

// TestOp_IsCanonicalCBOR: a library that knows the rules writes an operation's
// encoding in the same way.
func TestOp_IsCanonicalCBOR(t *testing.T) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	ops := someOps()
	for _, n := range []uint64{0, 23, 24, 255, 256, 65535, 65536, 1<<32 - 1, 1 << 32, 1<<64 - 1} { // the borders of lengths
		v := tree.Version{ModTime: time.Unix(0, -int64(n/2)-1), Mode: uint32(n), Content: store.Content{Size: int64(n / 2), Depth: uint8(n)}}
		ops = append(ops, tree.Op{Dot: store.Dot{Machine: store.MachineID{1}, Seq: n}, Time: store.Time(n), Kind: tree.KindCreate, Name: strings.Repeat("n", int(n%300)), Version: v})
	}
	for _, op := range ops {
		b, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := cbor.Unmarshal(b, &v); err != nil {
			t.Fatalf("%+v: %v", op, err)
		}
		if again, err := enc.Marshal(v); err != nil || !bytes.Equal(b, again) {
			t.Errorf("%+v:\n%x, the library has\n%x, %v", op, b, again, err)
		}
	}
}

func TestParseOp_Refuses(t *testing.T) {
	good, err := someOps()[6].Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := tree.ParseOp(good[:n]); !errors.Is(err, tree.ErrBadOp) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", "\xff", string(make([]byte, 256))} {
		b, err := tree.Op{Dot: store.Dot{Machine: store.MachineID{1}, Seq: 1}, Kind: tree.KindMove, Name: name}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.ParseOp(b); err == nil {
			t.Errorf("took the name %q", name)
		}
	}
}

func FuzzParseOp(f *testing.F) {
	for _, op := range someOps() {
		b, err := op.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := tree.ParseOp(b)
		if err != nil {
			return
		}
		again, err := op.Append(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}
