package node

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// alone serves a machine without others.
func alone(t *testing.T) *host {
	t.Helper()
	return serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
}

// entry is a tar entry.
type entry struct {
	h    tar.Header
	body string
}

func file(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(body)), Mode: 0o644}, body}
}

func directory(name string) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, ""}
}

func pack(entries ...entry) func(*tar.Writer) error {
	return func(tw *tar.Writer) error {
		for _, e := range entries {
			if err := tw.WriteHeader(&e.h); err != nil {
				return err
			}
			if _, err := io.WriteString(tw, e.body); err != nil {
				return err
			}
		}
		return nil
	}
}

// send puts entries below dst and returns what was reported, by path.
func (h *host) send(t *testing.T, dst string, fill func(*tar.Writer) error) (map[string]Stored, error) {
	t.Helper()
	all := map[string]Stored{}
	err := h.client.Put(t.Context(), dst, fill, func(s Stored) { all[s.Path] = s })
	return all, err
}

func TestPut_TarWithTraps(t *testing.T) {
	a := alone(t)
	got, err := a.send(t, "/", pack(
		directory("in/"),
		file("/abs", "absolute"), // below the destination like any other
		entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "sym", Linkname: "/etc/passwd"}, ""},
		entry{tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "abs"}, ""},
		entry{tar.Header{Typeflag: tar.TypeChar, Name: "dev", Devmajor: 1, Devminor: 3}, ""},
		entry{tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"}, ""},
		file("sym/below", "not by way of a link"),
		file("in", "a file where a directory is"),
		file("abs/below", "a file below a file"),
		file("in/ok", "ok"),
	))
	if !errors.Is(err, store.ErrNotFound) { // sym/ is nothing
		t.Errorf("Put = %v", err)
	}
	for _, p := range []string{"/sym", "/hard", "/dev", "/fifo"} {
		if got[p].Code != "skipped" {
			t.Errorf("%s: %+v", p, got[p])
		}
	}
	got, err = a.send(t, "/", pack(directory("in/"), file("/abs", "absolute")))
	if err != nil || got["/abs"].Error != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	got, err = a.send(t, "/", pack(file("in", "x"), file("abs/below", "x"), directory("abs/"), file("in/ok", "ok")))
	if err != nil || got["/in"].Code != "is_directory" || got["/abs/below"].Code != "not_directory" || got["/abs"].Code != "not_directory" || got["/in/ok"].Error != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if n := a.names(t); cmp.Diff(n, []string{"/abs", "/in", "/in/ok"}) != "" {
		t.Errorf("there are %q", n)
	}
}

func TestPut_TarCannotLeaveItsDirectory(t *testing.T) {
	a := alone(t)
	if err := a.client.Mkdir(t.Context(), "/d", false); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"../out", "x/../../out", "/../out", "..", "a\x00b", "\xff", strings.Repeat("n", 300), strings.Repeat("d/", 3000) + "f"} {
		got, err := a.send(t, "/d", pack(file(name, "x"), file("behind", "x")))
		if err == nil && got["/d/behind"].Path == "" {
			t.Errorf("%.20q: no error, and what was behind it is lost", name)
		}
		if n := a.names(t); slices.ContainsFunc(n, func(p string) bool { return p != "/d" && p != "/d/behind" }) {
			t.Errorf("%.20q: there are %q", name, n)
		}
	}
}

// Of two entries of one name the later one counts, as tar has it.
func TestPut_TarWithOneNameTwice(t *testing.T) {
	a := alone(t)
	for i := range 5 {
		var entries []entry
		for j := range 50 {
			entries = append(entries, file("f", fmt.Sprint(i, ".", j)))
		}
		if _, err := a.send(t, "/", pack(entries...)); err != nil {
			t.Fatal(err)
		}
		if got := a.cat(t, "/f"); string(got) != fmt.Sprint(i, ".49") {
			t.Fatalf("round %d: %q", i, got)
		}
	}
}

// raw sends bytes as the tar stream and then ends the request as it should be or,
// with an error, by going away.
func (h *host) raw(ctx context.Context, stream io.Reader) (answer string, err error) {
	body, err := h.client.do(ctx, http.MethodPut, "tar", stream, "path", "/")
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}

