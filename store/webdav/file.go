package webdav

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// resource is an open file or directory, and holds its properties (props.go).
type resource struct {
	ctx   context.Context
	files fileSystem
	path  string // symbolic links followed
	info  fileInfo
}

// Stat implements fs.File.
func (r *resource) Stat() (fs.FileInfo, error) { return r.info, nil }

// Write implements io.Writer.
func (r *resource) Write([]byte) (int, error) { return 0, fs.ErrPermission }

// readFile is an open file of the drive. It reads nothing before it is asked to:
// listings open every file.
type readFile struct {
	resource
	f *drive.File
}

func (f *readFile) open() *drive.File {
	if f.f == nil {
		f.f = f.files.d.OpenEntry(f.ctx, f.info.e)
	}
	return f.f
}

func (f *readFile) Read(b []byte) (int, error) { return f.open().Read(b) }
func (f *readFile) Seek(offset int64, whence int) (int64, error) {
	return f.open().Seek(offset, whence)
}
func (f *readFile) Readdir(int) ([]fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (f *readFile) Close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}

// maxMembers bounds the directory that can be listed: an answer lies in memory as a
// whole.
const maxMembers = 1 << 20

var errTooLong = errors.New("webdav: the directory is too large to list")

// directory is an open directory.
type directory struct {
	resource
	after string
	end   bool
}

func (f *directory) Close() error                   { return nil }
func (f *directory) Read([]byte) (int, error)       { return 0, tree.ErrIsDir }
func (f *directory) Seek(int64, int) (int64, error) { return 0, tree.ErrIsDir }

// Readdir leaves out what WebDAV cannot show: pipes, sockets, and symbolic links that
// lead nowhere.
func (f *directory) Readdir(n int) ([]fs.FileInfo, error) {
	var out []fs.FileInfo
	if f.end {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	err := f.files.d.ListAfter(f.path, f.after, func(e tree.Entry) bool {
		if n > 0 && len(out) == n || len(out) > maxMembers {
			return false
		}
		name := path.Base(e.Path)
		f.after = name
		if isLink(e) {
			var err error
			if _, e, err = f.files.follow(e.Path); err != nil {
				return true
			}
		}
		if e.Dir || isFile(e) {
			out = append(out, fileInfo{e: e, name: name})
		}
		return true
	})
	f.end = n <= 0 || len(out) < n
	switch {
	case err != nil:
	case len(out) > maxMembers:
		err = errTooLong
	case n > 0 && len(out) == 0:
		err = io.EOF
	}
	return out, osError(f.path, err)
}
