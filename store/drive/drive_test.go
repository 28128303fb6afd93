package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// rig is a Drive in memory, and what it stands on.
type rig struct {
	*Drive
	kv     store.KV
	tree   *tree.Tree
	bodies *segment.Store

	mu   sync.Mutex // held during a change
	now  time.Time
	fail error // what Do answers, when set
}

var self = store.MachineID{1}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{kv: index.NewMemory(), now: time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC)}
	var err error
	if r.bodies, err = segment.Open(vfs.NewMem(), "segments", r.kv, segment.Config{Space: 24 << 20}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.bodies.Close() })
	if r.tree, err = tree.Open(r.kv, self); err != nil {
		t.Fatal(err)
	}
	keys, err := chunk.NewKeys(make([]byte, chunk.SecretSize), 1)
	if err != nil {
		t.Fatal(err)
	}
	r.Drive = New(Config{
		KV: r.kv, Tree: r.tree, Keys: keys, Bodies: r.bodies, Journal: r,
		Holders: func(Placing) ([]store.MachineID, error) { return []store.MachineID{self}, nil },
	})
	return r
}

// Sync is for the disk that a test does not have.
func (r *rig) Sync(context.Context) error { return nil }

// Do is the Journal: a Txn and its Commit. Every change is a second after the one
// before.
func (r *rig) Do(ctx context.Context, c Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.now = r.now.Add(time.Second)
	tx := r.kv.Begin()
	defer tx.Discard()
	if _, _, err := c(r.tree, tx, r.now); err != nil {
		return err
	}
	return tx.Commit(true)
}

