package kv

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/aether-lan/aether/paxos"
)

// A Buffer, whenever it is flushed, and whatever was written and read before, has
// what a store without one has.
func TestBuffer_IsTheStoreBehindIt(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) []byte {
		return fmt.Appendf(nil, "%c%d", rapid.SampledFrom([]byte("akx")).Draw(t, "letter"), rapid.IntRange(0, 30).Draw(t, "key"))
	})
	rapid.Check(t, func(t *rapid.T) {
		plain, store := new(Memory), new(Memory)
		b, slot := NewBuffer(store), paxos.Slot(0)
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				w := map[string][]byte{}
				for range rapid.IntRange(0, 8).Draw(t, "writes") {
					k := key.Draw(t, "key")
					w[string(k)] = rapid.SampledFrom([][]byte{nil, {}, []byte("1"), []byte("22")}).Draw(t, "value")
				}
				slot++
				for _, s := range []Store{plain, b} {
					if err := s.Apply(slot, paxos.Membership{Slot: slot}, writesOf(w)); err != nil {
						t.Fatal(err)
					}
				}
			},
			"flush": func(t *rapid.T) {
				if err := b.Flush(); err != nil {
					t.Fatal(err)
				}
				if at, _ := store.Applied(); at != slot {
					t.Fatalf("flushed to slot %v of %v", at, slot)
				}
				if w := b.dirty; len(w.m)+len(w.keys)+w.bytes > 0 {
					t.Fatalf("not flushed: %v", w)
				}
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				want, _ := plain.Get(k)
				if got, err := b.Get(k); err != nil || !bytes.Equal(got, want) || got == nil != (want == nil) {
					t.Fatalf("%s is %q, %v, want %q", k, got, err, want)
				}
			},
			"replace": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
					return
				}
				slot++
				w := map[string][]byte{"k1": []byte("other"), "k2": nil}
				if err := plain.Apply(slot, paxos.Membership{}, writesOf(w)); err != nil {
					t.Fatal(err)
				}
				err := b.Replace(func() error {
					*store = Memory{slot: plain.slot, members: plain.members, pairs: append([]pair(nil), plain.pairs...)}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				from, to := key.Draw(t, "from"), key.Draw(t, "to")
				if rapid.Bool().Draw(t, "endless") {
					to = nil
				}
				limit := rapid.IntRange(1, 100).Draw(t, "limit")
				want, got := scanned(t, plain, from, to, limit), scanned(t, b, from, to, limit)
				if got != want {
					t.Fatalf("%s to %s: %s, want %s", from, to, got, want)
				}
				if at, m := b.Applied(); at != slot || m.Slot != plain.members.Slot {
					t.Fatalf("after slot %v, want %v", at, slot)
				}
			},
		})
	})
}

func scanned(t *rapid.T, s Store, from, to []byte, limit int) (list string) {
	if to != nil && bytes.Compare(from, to) > 0 {
		from, to = to, from
	}
	err := s.Scan(from, to, func(k, v []byte) bool {
		list += fmt.Sprintf("%s=%s ", k, v)
		limit--
		return limit > 0
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// gate is a store whose Apply waits, and fails when it is told to.
type gate struct {
	Memory
	entered, pass chan struct{}
	err           error
}

func (g *gate) Apply(slot paxos.Slot, m paxos.Membership, w iter.Seq2[[]byte, []byte]) error {
	g.entered <- struct{}{}
	<-g.pass
	if g.err != nil {
		return g.err
	}
	return g.Memory.Apply(slot, m, w)
}

func writesOf(m map[string][]byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for k, v := range m {
			if !yield([]byte(k), v) {
				return
			}
		}
	}
}

func one(k, v string) iter.Seq2[[]byte, []byte] {
	return writesOf(map[string][]byte{k: []byte(v)})
}

// While the store is written, the buffer takes writes and gives what it has.
func TestBuffer_WorksWhileItIsFlushed(t *testing.T) {
	g := &gate{entered: make(chan struct{}), pass: make(chan struct{})}
	b := NewBuffer(g)
	for i, v := range []string{"a", "b"} {
		if err := b.Apply(paxos.Slot(i+1), paxos.Membership{}, one("k"+v, v)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Flush(); err != nil {
			t.Error(err)
		}
	})
	<-g.entered
	if err := b.Apply(3, paxos.Membership{}, one("kb", "new")); err != nil {
		t.Error(err)
	}
	for k, want := range map[string]string{"ka": "a", "kb": "new"} {
		if v, err := b.Get([]byte(k)); err != nil || string(v) != want {
			t.Errorf("%s is %q, %v", k, v, err)
		}
	}
	close(g.pass)
	wg.Wait()
	if at, _ := g.Applied(); at != 2 {
		t.Errorf("the store is at slot %v", at)
	}
	if v, _ := g.Memory.Get([]byte("kb")); string(v) != "b" {
		t.Errorf("kb is %q in the store", v)
	}
}

// After the store has failed nothing works: nobody knows what it has.
func TestBuffer_ABrokenStoreStaysBroken(t *testing.T) {
	broken := errors.New("broken")
	g := &gate{entered: make(chan struct{}, 9), pass: make(chan struct{}), err: broken}
	close(g.pass)
	b := NewBuffer(g)
	if err := b.Apply(1, paxos.Membership{}, one("ka", "1")); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); !errors.Is(err, broken) {
		t.Errorf("flush: %v", err)
	}
	_, err := b.Get([]byte("ka"))
	for what, err := range map[string]error{
		"get": err, "apply": b.Apply(2, paxos.Membership{}, one("kb", "2")), "flush": b.Flush(),
		"scan": b.Scan(nil, nil, func(_, _ []byte) bool { return true }),
	} {
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What is not flushed, what is remembered and what a scan looks through is bounded.
func TestBuffer_Bounds(t *testing.T) {
	store := new(Memory)
	b := NewBuffer(store)
	big := string(make([]byte, 1<<20))
	for i := range 40 {
		if err := b.Apply(paxos.Slot(i+1), paxos.Membership{}, one(fmt.Sprintf("k%d", i), big)); err != nil {
			t.Fatal(err)
		}
		size := b.dirty.bytes
		for _, m := range []map[string][]byte{b.clean.young, b.clean.old} {
			for k, v := range m {
				size += len(k) + len(v)
			}
		}
		if size > bufferDirty+2*bufferClean+4<<20 {
			t.Fatalf("%d bytes in memory", size)
		}
	}
	for i := range 2 * bufferScan {
		if err := b.Apply(paxos.Slot(i+41), paxos.Membership{}, one(fmt.Sprintf("x%d", i), "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Scan([]byte("x"), []byte("y"), func(_, _ []byte) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if n := len(b.dirty.m); n > bufferScan {
		t.Errorf("%d keys were looked through", n)
	}
}
