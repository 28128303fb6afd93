package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
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

	mu      sync.Mutex // never held during what can take long: readers of other segments would wait
	open    map[uint32]*handle
	clock   uint64
	entries bool // the directory has entries that are not durable
}

// newHandles returns the handles of dir. What a process that died made there may not
// be durable yet.
func newHandles(fsys vfs.FS, dir string) *handles {
	return &handles{fs: fsys, dir: dir, open: map[uint32]*handle{}, entries: true}
}

// handle is an open file. It is closed when nobody uses it and handles has let go.
type handle struct {
	vfs.File
	path   string
	number uint32
	refs   int  // users, and one for handles
	gone   bool // removed
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

// shrink gives back what a removed file takes of the disk, a part at a time: to free
// all at once keeps the disk and a processor from others for 10 ms.
func (h *handle) shrink() {
	f, ok := h.File.(interface{ Truncate(int64) error })
	info, err := h.Stat()
	if !ok || err != nil {
		return // Close does it
	}
	for size := info.Size() - part; size > 0; size -= part {
		_ = f.Truncate(size)
		runtime.Gosched()
	}
}

const part = 2 << 20

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
// caller gives it back with put. That a file exists is durable after syncEntries.
func (h *handles) get(n uint32, create bool) (*handle, error) {
	if f := h.opened(n, nil); f != nil {
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
	if c, ok := file.(interface{ Chmod(fs.FileMode) error }); ok && create {
		if err := c.Chmod(0o600); err != nil {
			return nil, errors.Join(err, file.Close())
		}
	}
	f := &handle{File: file, path: h.path(n), number: n, refs: 1}
	f.readAhead(false)
	if create {
		h.mu.Lock()
		h.entries = true
		h.mu.Unlock()
	}
	if other := h.opened(n, f); other != f { // somebody was quicker
		return other, f.Close()
	}
	return f, nil
}

// opened returns the file of segment n if it is open, else f, which is open from
// then on.
func (h *handles) opened(n uint32, f *handle) *handle {
	h.mu.Lock()
	h.clock++
	var oldest *handle
	if is := h.open[n]; is != nil {
		f = is
	} else if f != nil {
		if len(h.open) >= keptOpen {
			oldest = h.oldest()
			delete(h.open, oldest.number)
		}
		h.open[n] = f
	}
	if f != nil {
		f.refs++
		f.used = h.clock
	}
	h.mu.Unlock()
	if oldest != nil {
		_ = h.put(oldest) // its writes are asked about by the sync
	}
	return f
}

func (h *handles) oldest() *handle {
	var oldest *handle
	for _, f := range h.open {
		if oldest == nil || f.used < oldest.used {
			oldest = f
		}
	}
	return oldest
}

// put gives back what get returned.
func (h *handles) put(f *handle) error {
	h.mu.Lock()
	f.refs--
	last := f.refs == 0
	h.mu.Unlock()
	if !last {
		return nil
	}
	if f.gone {
		f.shrink()
	}
	return f.Close()
}

// drop lets go of the file of segment n.
func (h *handles) drop(n uint32) error {
	h.mu.Lock()
	f := h.open[n]
	delete(h.open, n)
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	return h.put(f)
}

// remove removes the file of segment n. Who has it open may read on.
func (h *handles) remove(n uint32) error {
	h.mu.Lock()
	if f := h.open[n]; f != nil {
		f.gone = true
	}
	h.mu.Unlock()
	err := h.fs.Remove(h.path(n))
	if err := h.drop(n); err != nil { // after it is gone: nobody opens it again
		return err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // Windows removes no file that is open
		err = h.fs.Remove(h.path(n))
	}
	if err != nil {
		return err
	}
	return h.syncDir()
}

// syncEntries makes durable that files exist.
func (h *handles) syncEntries() error {
	h.mu.Lock()
	wanted := h.entries
	h.entries = false
	h.mu.Unlock()
	if !wanted {
		return nil
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
	numbers := slices.Collect(maps.Keys(h.open))
	h.mu.Unlock()
	var err error
	for _, n := range numbers {
		err = errors.Join(err, h.drop(n))
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
