package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// said is an operation of kindStanding.
func said(t *testing.T, at store.Time, by, about byte, s Standing) tree.Op {
	t.Helper()
	body, err := cbor.Marshal(standingRecord{Format: standingFormat, Machine: store.MachineID{about}, Standing: s, When: int64(at), Name: fmt.Sprint(at)})
	if err != nil {
		t.Fatal(err)
	}
	return tree.Op{Dot: store.Dot{Machine: store.MachineID{by}, Seq: uint64(at)}, Time: at, Kind: kindStanding, Body: body}
}

// judgeAll applies ops in their order to nothing.
func judgeAll(t *testing.T, ops []tree.Op) map[store.MachineID]verdict {
	t.Helper()
	kv := index.NewMemory()
	ms, err := loadMembers(kv)
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range ops {
		tx := kv.Begin()
		_, _, _ = ms.judge(tx, op) // what makes no sense is passed over
		if err := tx.Commit(false); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := loadStandings(kv)
	if err != nil || !maps.Equal(kept, ms.standings) {
		t.Errorf("kept %v, %v; in memory %v", kept, err, ms.standings)
	}
	return ms.standings
}

func TestStanding_TheLatestCountsAndRevokedIsForEver(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []tree.Op
		want Standing
		by   byte
	}{
		{"invited", []tree.Op{said(t, 1, 1, 9, Member)}, Member, 1},
		{"leaves", []tree.Op{said(t, 1, 9, 9, Leaving), said(t, 2, 9, 9, Left)}, Left, 9},
		{"stays after all", []tree.Op{said(t, 1, 9, 9, Leaving), said(t, 2, 9, 9, Member)}, Member, 9},
		{"comes again", []tree.Op{said(t, 1, 1, 9, Forgotten), said(t, 2, 2, 9, Member)}, Member, 2},
		{"revoked, then invited", []tree.Op{said(t, 1, 1, 9, Revoked), said(t, 2, 2, 9, Member)}, Revoked, 1},
		{"revoked twice", []tree.Op{said(t, 2, 1, 9, Revoked), said(t, 3, 2, 9, Revoked)}, Revoked, 1},
		{"others cannot leave for it", []tree.Op{said(t, 1, 1, 9, Left), said(t, 2, 1, 9, Leaving)}, Member, 0},
		{"nor it forget itself", []tree.Op{said(t, 1, 9, 9, Forgotten), said(t, 2, 9, 9, Revoked)}, Member, 0},
		{"a standing of the future", []tree.Op{said(t, 1, 1, 9, 77)}, Member, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				got := judgeAll(t, c.ops)[store.MachineID{9}]
				if by := (store.MachineID{c.by}); got.Standing != c.want || got.By != by {
					t.Errorf("%v by %v", got.Standing, got.By)
				}
				c.ops[0], c.ops[len(c.ops)-1] = c.ops[len(c.ops)-1], c.ops[0]
			}
		})
	}
}

// Whatever the order in which machines hear what was said, all come to the same.
func TestStanding_AnyOrderEndsTheSame(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5))
		var ops []tree.Op
		for range 1 + r.IntN(8) {
			ops = append(ops, said(t, store.Time(1+r.IntN(5)), byte(1+r.IntN(3)), byte(1+r.IntN(3)), Standing(r.IntN(6))))
		}
		want := judgeAll(t, ops)
		for range 5 {
			r.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
			if got := judgeAll(t, ops); !maps.Equal(got, want) {
				t.Fatalf("seed %d: %v, before %v", seed, got, want)
			}
		}
	}
}

func FuzzJudge(f *testing.F) {
	f.Add([]byte{0x85, 0x01, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0x04, 0x01, 0x61, 'n'})
	f.Fuzz(func(t *testing.T, body []byte) {
		kv := index.NewMemory()
		ms := members{byID: map[store.MachineID]member{}, standings: map[store.MachineID]verdict{}}
		tx := kv.Begin()
		defer tx.Discard()
		id, changed, err := ms.judge(tx, tree.Op{Dot: store.Dot{Machine: store.MachineID{1}, Seq: 1}, Time: 1, Kind: kindStanding, Body: body})
		if err != nil && changed {
			t.Error("changed, and failed")
		}
		if changed && ms.standings[id] == (verdict{}) {
			t.Error("changed to what it was")
		}
	})
}