func TestPut_HalfATarStream(t *testing.T) {
	a := alone(t)
	var whole bytes.Buffer
	tw := tar.NewWriter(&whole)
	big := string(randomBytes(1, 1<<20))
	if err := errors.Join(pack(file("one", "1"), file("big", big), file("two", "2"))(tw), tw.Close()); err != nil {
		t.Fatal(err)
	}
	// The headers lie at 0, 1024 and 1050112.
	for _, n := range []int{100, 512, 1024 + 100, 1536, 1536 + 300<<10, 1536 + 1<<20 - 1} {
		answer, err := a.raw(t.Context(), bytes.NewReader(whole.Bytes()[:n]))
		if err != nil || !strings.Contains(answer, "cut") && !strings.Contains(answer, "EOF") || strings.Contains(answer, `"end":true`) {
			t.Errorf("%d bytes: %q, %v", n, answer, err)
		}
		if slices.Contains(a.names(t), "/big") {
			t.Errorf("%d bytes: a half file is there", n)
		}
	}
	if answer, err := a.raw(t.Context(), bytes.NewReader(randomBytes(2, 100000))); err != nil || strings.Contains(answer, `"end":true`) {
		t.Errorf("noise: %q, %v", answer, err)
	}
	if answer, err := a.raw(t.Context(), bytes.NewReader(nil)); err != nil || !strings.Contains(answer, `"end":true`) {
		t.Errorf("an empty stream is an empty archive: %q, %v", answer, err)
	}
	if _, err := a.send(t, "/", pack(file("after", "x"))); err != nil {
		t.Error(err)
	}
}

var errGone = errors.New("the client has gone")

