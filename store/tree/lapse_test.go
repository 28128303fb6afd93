package tree_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// answer makes an operation that says nothing but what its author has seen.
func (s *site) answer(t rapid.TB, now time.Time) {
	t.Helper()
	if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		op, err := s.tree.Record(tx, tree.KindForeign, nil, now)
		return []tree.Op{op}, nil, err
	}); err != nil {
		t.Fatal(err)
	}
}

// hear gives s all that others have.
func (s *site) hear(t rapid.TB, now time.Time, others ...*site) {
	for again := true; again; {
		again = false
		for _, o := range others {
			for author := range o.logs {
				for deliver(t, o, s, author, now) {
					again = true
				}
			}
		}
	}
}

// nodes returns how many nodes are remembered.
func (s *site) nodes(t rapid.TB) (n int) {
	t.Helper()
	if err := s.tree.Nodes(s.kv, nil, func(tree.NodeHash) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *site) horizon(t rapid.TB, before, now time.Time) {
	t.Helper()
	if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Horizon(tx, before, now) }); err != nil {
		t.Fatal(err)
	}
}

func (s *site) purge(t rapid.TB, now time.Time) error {
	t.Helper()
	ids, err := s.tree.Purgeable(s.kv, tree.MaxPurge)
	if err != nil {
		t.Fatal(err)
	}
	return s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Purge(tx, ids, now) })
}

func (s *site) mustPut(t rapid.TB, path string, size int64, now time.Time) {
	t.Helper()
	if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.Put(tx, path, tree.Version{Content: store.Content{Size: size}}, now)
	}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) mustRemove(t rapid.TB, path string, now time.Time) {
	t.Helper()
	if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Remove(tx, path, true, now) }); err != nil {
		t.Fatal(err)
	}
}

const day = 24 * time.Hour

// What was removed is forgotten by all once all have answered, and by nobody before.
func TestPurge_WaitsForEverybody(t *testing.T) {
	a, b, c := newSite(t, 1), newSite(t, 2), newSite(t, 3)
	now := epoch
	if err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return a.tree.Mkdir(tx, "/d", tree.Version{}, now)
	}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/d/a", "/d/b", "/stays"} {
		a.mustPut(t, p, 1, now)
	}
	for _, s := range []*site{b, c} {
		s.hear(t, now, a)
		s.answer(t, now)
	}
	a.hear(t, now, b, c)
	a.mustRemove(t, "/d", now.Add(time.Hour))
	now = now.Add(40 * day)
	a.horizon(t, now.Add(-30*day), now)
	if err := a.purge(t, now); !errors.Is(err, tree.ErrWaiting) {
		t.Fatal("purged before anybody answered:", err)
	}
	b.hear(t, now, a)
	b.answer(t, now)
	a.hear(t, now, b)
	if err := a.purge(t, now); !errors.Is(err, tree.ErrWaiting) {
		t.Fatal("purged before the last answered:", err)
	}
	c.hear(t, now, a)
	c.answer(t, now)
	a.hear(t, now, c)
	before := a.nodes(t)
	if err := a.purge(t, now); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*site{b, c} {
		s.hear(t, now, a)
		same(t, a, s)
	}
	if n := c.nodes(t); before != 4 || n != 1 {
		t.Errorf("%d nodes are remembered of %d", n, before)
	}
	if _, err := c.tree.Lookup(c.kv, "/stays"); err != nil {
		t.Error(err)
	}
}

// Beyond the horizon nothing can be brought back, else some would have it and some
// would not.
func TestHorizon_NothingComesBackFromBeyond(t *testing.T) {
	a := newSite(t, 1)
	a.mustPut(t, "/old", 1, epoch)
	a.mustPut(t, "/young", 1, epoch)
	a.mustRemove(t, "/old", epoch.Add(time.Hour))
	now := epoch.Add(40 * day)
	a.mustRemove(t, "/young", now)
	a.horizon(t, now.Add(-30*day), now)
	for path, want := range map[string]error{"/old": store.ErrNotFound, "/young": nil} {
		err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, ev, err := a.tree.Undo(tx, path, now)
			return ops, ev, err
		})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A machine that was away too long does not keep the others from forgetting. What it