func (r *rig) put(t *testing.T, p string, body []byte) tree.Entry {
	t.Helper()
	e, err := r.Put(t.Context(), p, bytes.NewReader(body), Attributes{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (r *rig) read(t *testing.T, p string) []byte {
	t.Helper()
	f, err := r.Open(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil || f.Err() != nil {
		t.Fatalf("read %s: %v, %v", p, err, f.Err())
	}
	return b
}

func (r *rig) names(t *testing.T, p string) (names []string) {
	t.Helper()
	if err := r.List(p, func(e tree.Entry) bool { names = append(names, e.Name()); return true }); err != nil {
		t.Fatal(err)
	}
	return names
}

func randomBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestPut_OpenReadsItBack(t *testing.T) {
	r := newRig(t)
	for _, n := range []int{0, 1, 4095, 64 << 10, 1<<20 + 1, 5 << 20} {
		body := randomBytes(byte(n), n)
		p := fmt.Sprintf("/f%d", n)
		e := r.put(t, p, body)
		if e.Path != p || e.Version.Content.Size != int64(n) || e.Version.Mode != 0o644 || e.Version.ModTime.IsZero() {
			t.Errorf("%s: entry %+v", p, e)
		}
		if got := r.read(t, p); !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes back", p, len(got))
		}
	}
}

func TestPut_KeepsAttributes(t *testing.T) {
	r := newRig(t)
	when := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	e, err := r.Put(t.Context(), "/f", strings.NewReader("x"), Attributes{Mode: 0o750, ModTime: when})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Stat("/f"); err != nil || cmp.Diff(got.Version.ModTime, e.Version.ModTime) != "" ||
		!got.Version.ModTime.Equal(when) || got.Version.Mode != 0o750 {
		t.Errorf("Stat = %+v, %v", got, err)
	}
}

func TestPut_NewVersionReplacesTheOld(t *testing.T) {
	r := newRig(t)
	old := r.put(t, "/f", []byte("old"))
	f, err := r.Open(t.Context(), "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if e := r.put(t, "/f", []byte("new")); e.ID != old.ID {
		t.Errorf("a save made another file: %v, was %v", e.ID, old.ID)
	}
	if got := r.read(t, "/f"); string(got) != "new" {
		t.Errorf("read %q", got)
	}
	if b, err := io.ReadAll(f); err != nil || string(b) != "old" {
		t.Errorf("the file that was open before reads %q, %v", b, err)
	}
}

var errBroken = errors.New("the wire was cut")

func TestPut_BrokenReaderLeavesTheOldVersion(t *testing.T) {
	for _, n := range []int{0, 1, 100 << 10, 3 << 20} {
		r := newRig(t)
		r.put(t, "/f", []byte("old"))
		broken := io.MultiReader(bytes.NewReader(randomBytes(1, n)), iotest.ErrReader(errBroken))
		for _, p := range []string{"/f", "/new"} {
			if _, err := r.Put(t.Context(), p, broken, Attributes{}); !errors.Is(err, errBroken) {
				t.Errorf("after %d bytes: %v", n, err)
			}
		}
		if got := r.read(t, "/f"); string(got) != "old" {
			t.Errorf("after %d bytes the file is %q", n, got)
		}
		if names := r.names(t, "/"); cmp.Diff(names, []string{"f"}) != "" {
			t.Errorf("after %d bytes there are %q", n, names)
		}
	}
}

func TestPut_CancelledContextLeavesTheOldVersion(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("old"))
	ctx, cancel := context.WithCancelCause(t.Context())
	body := io.MultiReader(bytes.NewReader(randomBytes(1, 1<<20)), readFunc(func([]byte) (int, error) {
		cancel(errBroken)
		return 0, nil
	}), bytes.NewReader(randomBytes(2, 1<<20)))
	if _, err := r.Put(ctx, "/f", body, Attributes{}); !errors.Is(err, errBroken) {
		t.Errorf("Put = %v, want the cause", err)
	}
	if got := r.read(t, "/f"); string(got) != "old" {
		t.Errorf("the file is %q", got)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func TestPut_FailedJournalLeavesTheOldVersion(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("old"))
	r.fail = errBroken
	if _, err := r.Put(t.Context(), "/f", strings.NewReader("new"), Attributes{}); !errors.Is(err, errBroken) {
		t.Errorf("Put = %v", err)
	}
	if got := r.read(t, "/f"); string(got) != "old" {
		t.Errorf("the file is %q", got)
	}
}

func TestPut_FullDiskLeavesTheOldVersion(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("old"))
	if _, err := r.Put(t.Context(), "/f", bytes.NewReader(randomBytes(1, 30<<20)), Attributes{}); !errors.Is(err, segment.ErrFull) {
		t.Errorf("Put = %v", err)
	}
	if got := r.read(t, "/f"); string(got) != "old" {
		t.Errorf("the file is %q", got)
	}
}

func TestPut_EqualContentIsStoredOnce(t *testing.T) {
	r := newRig(t)
	body := randomBytes(1, 4<<20)
	a := r.put(t, "/a", body)
	once := r.bodies.Usage().Replicas
	b := r.put(t, "/b", body)
	if a.Version.Content != b.Version.Content {
		t.Errorf("contents %+v and %+v", a.Version.Content, b.Version.Content)
	}
	if twice := r.bodies.Usage().Replicas; twice != once {
		t.Errorf("%d bytes stored, then %d", once, twice)
	}
	// Also where the bytes come in drips.
	if _, err := r.Put(t.Context(), "/c", iotest.HalfReader(bytes.NewReader(body)), Attributes{}); err != nil {
		t.Fatal(err)
	}
	if thrice := r.bodies.Usage().Replicas; thrice != once {
		t.Errorf("%d bytes stored, then %d", once, thrice)
	}
}

func TestPut_RefusesWhatIsNoFile(t *testing.T) {
	r := newRig(t)
	if err := r.Mkdir(t.Context(), "/dir"); err != nil {
		t.Fatal(err)
	}
	r.put(t, "/file", nil)
	for p, want := range map[string]error{
		"/": tree.ErrRoot, "/dir": tree.ErrIsDir, "/file/below": tree.ErrNotDir, "/none/f": store.ErrNotFound, "rel": ErrBadPath, "": ErrBadPath,
	} {
		if _, err := r.Put(t.Context(), p, strings.NewReader("x"), Attributes{}); !errors.Is(err, want) {
			t.Errorf("Put %q = %v, want %v", p, err, want)
		}
	}
}

func TestOpen_RefusesDirectories(t *testing.T) {
	r := newRig(t)
	if _, err := r.Open(t.Context(), "/"); !errors.Is(err, tree.ErrIsDir) {
		t.Errorf("Open / = %v", err)
	}
	if _, err := r.Open(t.Context(), "/none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Open of nothing = %v", err)
	}
}

func TestFile_ReadAtAndSeek(t *testing.T) {
	r := newRig(t)
	body := randomBytes(3, 3<<20+17)
	r.put(t, "/f", body)
	f, err := r.Open(t.Context(), "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := iotest.TestReader(io.NewSectionReader(f, 1<<20, 70000), body[1<<20:1<<20+70000]); err != nil {
		t.Error(err)
	}
	if n, err := f.Seek(-5, io.SeekEnd); err != nil || n != int64(len(body)-5) {
		t.Errorf("Seek = %d, %v", n, err)
	}
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, body[len(body)-5:]) {
		t.Errorf("the end is %x, %v", b, err)
	}
	if _, err := f.Seek(-1, io.SeekStart); err == nil {
		t.Error("Seek before the start was accepted")
	}
	if n, err := f.ReadAt(make([]byte, 1), int64(len(body))); n != 0 || err != io.EOF {
		t.Errorf("ReadAt the end = %d, %v", n, err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			got := make([]byte, 100<<10)
			off := i * 300 << 10
			if _, err := f.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, body[off:off+len(got)]) {
				t.Errorf("ReadAt %d: %v", off, err)
			}
		})
	}
	wg.Wait()
}

