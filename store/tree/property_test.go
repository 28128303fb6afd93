package tree_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

var epoch = time.Date(2025, 1, 31, 14, 5, 0, 0, time.UTC)

// site is one machine of a test.
type site struct {
	id   store.MachineID
	kv   *memory
	tree *tree.Tree
	logs map[store.MachineID][]tree.Op // what it has received, by author
	undo bool                          // it has applied what is void
}

func newSite(t rapid.TB, n byte) *site {
	s := &site{id: store.MachineID{n}, kv: newMemory(), logs: map[store.MachineID][]tree.Op{}}
	var err error
	if s.tree, err = tree.Open(s.kv, s.id); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) apply(t rapid.TB, op tree.Op, now time.Time) []tree.Event {
	t.Helper()
	tx := s.kv.Begin()
	events, err := s.tree.Apply(tx, op, now)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	if err := tx.Commit(false); err != nil {
		t.Fatal(err)
	}
	s.logs[op.Dot.Machine] = append(s.logs[op.Dot.Machine], op)
	s.undo = s.undo || slices.ContainsFunc(events, func(e tree.Event) bool { return e.Kind == tree.Closed })
	return events
}

// change runs a local change; a refused one changes nothing.
func (s *site) change(t rapid.TB, f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) error {
	tx := s.kv.Begin()
	defer tx.Discard()
	ops, _, err := f(tx)
	if err != nil {
		return err
	}
	if err := tx.Commit(false); err != nil {
		t.Fatal(err)
	}
	s.logs[s.id] = append(s.logs[s.id], ops...)
	return nil
}

var propertyPaths = func() (paths []string) {
	for _, a := range []string{"a", "b.txt", "d"} {
		paths = append(paths, "/"+a)
		for _, b := range []string{"a", "b.txt", "d"} {
			paths = append(paths, "/"+a+"/"+b, "/"+a+"/"+b+"/a")
		}
	}
	return paths
}()

func drawPath(t *rapid.T, s *site) string {
	if rapid.IntRange(0, 2).Draw(t, "existing") > 0 {
		var paths []string
		if err := s.tree.Walk(s.kv, "/", func(e tree.Entry) bool { paths = append(paths, e.Path); return len(paths) < 50 }); err != nil {
			t.Fatal(err)
		}
		if len(paths) > 0 {
			return rapid.SampledFrom(paths).Draw(t, "path")
		}
	}
	return rapid.SampledFrom(propertyPaths).Draw(t, "path")
}

func localChange(t *rapid.T, s *site, now time.Time) {
	_, _ = localEvents(t, s, now) // refusals are part of the test
}

func localEvents(t *rapid.T, s *site, now time.Time) (events []tree.Event, err error) {
	p := drawPath(t, s)
	v := tree.Version{Content: store.Content{Size: int64(rapid.IntRange(1, 4).Draw(t, "content"))}, Mode: 0o644, UID: 7,
		ModTime: drawTime(t)}
	kind := rapid.SampledFrom([]string{"put", "put", "put", "mkdir", "mkdir", "remove", "rename", "rename", "exchange", "link", "link", "mode", "xattr", "assign", "assign", "reseal"}).Draw(t, "kind")
	err = s.change(t, func(tx store.Txn) (ops []tree.Op, _ []tree.Event, err error) {
		switch kind {
		case "put":
			ops, events, err = s.tree.Put(tx, p, v, now)
		case "mkdir":
			ops, events, err = s.tree.Mkdir(tx, p, v, now)
		case "remove":
			ops, events, err = s.tree.Remove(tx, p, rapid.Bool().Draw(t, "recursive"), now)
		case "rename":
			ops, events, err = s.tree.Rename(tx, p, drawPath(t, s), now)
		case "exchange":
			ops, events, err = exchange(s, tx, p, drawPath(t, s), now)
		case "link":
			ops, events, err = link(s, tx, p, drawPath(t, s), now)
		case "assign":
			ops, events, err = assign(t, s, tx, p, now)
		case "reseal":
			ops, events, err = reseal(t, s, tx, p, now)
		case "xattr":
			ops, events, err = changeXattr(t, s, tx, p, now)
		case "mode":
			v := tree.Version{Mode: uint32(rapid.IntRange(0, 7).Draw(t, "mode")), ModTime: drawTime(t)}
			ops, events, err = s.tree.SetAttributes(tx, p, v, now)
		}
		return ops, events, err
	})
	return events, err
}

