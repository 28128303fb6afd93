package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/mount"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// The control interface is HTTP on a Unix socket in the machine's directory, for
// the commands of the same user:
//
//	GET  /v1/status                         Status
//	GET  /v1/list?path=P[&recursive=true][&at=T]  a Listing a line
//	GET  /v1/tar?path=P[&at=T]              P and what is below it, as a tar stream
//	PUT  /v1/tar?path=P                     a tar stream to be stored below P; a Stored a line
//	GET  /v1/file?path=P[&at=T]             the bytes of the file P
//	POST /v1/mkdir?path=P[&parents=true]
//	POST /v1/remove?path=P[&recursive=true]
//	POST /v1/rename?from=P&to=Q
//	POST /v1/flush?path=P[&progress=true]   answered when P has all its copies; a Progress a line
//	GET  /v1/where?path=P                   a Where: who keeps the file P
//	GET  /v1/why?path=P                     a Why: the order of machines for P
//	GET  /v1/plan[?add=BYTES][&remove=NAME][&rate=BYTES]  a Plan; nothing changes
//	GET  /v1/replicas?path=P                Replicas
//	POST /v1/replicas?path=P&copies=N       sets them below P, 0 takes them back; Replicas
//	POST /v1/warm?path=P                    P is brought into the cache; a Progress a line
//	POST /v1/pin?path=P, /v1/unpin?path=P
//	GET  /v1/pins                           a Pin a line
//	GET  /v1/stat?path=P                    a FileStatus
//	GET  /v1/history?path=P                 a Version a line, newest first
//	POST /v1/restore?path=P[&at=T]          as at T, else before the last change; a Restored
//	POST /v1/gc[?keep=SECONDS]              an answer [Collection]
//	POST /v1/copy?from=P&to=Q
//	POST /v1/verify?path=P                  a Checked a line: every file at and below P is read
//	POST /v1/scrub[?rate=BYTES][&resume=true]  a Checked a line: all chunks on the disk are
//	GET  /v1/activity                       drive.Activity
//	GET  /v1/log[?follow=true]              a Happening a line
//	GET  /v1/conflicts?path=P               a Conflict a line
//	POST /v1/conflicts/keep?path=P          the conflict copy P takes the place of the file; a Conflict
//	POST /v1/conflicts/drop?path=P          the conflict copy P goes; a Conflict
//	GET  /v1/rekey                          a Rekey: what is left under older keys
//	POST /v1/rekey[?rate=BYTES][&new=true]  orders it, with new after a new generation; a Rekey
//	POST /v1/mount?dir=D[&allow_other=true]
//	POST /v1/unmount?dir=D
//	GET  /v1/members                        a list of MemberStatus
//	POST /v1/invite                         an InviteEvent a line, until the invitation is over
//	POST /v1/join                           a joinOrder; answered with Joined, and the node ends
//	POST /v1/leave[?now=true]               a LeaveProgress a line; then the node ends
//	POST /v1/forget?machine=M               M is a name, an ID or what one ID begins with
//	POST /v1/revoke?machine=M
//
// T is an instant in the past (RFC 3339): P as it was then.
//
// Errors are a status and a [problem] in JSON. Streams that fail after their
// first byte end with a line, or a trailer [trailerProblem], that says why; a reader that sees neither
// the end nor an error treats the stream as cut.

// Listing is one line of a listing.
type Listing struct {
	// Path is the absolute path in the drive.
	Path string `json:"path"`
	// Kind is "file" or "dir".
	Kind string `json:"kind"`
	// Size is in bytes; 0 for directories.
	Size int64 `json:"size"`
	// Modified is the modification time that the writer gave.
	Modified time.Time `json:"modified"`
	// Copies is how many of the machines that shall keep the file are known to.
	Copies int `json:"copies"`
	// Conflict marks the loser of two edits that had not seen each other.
	Conflict bool `json:"conflict"`
}