// drop takes all bodies off the disk.
func (r *rig) drop(t *testing.T) {
	t.Helper()
	var refs []store.Ref
	if err := r.bodies.Sync(); err != nil {
		t.Fatal(err)
	}
	err := r.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		refs = append(refs, store.Ref(k[2:]))
		return true
	})
	if err != nil || len(refs) == 0 {
		t.Fatalf("%d chunks, %v", len(refs), err)
	}
	for _, ref := range refs {
		if err := r.bodies.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFile_ErrSaysThatNobodyHasIt(t *testing.T) {
	r := newRig(t)
	body := randomBytes(4, 4<<20)
	e := r.put(t, "/f", body)
	r.drop(t)
	f := r.OpenEntry(t.Context(), e)
	defer f.Close()
	if f.Err() != nil {
		t.Errorf("before anything was read: %v", f.Err())
	}
	var wg sync.WaitGroup
	for i := range 4 { // for the race detector: readers, and what reads ahead
		wg.Go(func() {
			if _, err := f.ReadAt(make([]byte, 1<<10), int64(i)<<20); !errors.Is(err, ErrUnreachable) {
				t.Errorf("ReadAt = %v", err)
			}
			if err := f.Err(); !errors.Is(err, ErrUnreachable) {
				t.Errorf("Err = %v", err)
			}
		})
	}
	wg.Wait()
}

// A file whose end cannot be brought gives its beginning, and says why it ended.
func TestFile_GivesWhatCanBeBrought(t *testing.T) {
	r := newRig(t)
	body := randomBytes(5, 4<<20)
	e := r.put(t, "/f", body)
	var mu sync.Mutex
	served := 0
	get := r.bodies.Get
	r.Drive.cfg.Fetch = func(_ context.Context, ref store.Ref, _ []store.MachineID) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if served++; served > 10 {
			return nil, fmt.Errorf("gone: %w", ErrUnreachable)
		}
		return get(ref)
	}
	bodies := map[store.Ref][]byte{}
	get = func(ref store.Ref) ([]byte, error) { return bodies[ref], nil }
	_ = r.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		ref := store.Ref(k[2:])
		bodies[ref], _ = r.bodies.Get(ref)
		return true
	})
	r.drop(t)
	f := r.OpenEntry(t.Context(), e)
	got, err := io.ReadAll(f)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(f.Err(), ErrUnreachable) {
		t.Errorf("read %d bytes: %v, Err %v", len(got), err, f.Err())
	}
	if len(got) == 0 || !bytes.HasPrefix(body, got) {
		t.Errorf("%d bytes came before the end, not those of the file", len(got))
	}
	f.Close()
}

func TestFile_ContextEndsReads(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", randomBytes(6, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	f, err := r.Open(ctx, "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if _, err := io.ReadAll(f); !errors.Is(err, context.Canceled) {
		t.Errorf("read = %v", err)
	}
}

func TestBody_RottenChunkIsFetchedAgain(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("x"))
	asked := 0
	r.Drive.cfg.Fetch = func(context.Context, store.Ref, []store.MachineID) ([]byte, error) {
		asked++
		return []byte("fetched"), nil
	}
	if b, err := r.Body(t.Context(), store.Ref{9}, nil); err != nil || string(b) != "fetched" || asked != 1 {
		t.Errorf("Body = %q, %v after %d fetches", b, err, asked)
	}
}

func TestMkdir(t *testing.T) {
	r := newRig(t)
	r.put(t, "/file", nil)
	for _, s := range []struct {
		p    string
		all  bool
		want error
	}{
		{"/a", false, nil}, {"/a", false, tree.ErrExist}, {"/x/y", false, store.ErrNotFound}, {"/x/y/z", true, nil}, {"/x/y/z", true, nil},
		{"/file", false, tree.ErrExist}, {"/file", true, tree.ErrNotDir}, {"/file/d", false, tree.ErrNotDir}, {"/file/d", true, tree.ErrNotDir},
		{"/", false, tree.ErrRoot}, {"/", true, nil}, {"/../x", false, ErrBadPath}, {"", true, ErrBadPath},
	} {
		do := r.Mkdir
		if s.all {
			do = r.MkdirAll
		}
		if err := do(t.Context(), s.p); !errors.Is(err, s.want) {
			t.Errorf("mkdir %q (all %v) = %v, want %v", s.p, s.all, err, s.want)
		}
	}
	if got := r.names(t, "/x/y"); cmp.Diff(got, []string{"z"}) != "" {
		t.Errorf("below /x/y: %q", got)
	}
}

