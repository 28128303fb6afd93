package webdav

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

var (
	errBadDepth       = errors.New("webdav: this Depth has no meaning here")
	errBadDestination = errors.New("webdav: the Destination header is missing or wrong")
)

// destination is where a COPY or MOVE goes.
type destination struct {
	path   string
	exists bool
	keep   bool // what is there must not be replaced
}

// destination reads the headers Destination and Overwrite (RFC 4918 sections 10.3 and
// 10.6).
func (f *front) destination(r *request) (destination, error) {
	u, err := url.Parse(r.Header.Get("Destination"))
	switch {
	case err != nil, u.Path == "", u.Opaque != "":
		return destination{}, fail(http.StatusBadRequest, errBadDestination)
	case u.Host != "" && !strings.EqualFold(u.Host, r.Host):
		return destination{}, fail(http.StatusBadGateway, errBadDestination)
	}
	p, err := drive.Clean(u.Path)
	if err != nil {
		return destination{}, err
	}
	p, _, err = f.files.place(p)
	d := destination{path: p, exists: err == nil, keep: strings.EqualFold(r.Header.Get("Overwrite"), "F")}
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, tree.ErrNotDir):
		return d, err
	case p == r.path:
		return d, fail(http.StatusForbidden, errBadDestination)
	case !r.exists:
		return d, store.ErrNotFound
	case d.exists && d.keep:
		return d, errPrecondition
	}
	return d, f.hasParent(p)
}

// taken gives the status to a destination that somebody else has taken meanwhile.
func taken(err error) error {
	if errors.Is(err, tree.ErrExist) {
		return errPrecondition
	}
	return err
}

// copy is COPY: one change, in which no bytes move.
func (f *front) copy(w http.ResponseWriter, r *request) error {
	to, err := f.destination(r)
	if err != nil {
		return err
	}
	how := drive.Transfer{NoReplace: to.keep, If: f.still(r)}
	switch depth := r.Header.Get("Depth"); {
	case depth == "" || strings.EqualFold(depth, "infinity"):
	case depth == "0": // section 9.8.3: a directory without what it holds
		how.Alone = true
	default:
		return fail(http.StatusBadRequest, errBadDepth)
	}
	leave, err := f.enter(r, target{path: to.path, deep: true, members: !to.exists})
	if err != nil {
		return err
	}
	defer leave()
	if err := f.files.d.CopyAs(r.Context(), r.path, to.path, how); err != nil {
		return taken(err)
	}
	w.WriteHeader(created(!to.exists))
	return nil
}

// move is MOVE: one change. The locks on what was there end, those on the destination
// stay (section 7.6).
func (f *front) move(w http.ResponseWriter, r *request) error {
	if d := r.Header.Get("Depth"); d != "" && !strings.EqualFold(d, "infinity") && r.entry.Dir { // section 9.9.2
		return fail(http.StatusBadRequest, errBadDepth)
	}
	to, err := f.destination(r)
	if err != nil {
		return err
	}
	leave, err := f.enter(r, target{path: r.path, deep: true, members: true}, target{path: to.path, deep: true, members: !to.exists})
	if err != nil {
		return err
	}
	defer leave()
	if err := f.files.d.Move(r.Context(), r.path, to.path, drive.Transfer{NoReplace: to.keep, If: f.still(r)}); err != nil {
		return taken(err)
	}
	f.files.locks.drop(r.path)
	w.WriteHeader(created(!to.exists))
	return nil
}
