package tree

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

// TestBuffer: what is read through a buffer, and what it leaves below, is what a
// plain Txn would have.
func TestBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, below := index.NewMemory().Begin(), index.NewMemory().Begin()
		b := &buffer{Txn: below}
		draw := func(what string) []byte {
			return fmt.Appendf(nil, "%02d", rapid.IntRange(0, 30).Draw(t, what))
		}
		for n := range rapid.IntRange(1, 100).Draw(t, "steps") {
			k := draw("key")
			switch rapid.SampledFrom([]string{"set", "set", "delete", "get", "scan", "last", "load", "many", "flush"}).Draw(t, "what") {
			case "set":
				v := []byte{byte(rapid.IntRange(0, 3).Draw(t, "value"))}
				must(t, errors.Join(plain.Set(k, v), b.Set(k, v)))
			case "delete":
				must(t, errors.Join(plain.Delete(k), b.Delete(k)))
			case "get":
				want, err1 := plain.Get(k)
				got, err2 := b.Get(k)
				if !bytes.Equal(want, got) || !errors.Is(err1, err2) {
					t.Fatalf("get %s: %x, %v, want %x, %v", k, got, err2, want, err1)
				}
			case "scan":
				to, most := draw("to"), rapid.IntRange(1, 10).Draw(t, "most")
				if d := cmp.Diff(scanned(t, plain, k, to, most), scanned(t, b, k, to, most)); d != "" {
					t.Fatalf("scan %s to %s (-want +got):\n%s", k, to, d)
				}
			case "last":
				to := draw("to")
				k1, v1, err1 := plain.Last(k, to)
				k2, v2, err2 := b.Last(k, to)
				if !bytes.Equal(k1, k2) || !bytes.Equal(v1, v2) || !errors.Is(err1, err2) {
					t.Fatalf("last %s to %s: %s=%x, %v, want %s=%x, %v", k, to, k2, v2, err2, k1, v1, err1)
				}
			case "load":
				if to := draw("to"); bytes.Compare(k, to) < 0 {
					must(t, b.load(k, to))
				}
			case "many": // more than a buffer holds
				if n%20 == 0 {
					for i := range maxBuffered + 1 {
						k := fmt.Appendf(nil, "15/%04d", i)
						must(t, errors.Join(plain.Set(k, nil), b.Set(k, nil)))
					}
				}
			case "flush":
				must(t, b.flush())
			}
		}
		must(t, b.flush())
		if d := cmp.Diff(scanned(t, plain, nil, nil, 1e6), scanned(t, below, nil, nil, 1e6)); d != "" {
			t.Fatalf("below (-want +got):\n%s", d)
		}
	})
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func scanned(t rapid.TB, r store.Reader, from, to []byte, most int) (found []string) {
	must(t, r.Scan(from, to, func(k, v []byte) bool {
		found = append(found, fmt.Sprintf("%s=%x", k, v))
		return len(found) < most
	}))
	return found
}

// TestDecode_Damaged: a record that is cut short or has too much is an error.
func TestDecode_Damaged(t *testing.T) {
	m := mark{Machine: store.MachineID{1}, Seq: 300, Time: 1 << 60}
	v := version{At: m, Content: store.Content{Size: 7, Depth: 1}, ModTime: -5, Holders: []store.MachineID{{2}}, Discarded: true, Placed: m, Sealed: store.Content{Size: 7, Depth: 2, Oldest: 1 << 31}}
	n := node{
		Linked: true, Target: store.FileID{7},
		Born: m, Place: place{Parent: store.FileID{4}, Name: "name", At: m}, Attr: attr{Mode: 0o644, UID: 1, At: m, ModTime: 9, TimeAt: m},
		Versions: []version{v, v}, Deletes: []deletion{{At: m, Spare: []dotWire{{Machine: store.MachineID{3}, Seq: 5}}}},
		View: view{Home: store.FileID{5}, Plain: true, Winner: m, Losers: []mark{m}, Names: []linkName{{Link: store.FileID{1}, Home: store.FileID{2}, Name: "n", At: m}}, Group: store.FileID{6}, Del: []deletion{{At: m}}},
	}
	r := row{ID: store.FileID{1}, Kind: rowLoser, At: m, Content: v.Content, Mode: 1, UID: 2, GID: 3, ModTime: 4, Holders: v.Holders, Placed: dotWire{Machine: store.MachineID{4}, Seq: 7}, Sealed: v.Sealed, Via: store.FileID{9}, Again: true}
	s := state{Clock: 1, Own: 2, Files: -3, Bytes: 4, Conflicts: 5, Parked: 6, News: 7, Last: 8, Sum: [32]byte{8}, Root: n.Attr, Past: pastTotals{Rows: 9, Bytes: 10}}
	checkRecord(t, &n, new(node), func() any { return new(node) })
	checkRecord(t, &r, new(row), func() any { return new(row) })
	checkRecord(t, &s, new(state), func() any { return new(state) })
}

func checkRecord(t *testing.T, v, again any, fresh func() any) {
	t.Helper()
	b, err := encode(v)
	must(t, err)
	must(t, decode(b, again))
	if d := cmp.Diff(v, again, cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		t.Errorf("%T (-want +got):\n%s", v, d)
	}
	for i := range b {
		if decode(b[:i], fresh()) == nil {
			t.Errorf("%T: took %d of %d bytes", v, i, len(b))
		}
	}
	if decode(append(b, 0), fresh()) == nil {
		t.Errorf("%T: took a byte too many", v)
	}
}

// FuzzDecode: damaged records are errors, and what can be read can be written.
func FuzzDecode(f *testing.F) {
	for _, v := range []any{&node{Versions: []version{{Holders: []store.MachineID{{1}}}}}, &row{ID: store.FileID{1}}, &state{Files: -1}} {
		b, err := encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, fresh := range []func() any{
			func() any { return new(node) }, func() any { return new(row) }, func() any { return new(state) },
		} {
			v, again := fresh(), fresh()
			if decode(b, v) != nil {
				continue
			}
			written, err := encode(v)
			must(t, err)
			must(t, decode(written, again))
			if d := cmp.Diff(v, again, cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
				t.Fatal(d)
			}
		}
	})
}