// Many that make the same directories at once all succeed.
func TestMkdirAll_Concurrently(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := r.MkdirAll(t.Context(), "/a/b/c/d"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestRemove(t *testing.T) {
	r := newRig(t)
	if err := r.MkdirAll(t.Context(), "/d/e"); err != nil {
		t.Fatal(err)
	}
	r.put(t, "/d/e/f", []byte("x"))
	for _, s := range []struct {
		p         string
		recursive bool
		want      error
	}{
		{"/none", false, store.ErrNotFound}, {"/none", true, store.ErrNotFound}, {"/d", false, tree.ErrNotEmpty},
		{"/d/e/f/g", true, tree.ErrNotDir}, {"x", true, ErrBadPath}, {"/d/e/f", false, nil}, {"/d/e", false, nil}, {"/d", true, nil},
	} {
		if err := r.Remove(t.Context(), s.p, s.recursive); !errors.Is(err, s.want) {
			t.Errorf("remove %q (recursive %v) = %v, want %v", s.p, s.recursive, err, s.want)
		}
	}
	r.put(t, "/kept", nil)
	if err := r.Remove(t.Context(), "/", false); err == nil {
		t.Error("the root was removed")
	}
	if got := r.names(t, "/"); cmp.Diff(got, []string{"kept"}) != "" {
		t.Errorf("left: %q", got)
	}
}

func TestRename(t *testing.T) {
	r := newRig(t)
	if err := r.MkdirAll(t.Context(), "/d/e"); err != nil {
		t.Fatal(err)
	}
	r.put(t, "/a", []byte("a"))
	r.put(t, "/b", []byte("b"))
	for _, s := range []struct {
		from, to string
		want     error
	}{
		{"/none", "/x", store.ErrNotFound}, {"/a", "/none/x", store.ErrNotFound}, {"/a", "/b/x", tree.ErrNotDir},
		{"/a", "/d", tree.ErrIsDir}, {"/d", "/b", tree.ErrNotDir}, {"a", "/x", ErrBadPath}, {"/a", "/../x", ErrBadPath},
		{"/a", "/b", nil}, {"/b", "/d/e/c", nil}, {"/d/e", "/e", nil},
	} {
		if err := r.Rename(t.Context(), s.from, s.to); !errors.Is(err, s.want) {
			t.Errorf("rename %q %q = %v, want %v", s.from, s.to, err, s.want)
		}
	}
	for _, s := range [][2]string{{"/e", "/e/inside"}, {"/", "/x"}} {
		if err := r.Rename(t.Context(), s[0], s[1]); err == nil {
			t.Errorf("rename %q %q was accepted", s[0], s[1])
		}
	}
	if got := r.read(t, "/e/c"); string(got) != "a" {
		t.Errorf("/e/c is %q", got)
	}
	if got := r.names(t, "/"); cmp.Diff(got, []string{"d", "e"}) != "" {
		t.Errorf("left: %q", got)
	}
}

func TestList_AfterAndStop(t *testing.T) {
	r := newRig(t)
	for _, n := range []string{"c", "a", "b", "ä", "A"} {
		r.put(t, "/"+n, nil)
	}
	if got := r.names(t, "/"); cmp.Diff(got, []string{"A", "a", "b", "c", "ä"}) != "" {
		t.Errorf("List = %q", got)
	}
	var got []string
	if err := r.ListAfter("/", "a", func(e tree.Entry) bool { got = append(got, e.Name()); return len(got) < 2 }); err != nil {
		t.Fatal(err)
	}
	if cmp.Diff(got, []string{"b", "c"}) != "" {
		t.Errorf("ListAfter = %q", got)
	}
	if err := r.List("/a", func(tree.Entry) bool { return true }); !errors.Is(err, tree.ErrNotDir) {
		t.Errorf("List of a file = %v", err)
	}
}

func TestAssign_GivesOtherHolders(t *testing.T) {
	r := newRig(t)
	old := r.put(t, "/f", []byte("x"))
	stale := r.put(t, "/g", []byte("x"))
	r.put(t, "/g", []byte("y"))
	two := []store.MachineID{self, {2}}
	versions := []Kept{{old.ID, old.Version.Placed}, {stale.ID, stale.Version.Placed}, {File: store.FileID{9}}}
	n, err := r.Assign(t.Context(), versions, func(store.Reader, Kept, tree.Version) []store.MachineID { return two })
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	f, err := r.Stat("/f")
	if err != nil || cmp.Diff(f.Version.Holders, two) != "" || f.Version.Content != old.Version.Content || !f.Version.ModTime.Equal(old.Version.ModTime) {
		t.Errorf("/f is %+v, %v", f, err)
	}
	if g, err := r.Stat("/g"); err != nil || len(g.Version.Holders) != 1 {
		t.Errorf("/g was written meanwhile and is now %+v, %v", g, err)
	}
}
