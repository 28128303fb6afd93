package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// FileStatus is what a machine knows of one file or directory.
type FileStatus struct {
	Listing
	// ID names the file for its whole life.
	ID string `json:"id"`
	// Mode is the permission bits, and above them what kind of file it is (inode(7)).
	Mode uint32 `json:"mode"`
	// Content is the address of its bytes; empty for a directory or an empty file.
	Content string `json:"content,omitempty"`
	// Author is the machine that wrote this version.
	Author string `json:"author,omitempty"`
	// Holders are the machines that shall keep it.
	Holders []string `json:"holders,omitempty"`
	// Attributes are the names of its extended attributes.
	Attributes []string `json:"attributes,omitempty"`
}

// Version is what a path led to for a while.
type Version struct {
	// Path is the path, Kind "file" or "dir", Size in bytes.
	Path string `json:"path"`
	Kind string `json:"kind"`
	Size int64  `json:"size"`
	// From and To say when it was there; To is missing for what is there now.
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
	// Why is how it ended: replaced, removed or moved.
	Why string `json:"why,omitempty"`
	// Author is the machine that wrote it, By the one that ended it.
	Author string `json:"author,omitempty"`
	By     string `json:"by,omitempty"`
	// Modified is the modification time that the writer gave.
	Modified time.Time `json:"modified"`
}

// Restored says where something is back.
type Restored struct {
	Path string `json:"path"`
}

// Collection is what a collection of garbage did.
type Collection struct {
	// Forgotten counts old versions that were given up.
	Forgotten int `json:"forgotten"`
	// Kept and Removed count chunks, Bytes those of the removed ones on the disk.
	Kept    int64 `json:"kept"`
	Removed int64 `json:"removed"`
	Bytes   int64 `json:"bytes"`
	// Freed is the bytes of segment files that were given back to the disk.
	Freed int64 `json:"freed"`
}

func serveStat(m *Machine, w http.ResponseWriter, r *http.Request) error {
	p, e, at, err := m.requested(r)
	if err != nil {
		return err
	}
	if e.Dir && at.IsZero() { // its time goes with its entries
		if n, err := m.drive.Node(e.ID); err == nil {
			e.Version.ModTime = n.Version.ModTime
		}
	}
	s := FileStatus{Listing: m.listing(p, e), ID: e.ID.String(), Mode: e.Version.Mode}
	if !e.Dir {
		s.Author = m.authorOf(e.Version.Dot)
		if e.Version.Content.Size > 0 {
			s.Content = e.Version.Content.Root.String()
		}
		for _, h := range e.Version.Holders {
			s.Holders = append(s.Holders, m.NameOf(h))
		}
	}
	if s.Attributes, err = m.drive.NodeXattrs(e.ID); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(s)
}

// authorOf returns the name of the machine that made a change.
func (m *Machine) authorOf(d store.Dot) string {
	if d.Machine.IsZero() {
		return ""
	}
	return m.NameOf(d.Machine)
}

func serveHistory(m *Machine, w http.ResponseWriter, r *http.Request) error {
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	var inner error
	err := m.drive.History(r.FormValue("path"), func(p tree.Past) bool {
		v := Version{
			Path: p.Path, Kind: "file", Size: p.Version.Content.Size, From: p.From, To: p.To,
			Modified: p.Version.ModTime, Author: m.authorOf(p.Version.Dot),
		}
		if p.Dir {
			v.Kind = "dir"
		}
		if !p.To.IsZero() {
			v.Why, v.By = p.Why.String(), m.authorOf(p.By)
		}
		inner = enc.Encode(v)
		return inner == nil && r.Context().Err() == nil
	})
	if err != nil {
		return err
	}
	return inner
}

func restore(m *Machine, w http.ResponseWriter, r *http.Request) error {
	at, err := instant(r)
	if err != nil {
		return err
	}
	p := r.FormValue("path")
	if err := m.restorable(r.Context(), p, at); err != nil {
		return err
	}
	got, err := m.drive.Restore(r.Context(), p, at)
	if err != nil {
		return err
	}
	if err := m.bodiesBelow(r.Context(), got); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(Restored{Path: got})
}

// restorable fails with drive.ErrUnreachable, and says so, where the version of a file
// that is to be brought back is remembered and its bytes are not: it would take the place
// of one that can be read. With the zero time it is the version before the last change.
func (m *Machine) restorable(ctx context.Context, p string, at time.Time) error {
	e, err := m.drive.StatAt(p, at)
	if at.IsZero() {
		e = tree.Entry{Dir: true} // nothing to look at
		err = m.drive.History(p, func(v tree.Past) bool {
			past := !v.To.IsZero()
			if past {
				e = tree.Entry{Path: v.Path, Dir: v.Dir, Version: v.Version}
			}
			return !past
		})
	}
	found := err == nil // else there is nothing to bring back, which others say better
	if !found || e.Dir || m.readable(ctx, e.Version) {
		return nil
	}
	return fmt.Errorf("node: restore %s: the version is remembered, but its %d bytes are gone: %w%s", p, e.Version.Content.Size, drive.ErrUnreachable, m.whoIsAway(ctx))
}

// readable reports whether some machine that can be reached has a version's first chunk.
// What is forgotten is forgotten as a whole.
func (m *Machine) readable(ctx context.Context, v tree.Version) bool {
	if v.Content.Size == 0 {
		return true
	}
	_, err := m.drive.Body(ctx, v.Content.Root, v.Holders)
	return !errors.Is(err, drive.ErrUnreachable)
}

// whoIsAway names machines that may have what those that can be reached have not.
func (m *Machine) whoIsAway(ctx context.Context) string {
	s, err := m.Status(ctx)
	if err != nil {
		return ""
	}
	var away []string
	for _, x := range s.Machines {
		if !x.Self && !x.Connected {
			away = append(away, x.called())
		}
	}
	if len(away) == 0 {
		return ""
	}
	return "; it may be on " + nameList(away) + ", which cannot be reached"
}

// maxRestoredLooked bounds the files of a directory that are looked at once it is back.
const maxRestoredLooked = 256

// bodiesBelow fails where files of a directory that was brought back have no bytes.
func (m *Machine) bodiesBelow(ctx context.Context, dir string) error {
	var files []tree.Entry
	if e, err := m.drive.Stat(dir); err != nil || !e.Dir {
		return err // a file was looked at before
	}
	err := m.tree.Walk(m.kv, dir, func(e tree.Entry) bool {
		if !e.Dir {
			files = append(files, e)
		}
		return len(files) < maxRestoredLooked
	})
	if err != nil {
		return err
	}
	var gone []string
	for _, e := range files {
		if !m.readable(ctx, e.Version) {
			gone = append(gone, e.Path)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return fmt.Errorf("node: restored as %s, but the bytes of %d of its first %d files are gone (%s): %w", dir, len(gone), len(files), nameList(gone), drive.ErrUnreachable)
}

func collect(m *Machine, w http.ResponseWriter, r *http.Request) error {
	keep := m.retention()
	if s := r.FormValue("keep"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("node: %w: keep %q", errBadRequest, s)
		}
		keep = time.Duration(n) * time.Second
	}
	c, err := m.Collect(r.Context(), keep)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(c)
}