func link(s *site, tx store.Txn, p, q string, now time.Time) ([]tree.Op, []tree.Event, error) {
	e, err := s.tree.Lookup(tx, p)
	if err != nil {
		return nil, nil, err
	}
	dir, err := s.tree.Lookup(tx, path.Dir(q))
	if err != nil {
		return nil, nil, err
	}
	return s.tree.LinkAt(tx, e.ID, tree.Place{Dir: dir.ID, Name: path.Base(q)}, now)
}

func exchange(s *site, tx store.Txn, p, q string, now time.Time) ([]tree.Op, []tree.Event, error) {
	var places []tree.Place
	for _, p := range []string{p, q} {
		e, err := s.tree.Lookup(tx, path.Dir(p))
		if err != nil {
			return nil, nil, err
		}
		places = append(places, tree.Place{Dir: e.ID, Name: path.Base(p)})
	}
	return s.tree.RenameAt(tx, places[0], places[1], tree.Exchange, now)
}

func changeXattr(t *rapid.T, s *site, tx store.Txn, p string, now time.Time) ([]tree.Op, []tree.Event, error) {
	if rapid.IntRange(0, 5).Draw(t, "root") == 0 {
		p = "/"
	}
	e, err := s.tree.Lookup(tx, p)
	if err != nil {
		return nil, nil, err
	}
	name := rapid.SampledFrom([]string{"user.a", "user.b"}).Draw(t, "name")
	if rapid.Bool().Draw(t, "remove") {
		return s.tree.RemoveXattr(tx, e.ID, name, now)
	}
	value := rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value")
	return s.tree.SetXattr(tx, e.ID, name, []byte(value), now)
}

func assign(t *rapid.T, s *site, tx store.Txn, p string, now time.Time) ([]tree.Op, []tree.Event, error) {
	e, err := s.tree.Lookup(tx, p)
	if err != nil {
		return nil, nil, err
	}
	if e.Dir {
		return nil, nil, tree.ErrIsDir
	}
	holders := []store.MachineID{{byte(rapid.IntRange(1, 9).Draw(t, "holder"))}}
	return s.tree.Assign(tx, e.ID, e.Version.Dot, holders, now)
}

func reseal(t *rapid.T, s *site, tx store.Txn, p string, now time.Time) ([]tree.Op, []tree.Event, error) {
	e, err := s.tree.Lookup(tx, p)
	if err != nil {
		return nil, nil, err
	}
	if e.Dir {
		return nil, nil, tree.ErrIsDir
	}
	c := store.Content{Size: e.Version.Content.Size, Oldest: uint32(rapid.IntRange(0, 3).Draw(t, "generation"))}
	return s.tree.Reseal(tx, e.ID, e.Version.Dot, c, now)
}

// drawTime returns no time, 1970, or some time.
func drawTime(t *rapid.T) time.Time {
	n := rapid.IntRange(-1, 3).Draw(t, "time")
	if n < 0 {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// deliver hands b the next operation of author that a has and b lacks.
func deliver(t rapid.TB, a, b *site, author store.MachineID, now time.Time) bool {
	n := len(b.logs[author])
	if author == b.id || n >= len(a.logs[author]) {
		return false
	}
	b.apply(t, a.logs[author][n], now)
	return true
}

// TestConvergence: the view is a function of the set of operations. Machines
// change their trees and hear of each other in random order; then the same set in
// other orders gives the same drive, and the slow computation agrees.
func TestConvergence(t *testing.T) {
	rapid.Check(t, checkConvergence)
}

func checkConvergence(t *rapid.T) {
	sites := []*site{newSite(t, 1), newSite(t, 2), newSite(t, 3)}
	skew := []time.Duration{0, -time.Hour, time.Duration(rapid.IntRange(0, 100).Draw(t, "skew")) * time.Minute}
	steps := rapid.IntRange(1, 60).Draw(t, "steps")
	now := epoch
	for range steps {
		now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "pause")) * time.Second)
		i := rapid.IntRange(0, 2).Draw(t, "site")
		if rapid.IntRange(0, 3).Draw(t, "hear") > 0 {
			localChange(t, sites[i], now.Add(skew[i]))
			continue
		}
		from := sites[(i+rapid.IntRange(1, 2).Draw(t, "from"))%3]
		author := sites[rapid.IntRange(0, 2).Draw(t, "author")].id
		for range rapid.IntRange(1, 8).Draw(t, "many") {
			deliver(t, from, sites[i], author, now.Add(skew[i]))
		}
	}
	var all []tree.Op
	for _, s := range sites {
		all = append(all, s.logs[s.id]...)
	}
	seed := rapid.Uint64().Draw(t, "order")
	for n := range 3 {
		sites = append(sites, newSite(t, byte(10+n)))
	}
	want := view(all)
	for n, s := range sites {
		finish(t, s, sites[:3], rand.New(rand.NewPCG(seed, uint64(n))), now)
		got, err := walked(s.tree, s.kv)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("site %d: view (-oracle +tree):\n%s\nops:\n%s", n, d, printed(all))
		}
		same(t, sites[0], s)
	}
	mended(t, sites[0], now)
}

