package webdav

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/net/webdav"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// failure is an error with the status that answers it.
type failure struct {
	status int
	reason string   // the condition that was not met, an element of DAV: (section 16)
	hrefs  []string // the paths that it names
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(status int, err error) error { return &failure{status: status, err: err} }

// statuses are the answers to the errors of the rooms below. The first that matches
// counts.
var statuses = []struct {
	err    error
	status int
}{
	{errPrecondition, http.StatusPreconditionFailed},
	{errNoFile, http.StatusConflict},
	{errTooManyLocks, http.StatusInsufficientStorage},
	{store.ErrFull, http.StatusInsufficientStorage},
	{drive.ErrTooMany, http.StatusInsufficientStorage},
	{tree.ErrTooLarge, http.StatusInsufficientStorage},
	{drive.ErrUnreachable, http.StatusServiceUnavailable},
	{drive.ErrBadPath, http.StatusBadRequest},
	{tree.ErrBadName, http.StatusBadRequest},
	{tree.ErrRoot, http.StatusForbidden},
	{tree.ErrCycle, http.StatusForbidden},
	{tree.ErrIsDir, http.StatusMethodNotAllowed},
	{tree.ErrExist, http.StatusMethodNotAllowed},
	{tree.ErrNotDir, http.StatusConflict},
	{store.ErrNotFound, http.StatusNotFound},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout},
	{io.ErrUnexpectedEOF, http.StatusBadRequest},
	{context.Canceled, http.StatusServiceUnavailable},
}

// failureOf gives an error the status that answers it.
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	var l *lockedError
	if errors.As(err, &l) {
		// Section 16: which locks are in the way.
		reason := "lock-token-submitted"
		if l.conflict {
			reason = "no-conflicting-lock"
		}
		return &failure{status: http.StatusLocked, reason: reason, hrefs: l.roots, err: err}
	}
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return &failure{status: s.status, err: err}
		}
	}
	return &failure{status: http.StatusInternalServerError, err: err}
}

// writeTo answers a request: in XML where a condition has a name, else in words.
func (f *failure) writeTo(w http.ResponseWriter) {
	if f.reason == "" {
		http.Error(w, webdav.StatusText(f.status), f.status)
		return
	}
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?>` + "\n" + `<D:error xmlns:D="DAV:"><D:` + f.reason + `>`)
	for _, p := range f.hrefs {
		b.WriteString("<D:href>" + escape(href(p)) + "</D:href>")
	}
	b.WriteString(`</D:` + f.reason + `></D:error>`)
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, b.String()) // nobody is left to tell
}

// href returns a path of the drive as a URL without host.
func href(p string) string { return (&url.URL{Path: p}).EscapedPath() }
