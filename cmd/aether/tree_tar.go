package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/aether-lan/aether/store/node"
)

// packed counts what went into a tar stream.
type packed struct {
	files, bytes int64
	skipped      []string // neither files nor directories, with why

	mu    sync.Mutex
	named map[string]string // local files that were named, by their name in the stream; nil: none shall be
}

// name notes that the local file is named in the stream and not sent.
func (n *packed) name(as, local string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.named[as] = local
}

// local returns the file that was named in the stream as as.
func (n *packed) local(as string) (local string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	local, ok = n.named[as]
	return local, ok
}

// packTree writes the file or directory local into tw under the name as.
// Directories come before what is in them. What is neither a file nor a directory
// is left out and counted.
func packTree(tw *tar.Writer, local, as string, n *packed, progress func(bytes int64)) error {
	local, err := filepath.EvalSymlinks(local)
	if err != nil {
		return err
	}
	return filepath.WalkDir(local, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			n.skipped = append(n.skipped, err.Error())
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(local, p)
		if err != nil {
			return err
		}
		name := path.Join(as, filepath.ToSlash(rel))
		info, err := os.Stat(p) // the file that a symbolic link names
		if err != nil {
			if d.Type()&fs.ModeSymlink != 0 {
				n.skipped = append(n.skipped, p+": broken symbolic link")
				return nil
			}
			return err
		}
		switch {
		case d.IsDir():
			if name == "." {
				return nil
			}
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX})
		case info.IsDir():
			n.skipped = append(n.skipped, p+": symbolic link to a directory")
			return nil
		case !info.Mode().IsRegular():
			n.skipped = append(n.skipped, p+": not a file or directory")
			return nil
		}
		return packFile(tw, p, name, n, progress)
	})
}

func packFile(tw *tar.Writer, local, name string, n *packed, progress func(int64)) error {
	f, err := os.Open(local)
	if err != nil {
		n.skipped = append(n.skipped, err.Error())
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm()), ModTime: info.ModTime(), Format: tar.FormatPAX}
	if n.named != nil && node.NameLocal(h, local, info) {
		n.name(name, local)
		n.files++
		n.bytes += info.Size()
		return tw.WriteHeader(h)
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	copied, err := io.CopyBuffer(struct{ io.Writer }{&counting{tw, progress}}, io.LimitReader(f, info.Size()), make([]byte, 256<<10))
	if err != nil {
		return err
	}
	if copied < info.Size() {
		return fmt.Errorf("%s became shorter while it was read", local)
	}
	n.files++
	n.bytes += copied
	return nil
}

// counting tells how much went through a writer.
type counting struct {
	w    io.Writer
	told func(int64)
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.told != nil {
		c.told(int64(n))
	}
	return n, err
}

// unpackTree writes what tr holds below the directory dir, which exists. The
// first element of every name becomes top. Nothing is written outside dir
// whatever the names say, and a file appears under its name only when it is whole.
func unpackTree(tr *tar.Reader, dir, top string, got func(name string, size int64)) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var dirs []*tar.Header // their times are set last: writing into them changes those
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(strings.TrimSuffix(h.Name, "/"), "/")
		name := filepath.FromSlash(path.Join(top, rest))
		switch h.Typeflag {
		case tar.TypeDir:
			if err := root.MkdirAll(name, 0o700|fs.FileMode(h.Mode).Perm()); err != nil {
				return err
			}
			h.Name = name
			dirs = append(dirs, h)
		case tar.TypeReg:
			if err := unpackFile(root, name, h, tr); err != nil {
				return err
			}
			if got != nil {
				got(name, h.Size)
			}
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := root.Chtimes(dirs[i].Name, dirs[i].ModTime, dirs[i].ModTime); err != nil {
			return err
		}
	}
	return nil
}

func unpackFile(root *os.Root, name string, h *tar.Header, r io.Reader) (err error) {
	part := name + ".aether-part"
	f, err := root.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(part)
		}
	}()
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, 256<<10))
	if err == nil {
		err = f.Chmod(fs.FileMode(h.Mode).Perm())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := root.Chtimes(part, h.ModTime, h.ModTime); err != nil {
		return err
	}
	return root.Rename(part, name)
}
