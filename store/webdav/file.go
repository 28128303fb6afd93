package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// readFile is an open file of the drive. It hides WriteTo, which io.Copy would
// prefer to the ReadFrom of an upload: that is where a broken COPY shows.
type readFile struct{ f *drive.File }

func (f readFile) Close() error                                 { return f.f.Close() }
func (f readFile) Read(b []byte) (int, error)                   { return f.f.Read(b) }
func (f readFile) Seek(offset int64, whence int) (int64, error) { return f.f.Seek(offset, whence) }
func (f readFile) Readdir(int) ([]fs.FileInfo, error)           { return nil, fs.ErrInvalid }
func (f readFile) Stat() (fs.FileInfo, error)                   { return fileInfo{f.f.Entry()}, nil }
func (f readFile) Write([]byte) (int, error)                    { return 0, fs.ErrPermission }

// directory is an open directory.
type directory struct {
	d     *drive.Drive
	name  string
	entry tree.Entry
	after string
	end   bool
}

func (f *directory) Close() error                   { return nil }
func (f *directory) Read([]byte) (int, error)       { return 0, tree.ErrIsDir }
func (f *directory) Write([]byte) (int, error)      { return 0, tree.ErrIsDir }
func (f *directory) Seek(int64, int) (int64, error) { return 0, tree.ErrIsDir }
func (f *directory) Stat() (fs.FileInfo, error)     { return fileInfo{f.entry}, nil }
func (f *directory) Readdir(n int) ([]fs.FileInfo, error) {
	var out []fs.FileInfo
	if f.end {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	err := f.d.ListAfter(f.name, f.after, func(e tree.Entry) bool {
		if n > 0 && len(out) == n {
			return false
		}
		out, f.after = append(out, fileInfo{e}), e.Name()
		return true
	})
	f.end = n <= 0 || len(out) < n
	if err == nil && n > 0 && len(out) == 0 {
		err = io.EOF
	}
	return out, osError(err)
}

// upload is a file being written from its beginning. Its bytes go into the drive
// through a pipe, so that they are cut and sealed while they arrive.
type upload struct {
	d      *drive.Drive
	name   string
	pipe   *io.PipeWriter
	done   chan struct{}
	size   int64
	entry  tree.Entry // set when done is closed
	err    error      // set when done is closed
	broken error      // why what was written is not the whole file
}

// errBroken reports an upload whose body ended before its end.
var errBroken = errors.New("webdav: the upload broke off")

func newUpload(ctx context.Context, d *drive.Drive, name string, flag int) (*upload, error) {
	e, err := d.Stat(name)
	switch {
	case err == nil && e.Dir:
		return nil, tree.ErrIsDir
	case err == nil && flag&os.O_EXCL != 0:
		return nil, os.ErrExist
	case err != nil && flag&os.O_CREATE == 0:
		return nil, osError(err)
	}
	if parent, err := d.Stat(path.Dir(path.Clean(name))); err != nil {
		return nil, osError(err)
	} else if !parent.Dir {
		return nil, tree.ErrNotDir
	}
	pr, pw := io.Pipe()
	u := &upload{d: d, name: name, pipe: pw, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.entry, u.err = d.Put(ctx, name, pr, drive.Attributes{})
		pr.CloseWithError(errors.Join(u.err, fs.ErrClosed))
	}()
	return u, nil
}

func (u *upload) Write(b []byte) (int, error) {
	n, err := u.pipe.Write(b)
	u.size += int64(n)
	return n, err
}

// ReadFrom takes the file's bytes from r. It is how x/net/webdav fills a file in
// PUT and COPY, and how an upload learns that its source broke off: the package
// closes the file after a broken copy as after a whole one.
func (u *upload) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.CopyBuffer(struct{ io.Writer }{u}, r, make([]byte, 256<<10))
	u.broken = err
	return n, err
}

// Close waits until the file is on the disk. It gives up an upload that is not
// whole.
func (u *upload) Close() error {
	if u.broken != nil {
		u.pipe.CloseWithError(fmt.Errorf("%w: %w", errBroken, u.broken))
	} else {
		u.pipe.Close()
	}
	<-u.done
	return osError(u.err)
}

func (u *upload) Read([]byte) (int, error)           { return 0, fs.ErrPermission }
func (u *upload) Seek(int64, int) (int64, error)     { return 0, errors.ErrUnsupported }
func (u *upload) Readdir(int) ([]fs.FileInfo, error) { return nil, fs.ErrInvalid }
func (u *upload) Stat() (fs.FileInfo, error)         { return uploadInfo{u}, nil }

// uploadInfo describes an upload: x/net/webdav asks before Close and reads the
// ETag after it.
type uploadInfo struct{ u *upload }

func (i uploadInfo) entry() tree.Entry {
	select {
	case <-i.u.done:
		return i.u.entry
	default:
		e := tree.Entry{Path: i.u.name}
		e.Version.Content.Size = i.u.size
		return e
	}
}

func (i uploadInfo) Name() string      { return path.Base(i.u.name) }
func (i uploadInfo) Size() int64       { return i.u.size }
func (i uploadInfo) Mode() fs.FileMode { return 0o644 }
func (i uploadInfo) IsDir() bool       { return false }
func (i uploadInfo) Sys() any          { return nil }

// ModTime is the time of the stored version; zero while the upload runs.
func (i uploadInfo) ModTime() time.Time { return i.entry().Version.ModTime }

// ETag is that of the stored content.
func (i uploadInfo) ETag(ctx context.Context) (string, error) { return fileInfo{i.entry()}.ETag(ctx) }