// did meanwhile is void everywhere, on itself too once its tree is made anew.
func TestClose_OperationsOfTheLongAbsentAreVoid(t *testing.T) {
	a, b, m := newSite(t, 1), newSite(t, 2), newSite(t, 3)
	now := epoch
	a.mustPut(t, "/f", 1, now)
	a.mustPut(t, "/g", 1, now)
	for _, s := range []*site{b, m} {
		s.hear(t, now, a)
		s.answer(t, now)
	}
	a.hear(t, now, b, m)
	m.mustPut(t, "/known to b", 1, now)
	b.hear(t, now, m)
	a.mustRemove(t, "/f", now.Add(time.Hour))
	m.mustPut(t, "/f", 7, now.Add(2*time.Hour)) // later than the removal, which m has not heard of
	m.mustPut(t, "/of m", 7, now.Add(2*time.Hour))
	lost := len(m.logs[m.id])

	now = now.Add(100 * day)
	retire := func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Retire(tx, m.id, now) }
	closing := func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Close(tx, m.id, now) }
	if err := a.change(t, retire); err != nil {
		t.Fatal(err)
	}
	if err := a.change(t, closing); !errors.Is(err, tree.ErrWaiting) {
		t.Fatal("closed before b answered:", err)
	}
	b.hear(t, now, a, m) // m is back, too late: what it brings waits
	b.answer(t, now)
	if s, _ := b.tree.Standing(b.kv, m.id); !s.Retired {
		t.Errorf("%+v", s)
	}
	a.hear(t, now, b)
	if err := a.change(t, closing); err != nil {
		t.Fatal(err)
	}
	a.horizon(t, now.Add(-30*day), now)
	b.hear(t, now, a)
	b.answer(t, now)
	a.hear(t, now, b)
	if err := a.purge(t, now); err != nil {
		t.Fatal(err)
	}
	b.hear(t, now, a)
	a.hear(t, now, b, m)
	same(t, a, b)
	for _, p := range []string{"/f", "/of m"} {
		if _, err := b.tree.Lookup(b.kv, p); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := a.tree.Lookup(a.kv, "/known to b"); err != nil {
		t.Error("what one other had heard of is void:", err)
	}

	m.hear(t, now, b)
	if !m.undo {
		t.Fatal("m does not hear that it was closed")
	}
	m.renew(t, now)
	same(t, a, m)
	m.mustPut(t, "/f", 7, now) // again, and now it counts
	if n := len(m.logs[m.id]); n != lost+1 {
		t.Errorf("%d operations", n)
	}
	a.hear(t, now, m)
	if e, err := a.tree.Lookup(a.kv, "/f"); err != nil || e.Version.Content.Size != 7 {
		t.Error(e, err)
	}
	if s, _ := a.tree.Standing(a.kv, m.id); s.Closed || s.Retired {
		t.Errorf("%+v", s)
	}
}

// renew makes the tree of s anew from what it has received.
func (s *site) renew(t rapid.TB, now time.Time) {
	t.Helper()
	for more := true; more; {
		tx := s.kv.Begin()
		var err error
		if more, err = s.tree.Wipe(tx, 7); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(false); err != nil {
			t.Fatal(err)
		}
	}
	logs := s.logs
	s.logs = map[store.MachineID][]tree.Op{}
	for _, ops := range logs {
		for _, op := range ops {
			s.apply(t, op, now)
		}
	}
}

// TestLapse_Convergence: machines change their trees, hear of each other, forget what
// is old, and one of them is retired and comes back. What is shown is what the oracle
// makes of the operations that are not void, in which nothing is ever forgotten.
func TestLapse_Convergence(t *testing.T) {
	rapid.Check(t, checkLapse)
}

func checkLapse(t *rapid.T) {
	sites := []*site{newSite(t, 1), newSite(t, 2), newSite(t, 3)}
	now, pause := epoch, rapid.SampledFrom([]time.Duration{time.Hour, 5 * day})
	lead := sites[0]
	away := rapid.IntRange(-1, 20).Draw(t, "away") // from this step on the third is away
	steps := rapid.IntRange(5, 50).Draw(t, "steps")
	for range 2 { // all know of each other
		for _, s := range sites {
			s.hear(t, now, sites...)
			s.answer(t, now)
		}
	}
	for step := range steps {
		now = now.Add(pause.Draw(t, "pause"))
		i := rapid.IntRange(0, 2).Draw(t, "site")
		switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
		case what < 5:
			localChange(t, sites[i], now)
		case what < 8:
			k := (i + rapid.IntRange(1, 2).Draw(t, "from")) % 3
			if away >= 0 && step >= away && (i == 2 || k == 2) {
				continue
			}
			sites[i].hear(t, now, sites[k])
			if what == 7 {
				sites[i].answer(t, now)
			}
		default:
			forgetSome(t, lead, now)
		}
	}
	retired := away >= 0 && away < steps
	if retired {
		retireLast(t, sites, now)
	}
	for range 3 {
		for _, s := range sites {
			s.hear(t, now, sites...)
			s.answer(t, now)
		}
		forgetSome(t, lead, now)
	}
	var upTo uint64
	if retired {
		upTo = closedAt(t, lead, sites[2])
	}
	for _, s := range sites {
		s.hear(t, now, sites...)
		if s.undo {
			s.renew(t, now)
		}
	}
	compareLapsed(t, sites, upTo, now)
}

