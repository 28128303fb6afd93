package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// connectedHosts returns n machines of one pool, all connected with the first.
func connectedHosts(t *testing.T, n int) []*host {
	t.Helper()
	dir, secret := t.TempDir(), pool.NewSecret()
	var hosts []*host
	for i := range n {
		var peers []netip.AddrPort
		for _, h := range hosts {
			peers = append(peers, h.addr)
		}
		h := serve(t, filepath.Join(dir, string(rune('a'+i))), secret, peers...)
		for _, o := range hosts {
			o.await(t, func(ev Event) bool { return ev.Kind == EventConnected && ev.Machine == h.ID() })
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func (h *host) newGeneration(t *testing.T) uint32 {
	t.Helper()
	if err := h.Machine.newGeneration(t.Context()); err != nil {
		t.Fatal(err)
	}
	return h.newestGeneration()
}

// agree waits until all have the same generations, at least n.
func agree(t *testing.T, hosts []*host, n int) {
	t.Helper()
	eventually(t, "all have the secrets of all generations", func() bool {
		want := hosts[0].generations()
		for _, h := range hosts {
			if !slices.Equal(h.generations(), want) || h.keys.Generation() != want[0] {
				return false
			}
		}
		return len(want) >= n
	})
}

func (h *host) entry(t *testing.T, p string) tree.Entry {
	t.Helper()
	e, err := h.drive.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Machines that begin generations at the same time keep both, and all write under the
// same one.
func TestNewGeneration_ConcurrentOnesConverge(t *testing.T) {
	hosts := connectedHosts(t, 3)
	done := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() { done <- h.Machine.newGeneration(context.Background()) }()
	}
	for range hosts {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	agree(t, hosts, 2)
	eventually(t, "the generations of all three have come", func() bool { return len(hosts[0].generations()) >= 2 && len(hosts[0].generations()) <= 4 })
	for i, h := range hosts {
		name := fmt.Sprintf("file%d", i)
		h.put(t, name, randomBytes(byte(i), 300<<10))
		if e := h.entry(t, "/"+name); e.Version.Content.Oldest != hosts[0].newestGeneration() {
			t.Errorf("%s is of generation %d, newest %d", name, e.Version.Content.Oldest, hosts[0].newestGeneration())
		}
	}
	for _, h := range hosts {
		for i := range hosts {
			name := fmt.Sprintf("/file%d", i)
			eventually(t, name+" is there", func() bool { _, err := h.drive.Stat(name); return err == nil })
			if got := h.cat(t, name); !bytes.Equal(got, randomBytes(byte(i), 300<<10)) {
				t.Errorf("%s has other bytes", name)
			}
		}
	}
}

// A machine that was away gets the secret when it comes back, and then the files; the
// secret stays with it.
func TestNewGeneration_ReachesWhoWasAway(t *testing.T) {
	hosts := connectedHosts(t, 2)
	a, b := hosts[0], hosts[1]
	a.put(t, "old", randomBytes(1, 1<<20))
	dir := b.cfg.Dir
	b.stop()
	g := a.newGeneration(t)
	a.put(t, "new", randomBytes(2, 1<<20))
	b = serve(t, dir, pool.Secret{}, a.addr)
	agree(t, []*host{a, b}, 2)
	eventually(t, "the file is there", func() bool { _, err := b.drive.Stat("/new"); return err == nil })
	for name, want := range map[string][]byte{"/old": randomBytes(1, 1<<20), "/new": randomBytes(2, 1<<20)} {
		if got := b.cat(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s has other bytes", name)
		}
	}
	b.stop()
	p, err := pool.Open(dir, nil)
	if err != nil || p.Ring().Newest() != g || p.ID != a.pool.ID {
		t.Errorf("on the disk is generation %d, want %d: %v", p.Ring().Newest(), g, err)
	}
}

// A crash between the disk and the log leaves a generation that nobody has heard of: it
// is made known at the next start.
func TestNewGeneration_IsMadeKnownAfterACrash(t *testing.T) {
	hosts := connectedHosts(t, 2)
	a, b := hosts[0], hosts[1]
	dir := a.cfg.Dir
	a.stop()
	p, err := pool.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Ring().Next()
	if err == nil {
		err = p.Ring().Add(dir, s, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	a = serve(t, dir, pool.Secret{}, b.addr)
	agree(t, []*host{a, b}, 2)
}

// Who does not get the new secret cannot read what is written under it, though it has
// all the chunks that it can get, and reads what was there before.
func TestNewGeneration_KeepsOutWhoDoesNotGetTheSecret(t *testing.T) {
	hosts := connectedHosts(t, 2)
	a, thief := hosts[0], hosts[1]
	a.put(t, "old", []byte("known to all"))
	eventually(t, "the thief has the old file", func() bool { _, err := thief.drive.Stat("/old"); return err == nil })
	if got := thief.cat(t, "/old"); string(got) != "known to all" {
		t.Fatalf("%q", got)
	}
	// No connection, as after a revocation: the thief has its disk, and somehow bodies.
	dir := thief.cfg.Dir
	thief.stop()
	g := a.newGeneration(t)
	a.put(t, "new", []byte("a secret of those who stayed"))
	content := a.entry(t, "/new").Version.Content
	body, err := a.bodies.Get(content.Root)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.keys.Has(g) {
		t.Fatal("it has the secret")
	}
	if err := m.keys.Check(content.Root, body); !errors.Is(err, chunk.ErrGeneration) {
		t.Errorf("Check = %v", err)
	}
	if _, err := m.keys.Open(content.Root, body); !errors.Is(err, chunk.ErrGeneration) {
		t.Errorf("Open = %v", err)
	}
	f, err := m.drive.Open(t.Context(), "/old")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != "known to all" {
		t.Errorf("what was there before: %q, %v", got, err)
	}
}

// Who is revoked is connected with nobody, gets no secret even where it asks, and reads
// nothing of what is written from then on.
func TestRevoke_TheNewSecretStaysFromTheRevoked(t *testing.T) {
	hosts := connectedHosts(t, 3)
	a, b, thief := hosts[0], hosts[1], hosts[2]
	eventually(t, "all know all", func() bool {
		return membersOf(a) == 3 && membersOf(b) == 3 && membersOf(thief) == 3
	})
	if err := a.Revoke(t.Context(), thief.ID()); err != nil {
		t.Fatal(err)
	}
	agree(t, []*host{a, b}, 2)
	a.put(t, "new", []byte("a secret of those who stayed"))
	eventually(t, "b has the file", func() bool { _, err := b.drive.Stat("/new"); return err == nil })
	if got := b.cat(t, "/new"); string(got) != "a secret of those who stayed" {
		t.Errorf("%q", got)
	}
	g := a.newestGeneration()
	for _, h := range []*host{a, b} {
		_, err := h.serveSecrets(thief.ID(), link.Message{Header: marshal(t, secretsRequest{Generations: []uint32{g}})})
		var refused *link.Error
		if !errors.As(err, &refused) || refused.Code != codeNotMember {
			t.Errorf("%s answers %v", h.Name(), err)
		}
		if err := thief.askSecrets(t.Context(), h.ID(), []uint32{g}); err == nil {
			t.Errorf("%s gave the secret", h.Name())
		}
	}
	if thief.keys.Has(g) {
		t.Error("the revoked machine has the secret")
	}
	content := a.entry(t, "/new").Version.Content
	body, err := a.bodies.Get(content.Root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := thief.keys.Open(content.Root, body); !errors.Is(err, chunk.ErrGeneration) {
		t.Errorf("Open = %v", err)
	}
}

func membersOf(h *host) (n int) {
	_ = h.core.call(context.Background(), func() { n = len(h.core.members.list()) })
	return n
}

func TestSecrets_BadRequestsAndAnswers(t *testing.T) {
	hosts := connectedHosts(t, 1)
	h := hosts[0]
	peer := store.MachineID{9}
	if _, err := h.serveSecrets(peer, link.Message{Header: []byte("nonsense")}); !errors.Is(err, errBadRequest) {
		t.Errorf("nonsense: %v", err)
	}
	many := secretsRequest{Generations: make([]uint32, maxSecrets+1)}
	if _, err := h.serveSecrets(peer, link.Message{Header: marshal(t, many)}); !errors.Is(err, errBadRequest) {
		t.Errorf("too many: %v", err)
	}
	resp, err := h.serveSecrets(peer, link.Message{Header: marshal(t, secretsRequest{Generations: []uint32{77}})})
	if err != nil {
		t.Fatal(err)
	}
	var reply secretsReply
	if err := strictCBOR.Unmarshal(resp.Header, &reply); err != nil || len(reply.Secrets) != 0 {
		t.Errorf("an unknown generation: %d secrets, %v", len(reply.Secrets), err)
	}
	// A secret that was not made known, or is another than was, is not kept.
	s, err := h.pool.Ring().Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.adopt(t.Context(), []pool.Secret{s}); err == nil {
		t.Error("a secret that nobody made known was kept")
	}
	_ = h.core.call(t.Context(), func() { h.core.announced[s.Generation()] = [32]byte{1} })
	if err := h.adopt(t.Context(), []pool.Secret{s}); err == nil || strings.Contains(err.Error(), s.Text()[24:40]) {
		t.Errorf("another secret than was made known: %v", err)
	}
	if len(h.generations()) != 1 {
		t.Errorf("generations %d", h.generations())
	}
	// One that does not come is an alarm after a while, until it has come.
	alarmed := func() bool {
		list, _ := h.alarms.list(h.now())
		return slices.ContainsFunc(list, func(a Alarm) bool { return a.Kind == AlarmSecret })
	}
	since := h.complain(time.Time{}, 1)
	if h.complain(since, 1); alarmed() || since.IsZero() {
		t.Error("an alarm at once")
	}
	if h.complain(since.Add(-2*secretsPatience), 1); !alarmed() {
		t.Error("no alarm")
	}
	if !h.complain(since, 0).IsZero() || alarmed() {
		t.Error("the alarm stays")
	}
}

// rekeyed waits until nothing is left to seal anew as h sees it.
func rekeyed(t *testing.T, h *host) Rekey {
	t.Helper()
	var r Rekey
	eventually(t, "all files are sealed anew", func() bool {
		var err error
		if r, err = h.CountRekey(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r.Ordered && r.Files == 0
	})
	return r
}

// Files that are edited while everything is sealed anew: nothing is lost, nothing is in
// conflict, and in the end nothing is left under the old keys.
func TestRekey_WhileFilesAreEdited(t *testing.T) {
	const files = 200
	hosts := connectedHosts(t, 3)
	a := hosts[0]
	rnd := rand.New(rand.NewPCG(5, 5))
	want := map[string][]byte{}
	for i := range files {
		name := fmt.Sprintf("f%03d", i)
		want[name] = randomBytes(byte(i), 1+rnd.IntN(200<<10))
		hosts[i%3].put(t, name, want[name])
	}
	agreeOnFiles(t, hosts, files)
	before := a.entry(t, "/f000")
	g := a.newGeneration(t)
	agree(t, hosts, 2)
	if err := a.OrderRekey(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for i := range 60 { // by all machines, all over the place
		name := fmt.Sprintf("f%03d", 1+rnd.IntN(files-1))
		want[name] = randomBytes(byte(100+i), 1+rnd.IntN(200<<10))
		hosts[i%3].put(t, name, want[name])
		agreeOn(t, hosts, "/"+name, int64(len(want[name])))
	}
	for _, h := range hosts {
		r := rekeyed(t, h)
		t.Logf("%s: %d files, %d bytes", h.Name(), r.Done, r.DoneBytes)
	}
	for _, h := range hosts {
		if names := h.names(t); len(names) != files {
			t.Errorf("%s shows %d files, want %d: %v", h.Name(), len(names), files, conflicts(names))
		}
		for name, b := range want {
			e := h.entry(t, "/"+name)
			if e.Version.Content.Oldest != g {
				t.Errorf("%s: %s is of generation %d, want %d", h.Name(), name, e.Version.Content.Oldest, g)
			}
			if got := h.cat(t, "/"+name); !bytes.Equal(got, b) {
				t.Errorf("%s: %s has other bytes", h.Name(), name)
			}
		}
	}
	now := a.entry(t, "/f000")
	if now.Version.Dot != before.Version.Dot || !now.Version.ModTime.Equal(before.Version.ModTime) || now.Version.Mode != before.Version.Mode {
		t.Errorf("sealing anew shows as an edit: %+v, before %+v", now.Version, before.Version)
	}
	for _, h := range hosts {
		checkAllBodies(t, h, g)
	}
}

// agreeOnFiles waits until all show n names and all copies are made.
func agreeOnFiles(t *testing.T, hosts []*host, n int) {
	t.Helper()
	for _, h := range hosts {
		eventually(t, h.Name()+" shows all files", func() bool { return len(h.names(t)) == n })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := h.Flush(ctx, "/"); err != nil {
			t.Errorf("%s: flush: %v", h.Name(), err)
		}
		cancel()
	}
}

func agreeOn(t *testing.T, hosts []*host, p string, size int64) {
	t.Helper()
	for _, h := range hosts {
		eventually(t, h.Name()+" has heard of "+p, func() bool { e, err := h.drive.Stat(p); return err == nil && e.Version.Content.Size == size })
	}
}

func conflicts(names []string) (found []string) {
	for _, n := range names {
		if strings.Contains(n, "conflict") {
			found = append(found, n)
		}
	}
	return found
}

// checkAllBodies checks that whatever a machine keeps of the files that are shown is
// whole, under the keys that the files say.
func checkAllBodies(t *testing.T, h *host, generation uint32) {
	t.Helper()
	err := h.tree.Shown(h.kv, func(v tree.Version) bool {
		return h.keys.Walk(v.Content, h.bodies.Get, func(p chunk.Part) error {
			body, err := h.bodies.Get(p.Ref)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err == nil {
				err = h.keys.Check(p.Ref, body)
			}
			if g, gerr := chunk.GenerationOf(body); err == nil && (gerr != nil || g != generation) {
				t.Errorf("%s: a chunk of generation %d is in use: %v", h.Name(), g, gerr)
			}
			if err != nil {
				t.Errorf("%s: %v", h.Name(), err)
			}
			return nil
		}) == nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The order survives a restart, and what a machine that was away brings is done when it
// is back; until then it is counted as waiting.
func TestRekey_ResumesAndWaits(t *testing.T) {
	hosts := connectedHosts(t, 2)
	a, b := hosts[0], hosts[1]
	a.put(t, "both", randomBytes(1, 100<<10))
	agreeOnFiles(t, hosts, 1)
	// A file that only b keeps.
	b.put(t, "lone", randomBytes(2, 100<<10))
	agreeOnFiles(t, hosts, 2)
	e := b.entry(t, "/lone")
	err := b.core.Do(t.Context(), func(tr *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return tr.Assign(tx, e.ID, e.Version.Dot, []store.MachineID{b.ID()}, now)
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file has one holder", func() bool { return len(a.entry(t, "/lone").Version.Holders) == 1 })
	bdir, adir := b.cfg.Dir, a.cfg.Dir
	b.stop()
	g := a.newGeneration(t)
	if err := a.OrderRekey(t.Context(), 100<<20); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what can be done is done", func() bool {
		r, err := a.CountRekey(t.Context())
		return err == nil && r.Files == 1 && r.AwayFiles == 1 && slices.Equal(r.Waiting, []string{b.Name()}) && r.Limit == 100<<20
	})
	a.stop()
	a = serve(t, adir, pool.Secret{})
	if r, err := a.CountRekey(t.Context()); err != nil || !r.Ordered || r.Generation != g || r.Files != 1 {
		t.Errorf("after a restart: %+v, %v", r, err)
	}
	b = serve(t, bdir, pool.Secret{}, a.addr)
	rekeyed(t, a)
	rekeyed(t, b)
	if got := b.cat(t, "/lone"); !bytes.Equal(got, randomBytes(2, 100<<10)) {
		t.Error("other bytes")
	}
}

// A holder that has the bytes seals them anew itself: they do not travel.
func TestRekey_HoldersSealTheirOwnCopies(t *testing.T) {
	hosts := connectedHosts(t, 2)
	a, b := hosts[0], hosts[1]
	big := randomBytes(3, 8<<20)
	a.put(t, "big", big)
	agreeOnFiles(t, hosts, 1)
	a.newGeneration(t)
	agree(t, hosts, 2)
	if err := a.OrderRekey(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		rekeyed(t, h)
	}
	for _, h := range hosts {
		c := h.entry(t, "/big").Version.Content
		eventually(t, h.Name()+" has its copy", func() bool { return whole(h, c) })
		if got := h.cat(t, "/big"); !bytes.Equal(got, big) {
			t.Errorf("%s: other bytes", h.Name())
		}
	}
	if n := a.rekeying.state().Copies + b.rekeying.state().Copies; n != 1 {
		t.Errorf("%d copies were sealed where they lie, want 1", n)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// whole reports whether all chunks of c are on a machine's disk.
func whole(h *host, c store.Content) bool {
	err := h.keys.Walk(c, h.bodies.Get, func(p chunk.Part) error {
		if p.Absent || !h.bodies.Has(p.Ref) {
			return store.ErrNotFound
		}
		return nil
	})
	return err == nil
}
