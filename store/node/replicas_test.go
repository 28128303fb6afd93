package node

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// having counts the hosts that have the bytes of p, as replicas or as cache.
func having(hosts []*host, e tree.Entry) (n int) {
	for _, h := range hosts {
		if h.has(e.Version.Content) {
			n++
		}
	}
	return n
}

// The number of copies is a matter of each directory, of those above where it has none,
// and can be changed: copies are made, and given up, of what lies there already.
func TestReplicas_OfADirectory(t *testing.T) {
	hosts := poolOf(t, 2, 256<<20, 256<<20, 256<<20)
	a, b := hosts[0], hosts[1]
	for _, d := range []string{"/many", "/many/deep", "/few"} {
		if err := a.client.Mkdir(t.Context(), d, true); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{"many/f", "many/deep/g", "few/h"}
	for i, n := range files {
		a.put(t, n, randomBytes(byte(i), 300<<10))
	}
	a.flush(t)
	set := func(n int, p string) {
		t.Helper()
		if r, err := a.client.SetReplicas(t.Context(), p, n); err != nil || n > 0 && (r.Copies != n || r.From != p || r.Machines != 3) {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	holders := func(what string, want ...int) {
		t.Helper()
		eventually(t, what, func() bool {
			for i, n := range files {
				if e, err := b.drive.Stat("/" + n); err != nil || len(e.Version.Holders) != want[i] {
					return false
				}
			}
			return true
		})
	}
	set(3, "/many")
	set(1, "/few")
	holders("three copies and one", 3, 3, 1)
	for _, h := range hosts {
		h.flush(t)
	}
	a.put(t, "many/deep/new", randomBytes(7, 300<<10))
	a.put(t, "few/new", randomBytes(8, 300<<10))
	if m, f := a.entry(t, "/many/deep/new"), a.entry(t, "/few/new"); len(m.Version.Holders) != 3 || len(f.Version.Holders) != 1 {
		t.Errorf("new files have %d and %d holders", len(m.Version.Holders), len(f.Version.Holders))
	}
	a.flush(t)
	if e := a.entry(t, "/many/deep/new"); having(hosts, e) != 3 {
		t.Errorf("%d machines have the file", having(hosts, e))
	}
	set(2, "/many/deep")
	holders("two in the directory below", 3, 2, 1)
	set(0, "/many/deep")
	set(0, "/many")
	set(1, "/")
	holders("one copy of all", 1, 1, 1)
	if r, err := b.client.Replicas(t.Context(), "/many/deep/g"); err != nil || r.From != "/" || r.Copies != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	set(9, "/") // more than there are machines
	holders("a copy on each, but for the directory of which something else is said", 3, 3, 1)
	for _, p := range []string{"/many/f", "/nosuch"} {
		if _, err := a.client.SetReplicas(t.Context(), p, 2); err == nil {
			t.Errorf("%s was given a number", p)
		}
	}
	for i, n := range files {
		if got := b.cat(t, "/"+n); !bytes.Equal(got, randomBytes(byte(i), 300<<10)) {
			t.Errorf("%s: %d other bytes", n, len(got))
		}
	}
	names, err := a.drive.Xattrs("/")
	if err != nil || !slices.Contains(names, replicasName) {
		t.Errorf("attributes %q, %v", names, err)
	}
}

// What others keep is cache here once they have it, and not before.
func TestCollect_OthersCopiesBecomeCache(t *testing.T) {
	hosts := poolOf(t, 1, 256<<20, 256<<20)
	a, b := hosts[0], hosts[1]
	var foreign tree.Entry
	for i := 0; foreign.Path == ""; i++ {
		n := fmt.Sprint("f", i)
		a.put(t, n, randomBytes(byte(i), 500<<10))
		if e := a.entry(t, "/"+n); !slices.Contains(e.Version.Holders, a.ID()) {
			foreign = e
		}
	}
	a.flush(t)
	before := a.bodies.Usage()
	if before.Cache != 0 {
		t.Fatalf("usage %+v", before)
	}
	eventually(t, "a hears that b has it", func() bool { return !a.mustKeep(foreign.Version) })
	if _, err := a.drive.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u := a.bodies.Usage(); u.Cache < 500<<10 || u.Replicas > before.Replicas-500<<10 {
		t.Errorf("usage %+v, was %+v", u, before)
	}
	if !b.mustKeep(foreign.Version) {
		t.Error("the holder need not keep it")
	}
	// A writer finds the bytes in the cache: they are its own to keep again.
	body := a.cat(t, foreign.Path)
	b.stop()
	a.put(t, "again", body)
	if e := a.entry(t, "/again"); !a.mustKeep(e.Version) {
		t.Error("what nobody has taken yet need not be kept")
	}
	if u := a.bodies.Usage(); u.Cache > 1<<10 {
		t.Errorf("a new file is cache, and may be evicted: %+v", u)
	}
}

// A machine that has no room for what it was given hands it on to one that has.
func TestHandBack_FullHolder(t *testing.T) {
	hosts := poolOf(t, 1, 256<<20, 8<<20, 256<<20)
	small := hosts[1]
	body := randomBytes(3, 12<<20)
	hosts[0].put(t, "big", body)
	e := hosts[0].entry(t, "/big")
	if slices.Contains(e.Version.Holders, small.ID()) {
		t.Fatal("12 MiB were given to a machine of 8")
	}
	kept := []drive.Kept{{File: e.ID, Placed: e.Version.Placed}}
	_, err := hosts[0].drive.Assign(t.Context(), kept, func(store.Reader, drive.Kept, tree.Version) []store.MachineID {
		return []store.MachineID{small.ID()}
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "another machine keeps it", func() bool {
		h := hosts[0].entry(t, "/big").Version.Holders
		return len(h) == 1 && h[0] != small.ID()
	})
	hosts[0].flush(t)
	if got := hosts[2].cat(t, "/big"); !bytes.Equal(got, body) {
		t.Errorf("%d other bytes", len(got))
	}
}

// A machine that is full gives others that have room copies to keep in its place, as many
// as are wanted, and keeps them until those have them. So who writes there finds room.
func TestCede_OthersTakeOver(t *testing.T) {
	hosts := poolOf(t, 1, 256<<20, 256<<20, 256<<20) // so large that nothing is moved to even them out
	small := hosts[1]
	const size, files = 1 << 20, 14
	var kept []drive.Kept
	for i := range files {
		hosts[0].put(t, fmt.Sprint("f", i), randomBytes(byte(i), size))
		e := hosts[0].entry(t, fmt.Sprint("/f", i))
		kept = append(kept, drive.Kept{File: e.ID, Placed: e.Version.Placed})
	}
	if _, err := hosts[0].drive.Assign(t.Context(), kept, func(store.Reader, drive.Kept, tree.Version) []store.MachineID {
		return []store.MachineID{small.ID()}
	}); err != nil {
		t.Fatal(err)
	}
	mine := func() (n int) {
		for i := range files {
			e := small.entry(t, fmt.Sprint("/f", i))
			if slices.Contains(e.Version.Holders, small.ID()) && small.copies(e) == 1 {
				n++
			}
		}
		return n
	}
	eventually(t, "the small machine has them all", func() bool { return len(small.names(t)) == files && mine() == files })
	const wanted = 5 * size
	n, bytes, err := small.cede(t.Context(), wanted)
	if err != nil || bytes < wanted || bytes > wanted+size || int64(n) != bytes/size {
		t.Fatalf("%d files and %d bytes, want %d; %v", n, bytes, wanted, err)
	}
	if got := mine(); got != files-n {
		t.Errorf("%d files are left, %d of %d were given away", got, n, files)
	}
	eventually(t, "others have them", func() bool {
		for i := range files {
			if e := small.entry(t, fmt.Sprint("/f", i)); !slices.Contains(e.Version.Holders, small.ID()) && small.mustKeep(e.Version) {
				return false
			}
		}
		return true
	})
	for i := range files {
		if got := hosts[2].cat(t, fmt.Sprint("/f", i)); !slices.Equal(got, randomBytes(byte(i), size)) {
			t.Errorf("f%d has %d other bytes", i, len(got))
		}
	}
	for range 2 { // it begins, and is at it or has done it
		if !small.cedeSoon() {
			t.Error("a writer has nothing to hope for")
		}
	}
}

// Where a machine joins a pool that is fuller than it by far, it takes its share; files
// are whole all the while.
func TestBalance_JoinTakesItsShare(t *testing.T) {
	dir := t.TempDir()
	hosts := poolOf(t, 2, 32<<20, 32<<20)
	const files, size = 40, 512 << 10
	for i := range files {
		if err := hosts[0].tryPut(t.Context(), fmt.Sprint("f", i), randomBytes(byte(i), size)); err != nil {
			t.Fatal(err)
		}
	}
	hosts[0].flush(t)
	before := map[string][]store.MachineID{}
	for i := range files {
		e := hosts[0].entry(t, fmt.Sprint("/f", i))
		before[e.Path] = e.Version.Holders
	}
	c := joining(t, dir, hosts, 32<<20)
	took := func() (n int) {
		for p := range before {
			if slices.Contains(c.entry(t, p).Version.Holders, c.ID()) {
				n++
			}
		}
		return n
	}
	eventually(t, "the new machine knows all files", func() bool { return len(c.names(t)) == files })
	eventually(t, "the new machine takes files", func() bool { return took() >= files/3 })
	hosts[0].flush(t)
	moved := 0
	for p, old := range before {
		for _, id := range hosts[0].entry(t, p).Version.Holders {
			if !slices.Contains(old, id) {
				moved++
			}
		}
	}
	n := took()
	t.Logf("of %d copies on two machines the third took %d, and %d were moved; its share would be %d", 2*files, n, moved, 2*files/3)
	if moved > n+1 {
		t.Errorf("%d copies moved for the %d that the new machine took", moved, n)
	}
	for i := range files {
		if got := c.cat(t, fmt.Sprint("/f", i)); !bytes.Equal(got, randomBytes(byte(i), size)) {
			t.Errorf("f%d: %d other bytes", i, len(got))
		}
	}
}

func TestPlan(t *testing.T) {
	hosts := poolOf(t, 2, 64<<20, 64<<20, 64<<20)
	const files, size = 12, 512 << 10
	for i := range files {
		hosts[0].put(t, fmt.Sprint("f", i), randomBytes(byte(i), size))
	}
	hosts[0].flush(t)
	var kept int64
	for i := range files {
		if slices.Contains(hosts[0].entry(t, fmt.Sprint("/f", i)).Version.Holders, hosts[2].ID()) {
			kept++
		}
	}
	p, err := hosts[0].client.Plan(t.Context(), Change{Remove: hosts[2].Name(), Rate: 1 << 20})
	if err != nil || p.Files != kept || p.Bytes != kept*size || !p.Fits || p.Last != 0 || p.Seconds != float64(kept)/2 || p.Total >= p.TotalNow {
		t.Errorf("%+v, %v; the machine keeps %d", p, err, kept)
	}
	p, err = hosts[0].client.Plan(t.Context(), Change{Add: 64 << 20})
	if err != nil || !p.Fits || p.Total <= p.TotalNow || p.Rate != DefaultPlanRate {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err = hosts[0].client.Plan(t.Context(), Change{Remove: "nobody"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a machine that nobody knows: %v", err)
	}
	w, err := hosts[1].client.Where(t.Context(), "/f0")
	if err != nil || len(w.Holders) != 2 || w.Wanted != 2 || w.Author != hosts[0].Name() {
		t.Errorf("%+v, %v", w, err)
	}
	y, err := hosts[1].client.Why(t.Context(), "/f0")
	if err != nil || len(y.Order) != 3 || y.Wanted != 2 {
		t.Errorf("%+v, %v", y, err)
	}
	z, err := hosts[2].client.Why(t.Context(), "/f0")
	if err != nil || z.Key != y.Key {
		t.Errorf("machines disagree: %+v and %+v, %v", y, z, err)
	}
}