// mended checks that to make everything anew changes nothing, and that a row which
// was lost comes back.
func mended(t *rapid.T, s *site, now time.Time) {
	var ids []store.FileID
	if err := s.tree.Nodes(s.kv, nil, func(n tree.NodeHash) bool { ids = append(ids, n.ID); return true }); err != nil {
		t.Fatal(err)
	}
	before, err := walked(s.tree, s.kv)
	if err != nil {
		t.Fatal(err)
	}
	hash, _ := s.tree.RootHash(s.kv)
	totals, _ := s.tree.Totals(s.kv)
	rows := s.kv.between([]byte("te"), []byte("tf"))
	if len(rows) > 0 && rapid.Bool().Draw(t, "lose") {
		tx := s.kv.Begin()
		_ = tx.Delete([]byte(rapid.SampledFrom(rows).Draw(t, "row")))
		_ = tx.Commit(false)
	}
	tx := s.kv.Begin()
	if _, err := s.tree.Mend(tx, ids, now); err != nil {
		t.Fatal(err)
	}
	_ = tx.Commit(false)
	after, err := walked(s.tree, s.kv)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Fatalf("mended (-before +after):\n%s", d)
	}
	h, _ := s.tree.RootHash(s.kv)
	if totalsNow, _ := s.tree.Totals(s.kv); h != hash || totalsNow != totals {
		t.Fatalf("mended: hash %x, not %x; totals %+v, not %+v", h[:4], hash[:4], totalsNow, totals)
	}
}

// finish gives s all that it lacks, one author's operations in order, authors in
// any.
func finish(t rapid.TB, s *site, authors []*site, r *rand.Rand, now time.Time) {
	for left := true; left; {
		left = false
		for _, i := range r.Perm(len(authors)) {
			for range 1 + r.IntN(4) {
				left = deliver(t, authors[i], s, authors[i].id, now) || left
			}
		}
	}
}

// same checks that two machines have equal hashes and totals.
func same(t rapid.TB, a, b *site) {
	ha, err := a.tree.Hash(a.kv)
	if err != nil {
		t.Fatal(err)
	}
	hb, err := b.tree.Hash(b.kv)
	if err != nil {
		t.Fatal(err)
	}
	ra, err := a.tree.Ranges(a.kv, nil)
	if err != nil {
		t.Fatal(err)
	}
	rb, err := b.tree.Ranges(b.kv, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ra != rb {
		t.Fatalf("what is kept of the nodes differs")
	}
	ta, _ := a.tree.Totals(a.kv)
	tb, _ := b.tree.Totals(b.kv)
	if ha != hb || ta != tb || ta.Parked != 0 {
		t.Fatalf("hash %x totals %+v, other %x %+v", ha[:4], ta, hb[:4], tb)
	}
}

func printed(ops []tree.Op) (s string) {
	for _, op := range ops {
		s += fmt.Sprintf("%s t=%s+%d kind=%d node=%s id=%s parent=%s name=%q size=%d seen=%v dots=%v\n", op.Dot,
			op.Time.Wall().Format("150405"), op.Time&0xffff, op.Kind, op.Node, nodeID(op.Dot), op.Parent, op.Name, op.Version.Content.Size, op.Seen, op.Dots)
	}
	return s
}
