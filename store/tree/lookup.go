package tree

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/aether-lan/aether/store"
)

// Entry is what a path of the drive leads to.
type Entry struct {
	// Path is the whole path, beginning with a slash.
	Path string
	// ID names the node. A conflict copy that is a losing version has the ID of
	// the file that it is a version of; Version.Dot tells them apart.
	ID store.FileID
	// Dir says that it is a directory.
	Dir bool
	// Version is what it holds.
	Version Version
	// Conflict says that the name exists only because of a conflict.
	Conflict bool
}

// Name returns the last part of the path; "/" for the root.
func (e Entry) Name() string { return path.Base(e.Path) }

func (r *row) entry(dir, name string) Entry {
	return Entry{
		Path: path.Join("/", dir, name), ID: r.ID, Dir: r.Kind == rowDir,
		Conflict: r.Kind == rowPlaced || r.Kind == rowLoser,
		Version:  r.version(),
	}
}

func (r *row) version() Version {
	v := Version{Content: storedAs(r.Content, r.Sealed), Mode: r.Mode, UID: r.UID, GID: r.GID, ModTime: fromUnixNano(r.ModTime),
		Holders: r.Holders, Dot: r.At.dot(), Origin: r.Content.Root}
	if v.Placed = v.Dot; r.Placed.Seq != 0 {
		v.Placed = store.Dot{Machine: r.Placed.Machine, Seq: r.Placed.Seq}
	}
	return v
}

// Errors of paths. What is not there is store.ErrNotFound.
var (
	ErrExist    = errors.New("exists")
	ErrNotDir   = errors.New("not a directory")
	ErrIsDir    = errors.New("is a directory")
	ErrNotEmpty = errors.New("directory not empty")
	ErrCycle    = errors.New("directory moved into itself")
	ErrRoot     = errors.New("not possible with the root directory")
)

// Lookup returns what path leads to, by one read per part. Conflict copies are
// found by the names that they are shown under. It fails with store.ErrNotFound,
// ErrNotDir or ErrBadName.
func (t *Tree) Lookup(r store.Reader, path string) (Entry, error) {
	names, err := split(path)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup: %w", err)
	}
	found, _, err := resolve(r, names)
	if err != nil {
		return Entry{}, fmt.Errorf("tree: lookup %s: %w", path, err)
	}
	if found.ID == Root && found.Kind == rowDir {
		a, err := rootAttr(r)
		if err != nil {
			return Entry{}, fmt.Errorf("tree: lookup: %w", err)
		}
		found.Mode, found.UID, found.GID, found.ModTime = a.Mode, a.UID, a.GID, a.ModTime
	}
	return found.entry("", strings.Join(names, "/")), nil
}

// resolve returns the row that names lead to and the directory that it lies in.
func resolve(r store.Reader, names []string) (found row, home store.FileID, err error) {
	found = row{ID: Root, Kind: rowDir}
	for _, name := range names {
		if found.Kind != rowDir {
			return row{}, home, ErrNotDir
		}
		home = found.ID
		if found, err = firstRow(r, home, name); err != nil {
			return row{}, home, err
		}
	}
	return found, home, nil
}

// page is how many rows List reads before it hands them on.
const page = 256

// List calls f with what the directory path holds, in the order of names as
// bytes, beginning after the name after (from the start where it is empty), until
// f returns false. f may use the tree.
func (t *Tree) List(r store.Reader, path string, after string, f func(Entry) bool) error {
	names, err := split(path)
	if err != nil {
		return fmt.Errorf("tree: list: %w", err)
	}
	dir, _, err := resolve(r, names)
	if err == nil && dir.Kind != rowDir {
		err = ErrNotDir
	}
	if err == nil {
		err = list(r, dir.ID, "/"+strings.Join(names, "/"), after, f)
	}
	if err != nil {
		return fmt.Errorf("tree: list %s: %w", path, err)
	}
	return nil
}

func list(r store.Reader, home store.FileID, dir, last string, f func(Entry) bool) error {
	stop := end(key(keyRow, home[:]))
	for {
		from := key(keyRow, home[:], []byte(last))
		if last != "" {
			from = append(from, 1) // after every row of last: names hold no NUL
		}
		var entries []Entry
		var bad error
		err := r.Scan(from, stop, func(k, v []byte) bool {
			name, _ := rowParts(k)
			if name == last {
				return true
			}
			var found row
			if bad = decode(v, &found); bad != nil {
				return false
			}
			last = name
			entries = append(entries, found.entry(dir, name))
			return len(entries) < page
		})
		if err = errors.Join(err, bad); err != nil {
			return err
		}
		for _, e := range entries {
			if !f(e) {
				return nil
			}
		}
		if len(entries) < page {
			return nil
		}
	}
}

// Walk calls f with everything below the directory path, a directory before what
// it holds, names in order, until f returns false.
func (t *Tree) Walk(r store.Reader, path string, f func(Entry) bool) error {
	names, err := split(path)
	if err != nil {
		return fmt.Errorf("tree: walk: %w", err)
	}
	dir, _, err := resolve(r, names)
	if err == nil && dir.Kind != rowDir {
		err = ErrNotDir
	}
	if err == nil {
		_, err = walk(r, dir.ID, "/"+strings.Join(names, "/"), f)
	}
	if err != nil {
		return fmt.Errorf("tree: walk %s: %w", path, err)
	}
	return nil
}

func walk(r store.Reader, home store.FileID, dir string, f func(Entry) bool) (more bool, err error) {
	more = true
	listed := list(r, home, dir, "", func(e Entry) bool {
		if more = f(e); more && e.Dir {
			more, err = walk(r, e.ID, e.Path, f)
		}
		return more && err == nil
	})
	return more, errors.Join(err, listed)
}
