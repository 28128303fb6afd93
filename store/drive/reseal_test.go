package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// generation adds the keys of another generation.
func (r *rig) generation(t *testing.T, n uint32) {
	t.Helper()
	if err := r.cfg.Keys.Add(bytes.Repeat([]byte{byte(n)}, 32), n); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) all(t *testing.T) (entries []tree.Entry) {
	t.Helper()
	if err := r.tree.Walk(r.kv, "/", func(e tree.Entry) bool { entries = append(entries, e); return true }); err != nil {
		t.Fatal(err)
	}
	return entries
}

// Files that are sealed anew hold what they held, and so does their history; the chunks
// of the old keys go with the next collection, but for those that the past needs.
func TestReseal_KeepsBytesAndHistory(t *testing.T) {
	const seed = 3
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t)
	want := map[string][]byte{}
	for i := range 20 {
		p := fmt.Sprintf("/f%02d", i)
		b := make([]byte, rnd.IntN(300<<10))
		fillRandom(rnd, b)
		want[p] = b
		if _, err := r.Put(t.Context(), p, bytes.NewReader(b), Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	first := want["/f03"]
	want["/f03"] = []byte("another version")
	if _, err := r.Put(t.Context(), "/f03", bytes.NewReader(want["/f03"]), Attributes{}); err != nil {
		t.Fatal(err)
	}
	before := r.all(t)
	r.generation(t, 7)
	paced := 0
	failed, err := r.Reseal(t.Context(), before, func(_ context.Context, n int) error { paced += n; return nil })
	if err != nil || len(failed) > 0 || paced == 0 {
		t.Fatalf("seed %d: %v, %v, paced %d bytes", seed, failed, err, paced)
	}
	collected, err := r.Collect(t.Context())
	if err != nil || collected.Removed == 0 {
		t.Errorf("collected %+v, %v", collected, err)
	}
	after := r.all(t)
	for i, e := range after {
		if old := before[i]; e.Version.Dot != old.Version.Dot || !e.Version.ModTime.Equal(old.Version.ModTime) || e.Path != old.Path {
			t.Errorf("%+v became %+v", old, e)
		}
		if e.Version.Content.Size > 0 && e.Version.Content.Oldest != 7 {
			t.Errorf("%s is of generation %d", e.Path, e.Version.Content.Oldest)
		}
		if got := r.read(t, e.Path); !bytes.Equal(got, want[e.Path]) {
			t.Errorf("%s: other bytes", e.Path)
		}
	}
	var past []tree.Past
	if err := r.tree.History(r.kv, "/f03", func(p tree.Past) bool { past = append(past, p); return true }); err != nil {
		t.Fatal(err)
	}
	if len(past) != 2 {
		t.Fatalf("%d versions in the history, want 2", len(past))
	}
	f := r.OpenVersion(t.Context(), past[1].Entry.Version)
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, first) {
		t.Errorf("the version before: %d bytes, %v", len(got), err)
	}
}

func fillRandom(rnd *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
}

// A file that is written, or removed, while it is sealed anew is as its writer left it;
// one that cannot be read is told, and the others are done.
func TestReseal_WritersComeFirst(t *testing.T) {
	r := newRig(t)
	for _, p := range []string{"/written", "/removed", "/lost", "/whole"} {
		if _, err := r.Put(t.Context(), p, strings.NewReader("what was in "+p), Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	entries := r.all(t)
	r.generation(t, 7)
	lost, err := r.Stat("/lost")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.bodies.Delete(lost.Version.Content.Root); err != nil {
		t.Fatal(err)
	}
	done := false
	failed, err := r.Reseal(t.Context(), entries, func(ctx context.Context, _ int) error {
		if done {
			return nil
		}
		done = true
		if _, err := r.Put(ctx, "/written", strings.NewReader("new words"), Attributes{}); err != nil {
			return err
		}
		return r.Remove(ctx, "/removed", false)
	})
	if err != nil || len(failed) != 1 || !errors.Is(failed[lost.ID], ErrUnreachable) {
		t.Fatalf("%v, %v", failed, err)
	}
	if got := r.read(t, "/written"); string(got) != "new words" {
		t.Errorf("written: %q", got)
	}
	if _, err := r.Stat("/removed"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	if e, err := r.Stat("/whole"); err != nil || e.Version.Content.Oldest != 7 {
		t.Errorf("whole: %+v, %v", e.Version.Content, err)
	}
	if e, err := r.Stat("/lost"); err != nil || e.Version.Content != lost.Version.Content {
		t.Errorf("lost: %+v, %v", e.Version.Content, err)
	}
}

// A holder makes the chunks of what another machine has sealed anew from its own.
func TestResealHere(t *testing.T) {
	a, b := newRig(t), newRig(t)
	body := make([]byte, 5<<20)
	fillRandom(rand.New(rand.NewPCG(8, 8)), body)
	for _, r := range []*rig{a, b} {
		if _, err := r.Put(t.Context(), "/f", bytes.NewReader(body), Attributes{}); err != nil {
			t.Fatal(err)
		}
	}
	from := b.all(t)[0].Version.Content
	a.generation(t, 7)
	if _, err := a.Reseal(t.Context(), a.all(t), nil); err != nil {
		t.Fatal(err)
	}
	to := a.all(t)[0].Version.Content
	if err := b.ResealHere(t.Context(), from, to); err == nil {
		t.Error("it did without the secret")
	}
	b.generation(t, 7)
	b.generation(t, 9) // newer than the other machine had
	if err := b.ResealHere(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	f := b.OpenVersion(t.Context(), tree.Version{Content: to})
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	wrong := to
	wrong.Root[0] ^= 1
	if err := b.ResealHere(t.Context(), from, wrong); !errors.Is(err, ErrAltered) {
		t.Errorf("other bytes: %v", err)
	}
	if err := b.bodies.Delete(from.Root); err != nil {
		t.Fatal(err)
	}
	if err := b.ResealHere(t.Context(), from, to); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without the list: %v", err)
	}
}

// A holder that has heard that a file is sealed anew, and has not the new chunks yet,
// keeps the old ones through a collection: until then its copy is one.
func TestCollect_KeepsACopyUntilTheNewOneIsThere(t *testing.T) {
	r := newRig(t)
	body := make([]byte, 2<<20)
	fillRandom(rand.New(rand.NewPCG(9, 9)), body)
	if _, err := r.Put(t.Context(), "/f", bytes.NewReader(body), Attributes{}); err != nil {
		t.Fatal(err)
	}
	var olds []store.Content
	for _, g := range []uint32{7, 8} {
		old := r.all(t)[0]
		olds = append(olds, old.Version.Content)
		r.generation(t, g)
		if _, err := r.Reseal(t.Context(), r.all(t), nil); err != nil {
			t.Fatal(err)
		}
	}
	now := r.all(t)[0].Version.Content
	if err := r.bodies.Delete(now.Root); err != nil { // as if it had yet to come
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !r.whole(olds[1]) || r.whole(olds[0]) {
		t.Fatalf("the copy before is here: %v, the one before that: %v", r.whole(olds[1]), r.whole(olds[0]))
	}
	if err := r.ResealHere(t.Context(), olds[1], now); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.whole(olds[1]) || !r.whole(now) {
		t.Errorf("the old copy is still here: %v, the new one: %v", r.whole(olds[1]), r.whole(now))
	}
	if got := r.read(t, "/f"); !bytes.Equal(got, body) {
		t.Error("other bytes")
	}
}
