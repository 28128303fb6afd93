package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"mime"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/net/webdav"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// fileSystem is the drive as x/net/webdav reads it. What writes goes through front.
type fileSystem struct {
	d     *drive.Drive
	locks *locks
}

// slashed gives a path the leading slash that x/net/webdav sometimes drops.
func slashed(name string) string {
	if name == "" || name[0] != '/' {
		return "/" + name
	}
	return name
}

// osError turns the drive's errors into those that x/net/webdav looks for; it passes
// over a member of a directory whose error is a PathError.
func osError(name string, err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, tree.ErrNotDir) {
		return &fs.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
	}
	return err
}

// What a mode says that an entry is (inode(7)).
const (
	kindBits    = 0o170000
	kindRegular = 0o100000
	kindLink    = 0o120000
)

func isLink(e tree.Entry) bool { return !e.Dir && e.Version.Mode&kindBits == kindLink }

// isFile says that an entry holds bytes, unlike a pipe or a socket.
func isFile(e tree.Entry) bool {
	kind := e.Version.Mode & kindBits
	return !e.Dir && (kind == 0 || kind == kindRegular)
}

const (
	maxHops   = 40   // symbolic links followed for one path, as Linux does
	maxTarget = 4096 // bytes of where one leads
)

// follow returns the entry at p and its path, where symbolic links lead to. One that
// leads out of the drive, nowhere or in circles leads to nothing: store.ErrNotFound.
// What is not there has the path that it would be made at.
func (s fileSystem) follow(p string) (string, tree.Entry, error) { return s.resolve(p, true) }

// place is follow, but not of a link that p itself is.
func (s fileSystem) place(p string) (string, tree.Entry, error) { return s.resolve(p, false) }

func (s fileSystem) resolve(p string, last bool) (string, tree.Entry, error) {
	for range maxHops {
		e, err := s.d.Stat(p)
		switch {
		case err == nil && !(last && isLink(e)):
			if !isFile(e) && !e.Dir && !isLink(e) {
				return p, tree.Entry{}, store.ErrNotFound // a pipe, a socket, a device
			}
			return p, e, nil
		case err == nil:
			if p, err = s.target(e); err != nil {
				return p, tree.Entry{}, err
			}
		case errors.Is(err, tree.ErrNotDir):
			next, lerr := s.linkAbove(p)
			if lerr != nil {
				return p, tree.Entry{}, err // the error of Stat: there is no link
			}
			p = next
		default:
			return p, tree.Entry{}, err
		}
	}
	return p, tree.Entry{}, store.ErrNotFound
}

// linkAbove replaces the first directory in p that is a symbolic link.
func (s fileSystem) linkAbove(p string) (string, error) {
	for i := 1; i < len(p); i++ {
		if p[i] != '/' {
			continue
		}
		e, err := s.d.Stat(p[:i])
		if err != nil {
			return "", err
		}
		if isLink(e) {
			to, err := s.target(e)
			return path.Join(to, p[i:]), err
		}
	}
	return "", store.ErrNotFound
}

// target returns the path that a symbolic link leads to. One that begins with a slash
// means the host that it was made on, not the drive.
func (s fileSystem) target(e tree.Entry) (string, error) {
	if e.Version.Content.Size > maxTarget {
		return e.Path, store.ErrNotFound
	}
	f := s.d.OpenEntry(context.Background(), e)
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return e.Path, err
	}
	to := string(b)
	if to == "" || to[0] == '/' {
		return e.Path, store.ErrNotFound
	}
	parts := strings.Split(strings.TrimPrefix(path.Dir(e.Path), "/"), "/")
	if parts[0] == "" {
		parts = nil
	}
	for _, name := range strings.Split(to, "/") {
		switch {
		case name == "" || name == ".":
		case name != "..":
			parts = append(parts, name)
		case len(parts) == 0:
			return e.Path, store.ErrNotFound // out of the drive
		default:
			parts = parts[:len(parts)-1]
		}
	}
	p, err := drive.Clean("/" + strings.Join(parts, "/"))
	if err != nil {
		return e.Path, store.ErrNotFound
	}
	return p, nil
}

// Mkdir implements webdav.FileSystem; front makes directories.
func (s fileSystem) Mkdir(context.Context, string, os.FileMode) error { return fs.ErrPermission }

// RemoveAll implements webdav.FileSystem; front removes.
func (s fileSystem) RemoveAll(context.Context, string) error { return fs.ErrPermission }

// Rename implements webdav.FileSystem; front renames.
func (s fileSystem) Rename(context.Context, string, string) error { return fs.ErrPermission }

// Stat implements webdav.FileSystem.
func (s fileSystem) Stat(_ context.Context, name string) (os.FileInfo, error) {
	_, e, err := s.follow(slashed(name))
	if err != nil {
		return nil, osError(name, err)
	}
	return fileInfo{e: e, name: path.Base(name)}, nil
}

// OpenFile implements webdav.FileSystem, for reading: PROPPATCH asks to write, but
// writes properties alone.
func (s fileSystem) OpenFile(ctx context.Context, name string, flag int, _ os.FileMode) (webdav.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		return nil, fs.ErrPermission
	}
	p, e, err := s.follow(slashed(name))
	if err != nil {
		return nil, osError(name, err)
	}
	r := resource{ctx: ctx, files: s, path: p, info: fileInfo{e: e, name: path.Base(name)}}
	if e.Dir {
		return &directory{resource: r}, nil
	}
	return &readFile{resource: r}, nil
}

// fileInfo is an entry of the tree as a fs.FileInfo with an ETag.
type fileInfo struct {
	e    tree.Entry
	name string // that it was asked by
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.e.Version.Content.Size }
func (i fileInfo) ModTime() time.Time { return i.e.Version.ModTime }
func (i fileInfo) IsDir() bool        { return i.e.Dir }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() fs.FileMode {
	if i.e.Dir {
		return fs.ModeDir | fs.FileMode(i.e.Version.Mode)&fs.ModePerm
	}
	return fs.FileMode(i.e.Version.Mode) & fs.ModePerm
}

// tag is a strong validator: the address of the content (RFC 9110 section 8.8.3) as it
// was written, so that the same bytes under other keys are the same.
func (i fileInfo) tag() string {
	if i.e.Dir {
		return `"dir-` + i.e.ID.String() + `"`
	}
	return `"` + i.e.Version.Origin.String()[:32] + `"`
}

// ETag implements webdav.ETager.
func (i fileInfo) ETag(context.Context) (string, error) { return i.tag(), nil }

// ContentType implements webdav.ContentTyper by the name alone: to look into every
// file of a listing would bring the beginning of each from where it lies.
func (i fileInfo) ContentType(context.Context) (string, error) {
	if t := mime.TypeByExtension(path.Ext(i.name)); t != "" {
		return t, nil
	}
	return "application/octet-stream", nil
}