// forgetSome lets a machine forget what it may.
func forgetSome(t *rapid.T, s *site, now time.Time) {
	d, before, err := s.tree.LastHorizon(s.kv)
	if err != nil {
		t.Fatal(err)
	}
	waiting, err := s.tree.Unanswered(s.kv, d)
	if err != nil {
		t.Fatal(err)
	}
	if before == 0 || len(waiting) == 0 {
		if before != 0 {
			if err := s.purge(t, now); err != nil {
				t.Fatal(err)
			}
		}
		s.horizon(t, now.Add(-10*day), now)
	}
}

// retireLast retires and closes the third machine, which nobody has heard meanwhile.
func retireLast(t *rapid.T, sites []*site, now time.Time) {
	a, b, m := sites[0], sites[1], sites[2]
	change := func(f func(store.Txn, store.MachineID, time.Time) ([]tree.Op, []tree.Event, error)) {
		if err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return f(tx, m.id, now) }); err != nil {
			t.Fatal(err)
		}
	}
	change(a.tree.Retire)
	b.hear(t, now, a)
	if rapid.Bool().Draw(t, "early") {
		b.hear(t, now, m)
	}
	b.answer(t, now)
	a.hear(t, now, b)
	change(a.tree.Close)
	b.hear(t, now, a)
	b.answer(t, now)
	a.hear(t, now, b)
}

// closedAt returns up to where the operations of m count.
func closedAt(t *rapid.T, a, m *site) uint64 {
	for _, op := range a.logs[a.id] {
		if op.Kind == tree.KindClose {
			n := uint64(0)
			for _, b := range op.Body[16:] {
				n = n<<8 | uint64(b)
			}
			return n
		}
	}
	t.Fatal("nobody was closed")
	return 0
}

func compareLapsed(t *rapid.T, sites []*site, upTo uint64, now time.Time) {
	var all []tree.Op
	var closing store.Dot
	for _, op := range sites[0].logs[sites[0].id] {
		if op.Kind == tree.KindClose {
			closing = op.Dot
		}
	}
	back := false
	for _, s := range sites {
		for _, op := range s.logs[s.id] {
			if s == sites[2] && closing.Seq > 0 {
				back = back || slices.ContainsFunc(op.Seen, func(d store.Dot) bool { return d.Machine == closing.Machine && d.Seq >= closing.Seq })
				if op.Dot.Seq > upTo && !back {
					op.Kind, op.Body = tree.KindForeign, nil // void
				}
			}
			all = append(all, op)
		}
	}
	want := view(all)
	fresh := newSite(t, 9)
	finish(t, fresh, sites, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 1)), now)
	if fresh.undo {
		fresh.renew(t, now)
	}
	for n, s := range append(sites, fresh) {
		got, err := walked(s.tree, s.kv)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("site %d: view (-oracle +tree):\n%s\nops:\n%s", n, d, printed(all))
		}
		same(t, sites[0], s)
	}
}

// What was made after operations that will never come is not held up by them.
func TestDistrust_OthersAreNotHeldUp(t *testing.T) {
	a, b, liar := newSite(t, 1), newSite(t, 2), newSite(t, 3)
	liar.mustPut(t, "/of the liar", 1, epoch)
	liar.mustPut(t, "/more", 1, epoch)
	b.hear(t, epoch, liar)
	b.mustPut(t, "/of b", 1, epoch)
	for _, op := range b.logs[b.id] {
		a.apply(t, op, epoch)
	}
	if n, _ := a.tree.Totals(a.kv); n.Parked != 1 {
		t.Fatalf("%+v", n)
	}
	tx := a.kv.Begin()
	if _, err := a.tree.Distrust(tx, liar.id, epoch); err != nil {
		t.Fatal(err)
	}
	_ = tx.Commit(false)
	liar.mustPut(t, "/third", 1, epoch)
	b.hear(t, epoch, liar)
	b.mustPut(t, "/later", 1, epoch)
	a.apply(t, b.logs[b.id][1], epoch)
	for _, p := range []string{"/of b", "/later"} {
		if _, err := a.tree.Lookup(a.kv, p); err != nil {
			t.Error(err)
		}
	}
}