// A client that goes away in the middle leaves whole files and no half ones, with a
// node and without.
func TestPut_ClientGoesAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	for round := range 4 {
		var c *Client
		var stop func()
		if round%2 == 0 {
			a := serve(t, dir, pool.NewSecret())
			c, stop = a.client, a.stop
		} else {
			var err error
			if c, err = Connect(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
			stop = func() {}
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		var once sync.Once
		err := c.Put(ctx, "/", func(tw *tar.Writer) error {
			for i := 0; ; i++ {
				body := randomBytes(byte(i), 100<<10)
				if i%10 == 9 {
					body = randomBytes(byte(i), 1<<20)
				}
				if err := pack(file(fmt.Sprint("r", round, "-", i), string(body)))(tw); err != nil {
					return err
				}
			}
		}, func(Stored) { once.Do(func() { cancel(errGone) }) })
		if err == nil {
			t.Error("Put of an endless stream ended")
		}
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		stop()
		again, err := Connect(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		err = again.List(t.Context(), "/", true, func(l Listing) error {
			files++
			r, err := again.Cat(t.Context(), l.Path, time.Time{})
			if err != nil {
				return err
			}
			defer r.Close()
			n, err := io.Copy(io.Discard, r)
			if n != l.Size || n != 100<<10 && n != 1<<20 {
				t.Errorf("%s has %d bytes, listed with %d", l.Path, n, l.Size)
			}
			return err
		})
		if err != nil || files == 0 {
			t.Errorf("%d files, %v", files, err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A client that goes away while it reads is no trouble either.
func TestGet_ClientGoesAway(t *testing.T) {
	a := alone(t)
	a.put(t, "big", randomBytes(1, 4<<20))
	for range 5 {
		for _, begin := range []func(ctx context.Context) (io.Closer, error){
			func(ctx context.Context) (io.Closer, error) { return a.client.Cat(ctx, "/big", time.Time{}) },
			func(ctx context.Context) (io.Closer, error) {
				_, c, err := a.client.Get(ctx, "/", time.Time{})
				return c, err
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			c, err := begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			c.Close()
		}
	}
	if got := a.cat(t, "/big"); len(got) != 4<<20 {
		t.Errorf("%d bytes", len(got))
	}
}

// What no machine has is said, not only that a stream was cut.
func TestGet_UnreachableIsSaid(t *testing.T) {
	a := alone(t)
	a.put(t, "f", randomBytes(1, 2<<20))
	a.lose(t)
	r, err := a.client.Cat(t.Context(), "/f", time.Time{})
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	if !errors.Is(err, drive.ErrUnreachable) {
		t.Errorf("cat: %v", err)
	}
	tr, body, err := a.client.Get(t.Context(), "/f", time.Time{})
	if err == nil {
		if _, err = tr.Next(); err == nil {
			_, err = io.Copy(io.Discard, tr)
		}
		body.Close()
	}
	if !errors.Is(err, drive.ErrUnreachable) {
		t.Errorf("get: %v", err)
	}
}

// lose takes all chunks off the disk.
func (h *host) lose(t *testing.T) {
	t.Helper()
	var refs []store.Ref
	if err := h.bodies.Sync(); err != nil {
		t.Fatal(err)
	}
	err := h.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		refs = append(refs, store.Ref(k[2:]))
		return true
	})
	if err != nil || len(refs) == 0 {
		t.Fatalf("%d chunks, %v", len(refs), err)
	}
	for _, ref := range refs {
		if err := h.bodies.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
}

// What is removed while a directory is on its way is still what it was when it was
// listed.
func TestGet_RemovedMeanwhile(t *testing.T) {
	a := alone(t)
	a.put(t, "f", []byte("x"))
	e, err := a.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.client.Remove(t.Context(), "/f", false); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := errors.Join(a.addTar(t.Context(), tw, "f", "/f", e), tw.Close()); err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(&b)
	if _, err := tr.Next(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(tr); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestControl_Errors(t *testing.T) {
	a := alone(t)
	ctx := t.Context()
	if err := a.client.Mkdir(ctx, "/d", false); err != nil {
		t.Fatal(err)
	}
	a.put(t, "d/f", []byte("x"))
	for what, s := range map[string]struct{ got, want error }{
		"mkdir again":      {a.client.Mkdir(ctx, "/d", false), tree.ErrExist},
		"mkdir below file": {a.client.Mkdir(ctx, "/d/f/x", true), tree.ErrNotDir},
		"rmdir":            {a.client.Remove(ctx, "/d", false), tree.ErrNotEmpty},
		"rm nothing":       {a.client.Remove(ctx, "/none", true), store.ErrNotFound},
		"mv nothing":       {a.client.Rename(ctx, "/none", "/x"), store.ErrNotFound},
		"mv onto dir":      {a.client.Rename(ctx, "/d/f", "/d"), tree.ErrIsDir},
		"mv bad":           {a.client.Rename(ctx, "/d/f", "/../x"), drive.ErrBadPath},
		"ls nothing":       {a.client.List(ctx, "/none", true, nil), store.ErrNotFound},
		"flush nothing":    {a.client.Flush(ctx, "/none"), store.ErrNotFound},
		"flush bad":        {a.client.Flush(ctx, "none"), drive.ErrBadPath},
		"put bad":          {a.client.Put(ctx, "none", pack(), nil), drive.ErrBadPath},
	} {
		if !errors.Is(s.got, s.want) || !oneLine(s.got) {
			t.Errorf("%s: %v, want %v", what, s.got, s.want)
		}
	}
	if _, err := a.client.Cat(ctx, "/d", time.Time{}); !errors.Is(err, tree.ErrIsDir) {
		t.Errorf("cat of a directory: %v", err)
	}
	if _, _, err := a.client.Get(ctx, "/none", time.Time{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	for _, endpoint := range []string{"", "nothing", "status/x", "../status"} {
		if _, err := a.client.do(ctx, http.MethodGet, endpoint, nil); err == nil {
			t.Errorf("GET %q was answered", endpoint)
		}
	}
	if _, err := a.client.do(ctx, http.MethodGet, "mkdir", nil, "path", "/x"); err == nil {
		t.Error("GET mkdir was answered")
	}
}

// The socket and all that is secret are the user's alone.
func TestServe_FilesArePrivate(t *testing.T) {
	a := alone(t)
	for name, want := range map[string]os.FileMode{".": 0o700, socketName: 0o600, settingsName: 0o600, pool.SecretFile: 0o600, pool.KeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(a.cfg.Dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// A machine that is full says so, keeps what it has, and takes files again once
// there is room.
func TestPut_AgainAfterFull(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := Init(Config{Dir: dir, Set: Settings{Space: 16 << 20}}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	a := serve(t, dir, pool.Secret{})
	a.put(t, "kept", []byte("kept"))
	big := string(randomBytes(1, 32<<20))
	if _, err := a.send(t, "/", pack(file("big", big))); !errors.Is(err, segment.ErrFull) {
		t.Errorf("Put = %v", err)
	}
	if n := a.names(t); cmp.Diff(n, []string{"/kept"}) != "" {
		t.Errorf("there are %q", n)
	}
	a.put(t, "small", []byte("still fits"))
	if got := a.cat(t, "/kept"); string(got) != "kept" {
		t.Errorf("kept: %q", got)
	}
}

// A pipe that a command names as a local file must not hold up the machine.
func TestPut_NamedPipeIsNotOpened(t *testing.T) {
	if !makePipe(t, filepath.Join(t.TempDir(), "pipe"), func(pipe string) {
		a := alone(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var got Stored
		err := a.client.Put(ctx, "/", pack(entry{tar.Header{Typeflag: tar.TypeReg, Name: "f", PAXRecords: map[string]string{paxFile: pipe, paxIdentity: "x"}}, ""}), func(s Stored) { got = s })
		if err != nil || got.Code != CodeNotLocal {
			t.Errorf("%+v, %v", got, err)
		}
	}) {
		t.Skip("this system has no named pipes in directories")
	}
}