// Stored is one line of the answer to a tar stream: a file or directory that is
// on the disk, or why one is not. The last line of a complete answer has End set.
type Stored struct {
	Path  string `json:"path,omitempty"`
	Kind  string `json:"kind,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Error string `json:"error,omitempty"`
	Code  string `json:"code,omitempty"`
	End   bool   `json:"end,omitempty"`
}

// problem is an error on its way through the control interface.
type problem struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// codes pairs the errors that callers tell apart with their names on the wire
// and their HTTP status.
var codes = []struct {
	err    error
	code   string
	status int
}{
	{store.ErrNotFound, "not_found", http.StatusNotFound},
	{tree.ErrNotDir, "not_directory", http.StatusConflict},
	{tree.ErrIsDir, "is_directory", http.StatusConflict},
	{tree.ErrExist, "exists", http.StatusConflict},
	{tree.ErrNotEmpty, "not_empty", http.StatusConflict},
	{tree.ErrNoConflict, "no_conflict", http.StatusConflict},
	{drive.ErrBadPath, "bad_path", http.StatusBadRequest},
	{segment.ErrFull, "full", http.StatusInsufficientStorage},
	{store.ErrFull, "full", http.StatusInsufficientStorage},
	{drive.ErrUnreachable, "unreachable", http.StatusServiceUnavailable},
	{fs.ErrPermission, "permission", http.StatusForbidden},
	{mount.ErrUnsupported, "unsupported", http.StatusNotImplemented},
	{ErrNotPinned, "not_pinned", http.StatusNotFound},
	{mount.ErrBusy, "busy", http.StatusConflict},
	{ErrNoMember, "no_member", http.StatusNotFound},
	{ErrAmbiguous, "ambiguous", http.StatusConflict},
	{ErrSelf, "self", http.StatusConflict},
	{ErrNotServing, "not_serving", http.StatusConflict},
	{ErrInviting, "inviting", http.StatusConflict},
	{ErrExpired, "expired", http.StatusGone},
	{ErrWrongTries, "wrong_tries", http.StatusGone},
	{ErrLast, "last", http.StatusConflict},
	{ErrCode, "code", http.StatusForbidden},
	{ErrNobodyInvites, "nobody_invites", http.StatusNotFound},
	{pool.ErrExists, "in_pool", http.StatusConflict},
}

func problemOf(err error) (problem, int) {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return problem{err.Error(), c.code}, c.status
		}
	}
	return problem{err.Error(), "failed"}, http.StatusInternalServerError
}

// remoteError is a problem that came back, as the error it was.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func (p problem) err() error {
	for _, c := range codes {
		if c.code == p.Code {
			return &remoteError{p.Error, c.err}
		}
	}
	return &remoteError{p.Error, nil}
}

// controlHandler serves the control interface of m.
func controlHandler(m *Machine) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				p, status := problemOf(err)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_ = json.NewEncoder(w).Encode(p)
			}
		})
	}
	handle("GET /v1/status", func(w http.ResponseWriter, r *http.Request) error {
		s, err := m.Status(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(s)
	})
	handle("GET /v1/list", func(w http.ResponseWriter, r *http.Request) error { return serveList(m, w, r) })
	handle("GET /v1/tar", func(w http.ResponseWriter, r *http.Request) error { return serveTar(m, w, r) })
	handle("PUT /v1/tar", func(w http.ResponseWriter, r *http.Request) error { return storeTar(m, w, r) })
	handle("GET /v1/file", func(w http.ResponseWriter, r *http.Request) error { return serveFile(m, w, r) })
	handle("POST /v1/mkdir", func(_ http.ResponseWriter, r *http.Request) error {
		if flag(r, "parents") {
			return m.drive.MkdirAll(r.Context(), r.FormValue("path"))
		}
		return m.drive.Mkdir(r.Context(), r.FormValue("path"))
	})
	handle("POST /v1/remove", func(_ http.ResponseWriter, r *http.Request) error {
		return m.drive.Remove(r.Context(), r.FormValue("path"), flag(r, "recursive"))
	})
	handle("POST /v1/flush", func(w http.ResponseWriter, r *http.Request) error {
		if flag(r, "progress") {
			return serveProgress(w, func(tell func(Progress)) error { return m.FlushTelling(r.Context(), r.FormValue("path"), tell) })
		}
		return m.Flush(r.Context(), r.FormValue("path"))
	})
	handle("GET /v1/where", func(w http.ResponseWriter, r *http.Request) error { return serveWhere(m, w, r) })
	handle("GET /v1/why", func(w http.ResponseWriter, r *http.Request) error { return serveWhy(m, w, r) })
	handle("GET /v1/plan", func(w http.ResponseWriter, r *http.Request) error { return servePlan(m, w, r) })
	handle("GET /v1/replicas", func(w http.ResponseWriter, r *http.Request) error { return serveReplicas(m, w, r) })
	handle("POST /v1/replicas", func(w http.ResponseWriter, r *http.Request) error { return serveReplicas(m, w, r) })
	handle("POST /v1/warm", func(w http.ResponseWriter, r *http.Request) error {
		return serveProgress(w, func(tell func(Progress)) error { return m.Warm(r.Context(), r.FormValue("path"), tell) })
	})
	handle("POST /v1/pin", func(_ http.ResponseWriter, r *http.Request) error { return m.Pin(r.Context(), r.FormValue("path")) })
	handle("POST /v1/unpin", func(_ http.ResponseWriter, r *http.Request) error {
		return m.Unpin(r.Context(), r.FormValue("path"))
	})
	handle("GET /v1/pins", func(w http.ResponseWriter, r *http.Request) error { return servePins(m, w, r) })
	handle("GET /v1/stat", func(w http.ResponseWriter, r *http.Request) error { return serveStat(m, w, r) })
	handle("GET /v1/history", func(w http.ResponseWriter, r *http.Request) error { return serveHistory(m, w, r) })
	handle("POST /v1/restore", func(w http.ResponseWriter, r *http.Request) error { return restore(m, w, r) })
	handle("POST /v1/copy", func(_ http.ResponseWriter, r *http.Request) error {
		return m.drive.Copy(r.Context(), r.FormValue("from"), r.FormValue("to"))
	})
	handle("POST /v1/verify", func(w http.ResponseWriter, r *http.Request) error { return serveVerify(m, w, r) })
	handle("POST /v1/scrub", func(w http.ResponseWriter, r *http.Request) error { return serveScrub(m, w, r) })
	handle("GET /v1/activity", func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(m.drive.Activity())
	})
	handle("GET /v1/log", func(w http.ResponseWriter, r *http.Request) error { return serveLog(m, w, r) })
	handle("GET /v1/conflicts", func(w http.ResponseWriter, r *http.Request) error { return serveConflicts(m, w, r) })
	handle("POST /v1/conflicts/keep", func(w http.ResponseWriter, r *http.Request) error {
		return settleConflict(m, w, r, m.drive.KeepConflict)
	})
	handle("POST /v1/conflicts/drop", func(w http.ResponseWriter, r *http.Request) error {
		return settleConflict(m, w, r, m.drive.DropConflict)
	})
	handle("POST /v1/gc", func(w http.ResponseWriter, r *http.Request) error { return collect(m, w, r) })
	handle("GET /v1/rekey", func(w http.ResponseWriter, r *http.Request) error { return serveRekey(m, w, r) })
	handle("POST /v1/rekey", func(w http.ResponseWriter, r *http.Request) error { return orderRekey(m, w, r) })
	handle("POST /v1/mount", func(_ http.ResponseWriter, r *http.Request) error {
		return m.Mount(r.FormValue("dir"), flag(r, "allow_other"))
	})
	handle("POST /v1/unmount", func(_ http.ResponseWriter, r *http.Request) error {
		return m.Unmount(r.FormValue("dir"))
	})
	handle("POST /v1/rename", func(_ http.ResponseWriter, r *http.Request) error {
		return m.drive.Rename(r.Context(), r.FormValue("from"), r.FormValue("to"))
	})
	handleMembership(m, handle)
	return mux
}

// instant reads the parameter at; it is zero where there is none.
func instant(r *http.Request) (time.Time, error) {
	s := r.FormValue("at")
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("node: %w: at %q", errBadRequest, s)
	}
	return t, nil
}

// requested returns the path of a request, what it leads to, and the time that the
// request asks for.
func (m *Machine) requested(r *http.Request) (p string, e tree.Entry, at time.Time, err error) {
	if p, err = drive.Clean(r.FormValue("path")); err != nil {
		return p, e, at, err
	}
	if at, err = instant(r); err != nil {
		return p, e, at, err
	}
	e, err = m.drive.StatAt(p, at)
	return p, e, at, err
}

func flag(r *http.Request, name string) bool {
	v, err := strconv.ParseBool(r.FormValue(name))
	return err == nil && v
}

// serveList writes a Listing a line. A path that names a file lists that file.
func serveList(m *Machine, w http.ResponseWriter, r *http.Request) error {
	p, top, at, err := m.requested(r)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	if !top.Dir {
		return enc.Encode(m.listing(p, top))
	}
	return endStream(w, m.walk(r.Context(), p, at, flag(r, "recursive"), func(name string, e tree.Entry) error {
		return enc.Encode(m.listing(name, e))
	}))
}

// walk calls f for what lies in the directory dir, in name order, and with deep
// for all that lies below; a directory comes before what is in it. at is an instant in
// the past, or zero for now.
func (m *Machine) walk(ctx context.Context, dir string, at time.Time, deep bool, f func(name string, e tree.Entry) error) error {
	err, inner := m.walkBelow(ctx, dir, at, deep, f)
	return errors.Join(err, inner)
}

// walkBelow tells apart that dir cannot be listed and what went wrong below it. A
// directory that goes while its parent is listed is no fault of the listing.
func (m *Machine) walkBelow(ctx context.Context, dir string, at time.Time, deep bool, f func(name string, e tree.Entry) error) (err, inner error) {
	err = m.drive.ListAt(dir, at, func(e tree.Entry) bool {
		if inner = ctx.Err(); inner != nil {
			return false
		}
		name := e.Path
		if inner = f(name, e); inner == nil && deep && e.Dir {
			var gone error
			if gone, inner = m.walkBelow(ctx, name, at, deep, f); !errors.Is(gone, store.ErrNotFound) && !errors.Is(gone, tree.ErrNotDir) {
				inner = errors.Join(gone, inner)
			}
		}
		return inner == nil
	})
	return err, inner
}

func (m *Machine) listing(name string, e tree.Entry) Listing {
	l := Listing{Path: name, Kind: "dir", Modified: e.Version.ModTime, Conflict: e.Conflict}
	if !e.Dir {
		l.Kind, l.Size, l.Copies = "file", e.Version.Content.Size, m.copies(e)
	}
	return l
}

// serveFile writes the bytes of one file, or the range that the request asks for.
func serveFile(m *Machine, w http.ResponseWriter, r *http.Request) error {
	_, e, _, err := m.requested(r)
	if err != nil {
		return err
	}
	if e.Dir {
		return fmt.Errorf("node: %s: %w", e.Path, tree.ErrIsDir)
	}
	f := m.drive.OpenEntry(r.Context(), e)
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.Header.Get("Range") == "" {
		n, err := io.Copy(w, f)
		if n == 0 {
			return err
		}
		return endStream(w, err)
	}
	http.ServeContent(w, r, "", e.Version.ModTime, f)
	if f.Err() != nil {
		panic(http.ErrAbortHandler) // the reader sees that it is less than was announced
	}
	return nil
}

// readProblem turns an answer that is not a success into an error.
func readProblem(resp *http.Response) error {
	var p problem
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 64<<10)).Decode(&p); err != nil || p.Error == "" {
		return fmt.Errorf("node: the machine answered %s", resp.Status)
	}
	return p.err()
}