// meet connects a to b and waits until both know each other.
func meet(t *testing.T, a, b *host) {
	t.Helper()
	b.mesh.Load().AddAddress(link.PeerID{}, a.addr)
	eventually(t, "machines know each other", func() bool {
		return a.knows(b) && b.knows(a)
	})
}

func (h *host) knows(o *host) bool {
	for _, m := range h.members() {
		if m.ID == o.ID() && m.State == StateConnected && m.Name != "" {
			return true
		}
	}
	return false
}

func (h *host) members() []MemberStatus {
	list, err := h.Members(h.background)
	if err != nil {
		return nil
	}
	return list
}

func (h *host) stateOf(o *host) MemberState {
	for _, m := range h.members() {
		if m.ID == o.ID() {
			return m.State
		}
	}
	return ""
}

// A revoked machine is refused by the member that revoked it, and by every other that
// has heard of it.
func TestRevoke_EveryMemberRefuses(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	thief := serve(t, filepath.Join(dir, "thief"), secret)
	meet(t, a, thief)
	meet(t, b, thief)
	meet(t, a, b)
	if _, _, err := a.client.Revoke(t.Context(), "thief"); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{a, b} {
		eventually(t, "the thief is out", func() bool {
			return h.stateOf(thief) == StateRevoked && h.mesh.Load().Conn(link.PeerID(thief.ID())) == nil
		})
	}
	// It comes again, with all that it has.
	thief.mesh.Load().AddAddress(link.PeerID{}, a.addr, b.addr)
	for _, h := range []*host{a, b} {
		ev := h.await(t, func(ev Event) bool { return ev.Kind == EventRefused && ev.Machine == thief.ID() })
		if !strings.Contains(ev.Reason, "was revoked by a on ") {
			t.Errorf("refused because %s", ev.Reason)
		}
		s, err := h.client.Status(t.Context())
		if err != nil || len(s.Refused) == 0 || s.Refused[0].Machine != thief.ID() {
			t.Errorf("status says %+v, %v", s.Refused, err)
		}
	}
	a.put(t, "after", []byte("not for thieves"))
	eventually(t, "b has the file", func() bool { return len(b.names(t)) == 1 })
	if n := thief.names(t); len(n) != 0 {
		t.Errorf("the thief sees %q", n)
	}
	for _, m := range a.members() {
		if m.ID == thief.ID() && (m.ByName != "a" || m.Since.IsZero()) {
			t.Errorf("%+v", m)
		}
	}
	if _, err := a.FindMember(t.Context(), "nobody"); !errors.Is(err, ErrNoMember) {
		t.Errorf("FindMember = %v", err)
	}
	if err := a.Revoke(t.Context(), a.ID()); !errors.Is(err, ErrSelf) {
		t.Errorf("revoked itself: %v", err)
	}
}

// A machine that was forgotten is refused, until it is let in again.
func TestForget_AndComeAgain(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	i := invite(t, a)
	if _, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "b")}, JoinConfig{Code: i.code(t), At: i.at()}); err != nil {
		t.Fatal(err)
	}
	b := serve(t, filepath.Join(dir, "b"), pool.Secret{})
	eventually(t, "b has come", func() bool { return a.knows(b) })
	b.stop()
	if _, name, err := a.client.Forget(t.Context(), b.ID().String()[:10]); err != nil || name != b.Name() {
		t.Fatal(name, err)
	}
	if got := a.stateOf(b); got != StateForgotten {
		t.Errorf("b is %v", got)
	}
	b = serve(t, filepath.Join(dir, "b"), pool.Secret{}, a.addr)
	ev := a.await(t, func(ev Event) bool { return ev.Kind == EventRefused && ev.Machine == b.ID() })
	if !strings.Contains(ev.Reason, "was forgotten by a on ") {
		t.Errorf("refused because %s", ev.Reason)
	}
}

