package mount

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store/drive"
)

// valid is how long the kernel may use names and attributes without asking. What
// others change is told to it at once; this bounds what a notice that crosses an
// answer may leave behind.
const valid = 10 * time.Second

// kernelFS answers the kernel's requests. Methods are in the files named after what
// they deal with: names, attributes, files, directories.
type kernelFS struct {
	fuse.RawFileSystem // answers ENOSYS to all that is not here

	d      *drive.Drive
	cfg    Config
	ctx    context.Context // of all changes; its origin is this mount
	end    context.CancelFunc
	nodes  *nodes
	server atomic.Pointer[fuse.Server]
	owner  fuse.Owner // of files that have none

	handles handles
	writers writers
	news    news
	unsaved atomic.Bool // names were changed since the last sync
	jobs    sync.WaitGroup
}

func newKernelFS(ctx context.Context, d *drive.Drive, cfg Config) *kernelFS {
	k := &kernelFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		d:             d, cfg: cfg, nodes: newNodes(),
		owner: fuse.Owner{Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())},
	}
	ctx, k.end = context.WithCancel(ctx)
	k.ctx = drive.WithOrigin(ctx, k)
	k.handles.open = map[uint64]any{}
	k.news.wake = make(chan struct{}, 1)
	unwatch := d.Watch(k, k.news.add)
	k.jobs.Go(func() {
		defer unwatch()
		k.tell(ctx)
	})
	k.jobs.Go(func() { k.keepSynced(ctx) })
	return k
}

// String implements fuse.RawFileSystem.
func (k *kernelFS) String() string { return "aether" }

// Init is called when the kernel begins.
func (k *kernelFS) Init(s *fuse.Server) { k.server.Store(s) }

// stop ends what runs besides requests, closes what programs left open, and brings
// everything to the disk.
func (k *kernelFS) stop() {
	for _, h := range k.handles.drain() {
		if f, ok := h.(*opened); ok {
			k.close(f)
		}
	}
	k.sync()
	k.end()
	k.jobs.Wait()
}

// sync brings changed names to the disk.
func (k *kernelFS) sync() {
	if k.unsaved.Swap(false) {
		if err := k.d.Sync(k.ctx); err != nil {
			k.unsaved.Store(true)
			k.status("sync", err)
		}
	}
}

// keepSynced calls sync from time to time.
func (k *kernelFS) keepSynced(ctx context.Context) {
	t := time.NewTicker(k.cfg.Sync)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			k.sync()
		}
	}
}

// changed notes that something waits for the disk.
func (k *kernelFS) changed() { k.unsaved.Store(true) }

// handles are the files and directories that programs have open.
type handles struct {
	mu   sync.RWMutex
	last uint64
	open map[uint64]any // *opened or *listing
}

func (h *handles) add(v any) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	h.open[h.last] = v
	return h.last
}

func (h *handles) get(n uint64) any {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.open[n]
}

func (h *handles) take(n uint64) any {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.open[n]
	delete(h.open, n)
	return v
}

func (h *handles) drain() (all []any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, v := range h.open {
		all = append(all, v)
		delete(h.open, n)
	}
	return all
}

// StatFs tells the space of this machine.
func (k *kernelFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	u, err := k.d.Usage()
	if err != nil {
		return k.status("statfs", err)
	}
	const block = 4096
	*out = fuse.StatfsOut{
		Bsize: block, Frsize: block, NameLen: 255,
		Blocks: uint64(u.Space) / block, Bfree: uint64(u.Free) / block, Bavail: uint64(u.Free) / block,
		Files: uint64(u.Files) + 1<<32, Ffree: 1 << 32,
	}
	return fuse.OK
}
