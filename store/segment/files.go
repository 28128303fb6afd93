package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// keptOpen bounds the open segment files.
const keptOpen = 64

// handles opens segment files and keeps the ones used last open. It is safe for
// concurrent use.
type handles struct {
	fs  vfs.FS
	dir string

	mu    sync.Mutex
	open  map[uint32]*handle
	clock uint64
}

// handle is an open file. It is closed when nobody uses it and handles has let go.
type handle struct {
	vfs.File
	path   string
	number uint32
	refs   int // users, and one for handles
	used   uint64

	once   sync.Once
	direct *os.File // the same file, past the page cache; nil where that cannot be
}

// directly returns the file for reads and writes past the page cache, or nil.
func (h *handle) directly() *os.File {
	h.once.Do(func() {
		if h.direct = openDirect(h.File, h.path); h.direct == nil {
			h.readAhead(true)
		}
	})
	return h.direct
}

// Close closes the file.
func (h *handle) Close() error {
	err := h.File.Close()
	if direct := h.direct; direct != nil {
		err = errors.Join(err, direct.Close())
	}
	return err
}

// deferrable says whether room can be taken for the file before it is written, so
// that a full disk is noticed in time.
func (h *handle) deferrable() bool {
	if !preallocation && h.Fd() != vfs.InvalidFd {
		return false
	}
	return !unsupported(h.Preallocate(0, pageSize))
}

// unsupported reports that a file system has no preallocation.
func unsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

func (h *handles) path(n uint32) string {
	return h.fs.PathJoin(h.dir, fmt.Sprintf("%08d.seg", n))
}

// number reads the name of a segment file.
func number(name string) (n uint32, ok bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	v, err := strconv.ParseUint(digits, 10, 32)
	return uint32(v), ok && err == nil && len(digits) >= 8
}

// get returns the file of segment n, which must exist unless create is set. The
// caller gives it back with put.
func (h *handles) get(n uint32, create bool) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	if f := h.open[n]; f != nil {
		f.refs++
		f.used = h.clock
		return f, nil
	}
	if !create {
		// OpenReadWrite would make the file.
		if _, err := h.fs.Stat(h.path(n)); err != nil {
			return nil, err
		}
	}
	file, err := h.fs.OpenReadWrite(h.path(n), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if create {
		if c, ok := file.(interface{ Chmod(fs.FileMode) error }); ok {
			err = c.Chmod(0o600)
		}
		if err = errors.Join(err, h.syncDir()); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	f := &handle{File: file, path: h.path(n), number: n, refs: 2, used: h.clock}
	f.readAhead(false)
	if len(h.open) >= keptOpen {
		h.closeOldest()
	}
	h.open[n] = f
	return f, nil
}

func (h *handles) closeOldest() {
	var oldest *handle
	for _, f := range h.open {
		if oldest == nil || f.used < oldest.used {
			oldest = f
		}
	}
	_ = h.drop(oldest) // its writes are asked about by the sync
}

// drop lets go of f; the caller holds the lock.
func (h *handles) drop(f *handle) error {
	delete(h.open, f.number)
	return h.release(f)
}

func (h *handles) release(f *handle) error {
	if f.refs--; f.refs == 0 {
		return f.Close()
	}
	return nil
}

func (h *handles) put(f *handle) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.release(f)
}

// remove removes the file of segment n. Who has it open may read on.
func (h *handles) remove(n uint32) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.open[n]; f != nil {
		if err := h.drop(f); err != nil {
			return err
		}
	}
	if err := h.fs.Remove(h.path(n)); err != nil {
		return err
	}
	return h.syncDir()
}

func (h *handles) syncDir() error {
	d, err := h.fs.OpenDir(h.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (h *handles) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	for _, f := range h.open {
		err = errors.Join(err, h.drop(f))
	}
	return err
}

// mkdir makes dir and what is missing above it, and the entries durable: a crash
// must not take back a directory whose contents have been synced.
func mkdir(fsys vfs.FS, dir string) error {
	var missing []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		missing = append(missing, d)
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, d := range missing {
		parent, err := fsys.OpenDir(fsys.PathDir(d))
		if err != nil {
			return err
		}
		if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
			return err
		}
	}
	return nil
}
