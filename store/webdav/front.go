package webdav

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// errPrecondition reports a condition of a request that does not hold.
var errPrecondition = errors.New("webdav: a condition of the request does not hold")

// errNoFile reports what takes no bytes: a pipe, or a symbolic link that leads out of
// the drive.
var errNoFile = errors.New("webdav: neither a file nor a directory")

// front checks conditions and locks, does everything that writes, and leaves to dav,
// which knows no locks, what reads and PROPPATCH.
type front struct {
	files fileSystem
	dav   http.Handler
	log   *slog.Logger
}

// request is a request with what it is about.
type request struct {
	*http.Request
	path   string     // symbolic links followed
	entry  tree.Entry // what is there, if exists
	exists bool
	lists  []ifList // its If header
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A file may be a page: it must not act with the rights of whoever looks at it.
	w.Header().Set("Content-Security-Policy", "sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err := f.serve(w, r)
	if err == nil {
		return
	}
	answer := failureOf(err)
	if answer.status >= http.StatusInternalServerError {
		f.log.Warn("webdav", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	answer.writeTo(w)
}

// methods are what a front does itself.
var methods = map[string]func(f *front, w http.ResponseWriter, r *request) error{
	http.MethodPut: (*front).put, http.MethodDelete: (*front).remove, "MKCOL": (*front).mkcol,
	"COPY": (*front).copy, "MOVE": (*front).move, "LOCK": (*front).lock, "UNLOCK": (*front).unlock,
	"PROPFIND": (*front).propfind, "PROPPATCH": (*front).proppatch,
}

func (f *front) serve(w http.ResponseWriter, hr *http.Request) error {
	if hr.Method == http.MethodOptions {
		f.dav.ServeHTTP(w, hr)
		return nil
	}
	r, err := f.look(hr)
	if err != nil {
		return err
	}
	do, ours := methods[r.Method]
	if r.Method != "UNLOCK" && r.Method != "LOCK" { // there the If header may name what to refresh
		if err := f.check(r, r.entry, r.exists); err != nil {
			return err
		}
	}
	if ours {
		return do(f, w, r)
	}
	f.pass(r.Context(), w, r, nil)
	return nil
}

// pass hands a request on, whose conditions on locks have been checked.
func (f *front) pass(ctx context.Context, w http.ResponseWriter, r *request, body []byte) {
	next := r.WithContext(ctx)
	next.Header = r.Header.Clone()
	next.Header.Del("If")
	if body != nil {
		next.Body, next.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	f.dav.ServeHTTP(w, next)
}

// look finds out what a request is about. DELETE, MOVE and MKCOL are about a symbolic
// link itself.
func (f *front) look(hr *http.Request) (*request, error) {
	r := &request{Request: hr}
	p, err := drive.Clean(hr.URL.Path)
	switch {
	case err != nil && (hr.Method == http.MethodGet || hr.Method == http.MethodHead || hr.Method == "PROPFIND"):
		return nil, fail(http.StatusNotFound, err)
	case err != nil:
		return nil, err
	}
	switch hr.Method {
	case http.MethodDelete, "MOVE", "MKCOL":
		r.path, r.entry, err = f.files.place(p)
	default:
		r.path, r.entry, err = f.files.follow(p)
	}
	switch {
	case err == nil:
		r.exists = true
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, tree.ErrNotDir):
		return nil, err
	}
	if h := hr.Header.Values("If"); len(h) > 0 {
		if r.lists, err = parseIf(strings.Join(h, " ")); err != nil {
			return nil, fail(http.StatusBadRequest, err)
		}
	}
	return r, nil
}

// check evaluates the conditions of a request whose path has e, or nothing unless
// exists is set: If (RFC 4918 section 10.4), and If-Match and If-None-Match (RFC 9110
// section 13.2.2), which GET and HEAD leave to [http.ServeContent].
func (f *front) check(r *request, e tree.Entry, exists bool) error {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if h := r.Header.Get("If-Match"); h != "" && !reads && !matches(h, e, exists) {
		return errPrecondition
	}
	if h := r.Header.Get("If-None-Match"); h != "" && !reads && matches(h, e, exists) {
		return errPrecondition
	}
	if h := r.Header.Get("If-Unmodified-Since"); h != "" && !reads && exists && r.Header.Get("If-Match") == "" {
		t, err := http.ParseTime(h)
		if err == nil && e.Version.ModTime.Truncate(time.Second).After(t) {
			return errPrecondition
		}
	}
	if len(r.lists) == 0 {
		return nil
	}
	for _, l := range r.lists {
		if f.holds(r, l, e, exists) {
			return nil
		}
	}
	return errPrecondition
}

// still checks the conditions of a request once more within its change: somebody may
// have written meanwhile.
func (f *front) still(r *request) func(tree.Entry) error {
	return func(e tree.Entry) error { return f.check(r, e, true) }
}

// matches says that the list of entity tags h has that of e, or is a star.
func matches(h string, e tree.Entry, exists bool) bool {
	if !exists {
		return false
	}
	tag := fileInfo{e: e}.tag()
	for _, t := range strings.Split(h, ",") { // our tags hold no comma
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}

// holds says that all conditions of l hold. Those about another server never do
// (section 10.4.4), but negated.
func (f *front) holds(r *request, l ifList, e tree.Entry, exists bool) bool {
	p, known := r.path, true
	if l.resource != "" {
		if p, known = f.local(r.Request, l.resource); known && p != r.path {
			var err error
			p, e, err = f.files.follow(p)
			exists = err == nil
		}
	}
	on := map[string]bool{}
	if known {
		for _, held := range f.files.locks.on(time.Now(), p) {
			on[held.Token] = true
		}
	}
	for _, c := range l.conditions {
		is := on[c.token]
		if c.etag != "" {
			is = known && exists && c.etag == fileInfo{e: e}.tag()
		}
		if is == c.not {
			return false
		}
	}
	return true
}

// local returns the path of a URL that names a resource of this server.
func (f *front) local(r *http.Request, ref string) (string, bool) {
	u, err := url.Parse(ref)
	if err != nil || u.Opaque != "" || u.Host != "" && !strings.EqualFold(u.Host, r.Host) {
		return "", false
	}
	p, err := drive.Clean(u.Path)
	return p, err == nil
}

// enter begins a write; see [locks.enter].
func (f *front) enter(r *request, targets ...target) (leave func(), err error) {
	return f.files.locks.enter(time.Now(), tokens(r.lists), targets...)
}

// parent is the directory that p lies in.
func parent(p string) string { return path.Dir(p) }

// hasParent fails with 409 unless p can be made (RFC 4918 sections 9.3.1 and 9.7.1).
func (f *front) hasParent(p string) error {
	e, err := f.files.d.Stat(parent(p))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !e.Dir:
		return fail(http.StatusConflict, tree.ErrNotDir)
	}
	return err
}

// put stores a file: all of it, or nothing when the body breaks off.
func (f *front) put(w http.ResponseWriter, r *request) error {
	if r.Header.Get("Content-Range") != "" { // a part must not replace the whole (RFC 9110 section 14.5)
		return fail(http.StatusBadRequest, errors.New("webdav: PUT with Content-Range"))
	}
	if r.exists && r.entry.Dir {
		return tree.ErrIsDir
	}
	leave, err := f.enter(r, target{path: r.path, members: !r.exists})
	if err != nil {
		return err
	}
	defer leave()
	if err := f.hasParent(r.path); err != nil {
		return err
	}
	if e, err := f.files.d.Stat(r.path); err == nil && !isFile(e) {
		return errNoFile
	}
	existed := false
	a := drive.Attributes{If: func(e tree.Entry, exists bool) error {
		if existed = exists; exists && !isFile(e) {
			return errNoFile
		}
		return f.check(r, e, exists) // once more: somebody may have written meanwhile
	}}
	if s := r.Header.Get("X-OC-Mtime"); s != "" { // seconds, as ownCloud's clients send
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > 0 && n < 1<<33 {
			a.ModTime = time.Unix(n, 0)
			w.Header().Set("X-OC-Mtime", "accepted")
		}
	}
	e, err := f.files.d.Put(r.Context(), r.path, r.Body, a)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", fileInfo{e: e}.tag())
	w.WriteHeader(created(!existed))
	return nil
}

// created is 201 for what is new, and 204 for what was replaced.
func created(fresh bool) int {
	if fresh {
		return http.StatusCreated
	}
	return http.StatusNoContent
}

// remove is DELETE, of a directory with all that it holds.
func (f *front) remove(w http.ResponseWriter, r *request) error {
	if d := r.Header.Get("Depth"); d != "" && !strings.EqualFold(d, "infinity") && r.entry.Dir { // section 9.6.1
		return fail(http.StatusBadRequest, errBadDepth)
	}
	leave, err := f.enter(r, target{path: r.path, deep: true, members: true})
	if err != nil {
		return err
	}
	defer leave()
	if !r.exists {
		return store.ErrNotFound
	}
	if err := f.files.d.RemoveIf(r.Context(), r.path, true, f.still(r)); err != nil {
		return err
	}
	f.files.locks.drop(r.path)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (f *front) mkcol(w http.ResponseWriter, r *request) error {
	// Section 9.3: a body would say what to make, in a language that nobody speaks.
	if n, _ := io.ReadFull(r.Body, make([]byte, 1)); n > 0 {
		return fail(http.StatusUnsupportedMediaType, errors.New("webdav: MKCOL with a body"))
	}
	leave, err := f.enter(r, target{path: r.path, members: true})
	if err != nil {
		return err
	}
	defer leave()
	if r.exists {
		return tree.ErrExist
	}
	if err := f.hasParent(r.path); err != nil {
		return err
	}
	if err := f.files.d.Mkdir(r.Context(), r.path); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}
