package mount

import (
	"errors"
	"io"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/store"
)

// writers counts, file by file, the handles by which programs may write. Only such a
// file can have pages that the kernel has not written back.
type writers struct {
	mu   sync.Mutex
	open map[store.FileID]int
}

// opened counts a handle that was opened (+1) or closed (-1).
func (w *writers) opened(h *opened, by int) {
	if !h.writes || h.inode == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open == nil {
		w.open = map[store.FileID]int{}
	}
	id := h.inode.ID()
	if w.open[id] += by; w.open[id] == 0 {
		delete(w.open, id)
	}
}

func (w *writers) any(id store.FileID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[id] > 0
}

// Lseek implements lseek(2) with SEEK_DATA and SEEK_HOLE. The kernel asks without
// having written back what it has cached, and what is a hole for us may be full
// there. So it is first told to let go of the file's pages, which makes it write
// them. It waits for our answer with the file locked against changes, and what it
// needs to write pages back, other requests, are answered meanwhile.
func (k *kernelFS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h, ok := k.handle(in.Fh)
	if !ok {
		return fuse.EBADF
	}
	off := int64(in.Offset)
	if off < 0 {
		return fuse.Status(syscall.ENXIO)
	}
	if h.inode == nil { // a conflict copy is all data
		return seekDense(off, h.copy.Size(), in.Whence, out)
	}
	if server := k.server.Load(); server != nil && k.writers.any(h.inode.ID()) {
		server.InodeNotify(in.NodeId, 0, 0)
	}
	for {
		data, end, err := h.inode.Extent(off)
		switch {
		case errors.Is(err, io.EOF):
			size, _ := h.inode.Size()
			if in.Whence == unix.SEEK_HOLE && off == size && int64(in.Offset) < size {
				out.Offset = uint64(size) // the end is a hole
				return fuse.OK
			}
			return fuse.Status(syscall.ENXIO)
		case err != nil:
			return k.status("lseek", err)
		case data == (in.Whence == unix.SEEK_DATA):
			out.Offset = uint64(off)
			return fuse.OK
		}
		off = end
	}
}

// seekDense is lseek in a file without holes.
func seekDense(off, size int64, whence uint32, out *fuse.LseekOut) fuse.Status {
	if off >= size {
		return fuse.Status(syscall.ENXIO)
	}
	out.Offset = uint64(off)
	if whence == unix.SEEK_HOLE {
		out.Offset = uint64(size)
	}
	return fuse.OK
}