func TestFindMember_SaysWhoIsMeant(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "x", "twin"), secret)
	b := serve(t, filepath.Join(dir, "y", "twin"), secret)
	meet(t, a, b)
	_, err := a.FindMember(t.Context(), "twin")
	if !errors.Is(err, ErrAmbiguous) || !strings.Contains(err.Error(), a.ID().String()) || !strings.Contains(err.Error(), b.ID().String()) {
		t.Errorf("FindMember = %v", err)
	}
	if _, _, err := a.client.Forget(t.Context(), "twin"); !errors.Is(err, ErrAmbiguous) {
		t.Errorf("forget = %v", err)
	}
	if id, err := a.FindMember(t.Context(), b.ID().String()); err != nil || id != b.ID() {
		t.Errorf("by its ID: %v, %v", id, err)
	}
	if _, err := a.FindMember(t.Context(), ""); !errors.Is(err, ErrNoMember) {
		t.Errorf("nobody: %v", err)
	}
}

// Who leaves hands its files over; then its directory is nobody's.
func TestLeave_HandsOver(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	b := serve(t, filepath.Join(dir, "b"), secret)
	for n := range byte(20) {
		b.put(t, fmt.Sprint("f", n), randomBytes(n, 100_000))
	}
	c := serve(t, filepath.Join(dir, "c"), secret, b.addr)
	eventually(t, "b has heard of c", func() bool { return b.knows(c) })
	var last LeaveProgress
	if err := b.client.Leave(t.Context(), false, func(p LeaveProgress) error { last = p; return nil }); err != nil {
		t.Fatal(err)
	}
	if !last.Left || !last.Heard {
		t.Errorf("at the end %+v", last)
	}
	b.stop()
	if _, err := Open(Config{Dir: filepath.Join(dir, "b")}); !errors.Is(err, pool.ErrNoPool) {
		t.Errorf("the directory that was left: %v", err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != lockName && e.Name() != settingsName {
			t.Errorf("%s is still in the directory", e.Name())
		}
	}
	for n := range byte(20) {
		if got := c.cat(t, fmt.Sprint("/f", n)); string(got) != string(randomBytes(n, 100_000)) {
			t.Errorf("f%d is lost", n)
		}
	}
	if got := c.stateOf(b); got != StateLeft {
		t.Errorf("b is %v", got)
	}
}

// Who is interrupted while it hands its files over stays, and keeps files as before.
func TestLeave_InterruptedItStays(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	eventually(t, "a has heard of b", func() bool { return a.knows(b) })
	b.stop() // nobody takes a's files over
	a.put(t, "f", []byte("x"))
	ctx, interrupt := context.WithCancel(t.Context())
	err := a.Leave(ctx, false, func(p LeaveProgress) {
		if got := a.stateOf(a); got != StateLeaving || p.Files != 1 || p.TotalFiles != 1 || p.Left {
			t.Errorf("%v, %+v", got, p)
		}
		interrupt()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Leave = %v", err)
	}
	if got := a.stateOf(a); got != StateSelf {
		t.Errorf("a is %v", got)
	}
	if a.Left() {
		t.Error("it has left")
	}
}

// The copies of a machine that is given up are made anew on others at once.
func TestForget_ItsCopiesAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	eventually(t, "a has heard of b", func() bool { return a.knows(b) })
	for n := range 10 {
		a.put(t, fmt.Sprint("f", n), []byte(fmt.Sprint(n)))
	}
	if err := a.client.Flush(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	c := serve(t, filepath.Join(dir, "c"), secret, a.addr)
	eventually(t, "a has heard of c", func() bool { return a.knows(c) })
	b.stop()
	if _, _, err := a.client.Forget(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "c keeps all files", func() bool {
		n := 0
		_ = a.core.call(t.Context(), func() {
			_ = a.tree.Walk(a.kv, "/", func(e tree.Entry) bool {
				if !e.Dir && a.core.keptBy([]store.MachineID{c.ID()}, e) == 1 {
					n++
				}
				return true
			})
		})
		return n == 10
	})
}
