package mount

import (
	"context"
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/aether-lan/aether/store/tree"
)

// newsMax bounds what waits to be told to the kernel. Where more comes at once the
// rest is left to the time for which the kernel believes what it knows.
const newsMax = 1 << 16

// news are changes that others made and the kernel has not been told of.
type news struct {
	mu      sync.Mutex
	waiting []tree.Event
	dropped uint64
	wake    chan struct{}
}

// add takes a change; it does not block.
func (n *news) add(ev tree.Event) {
	n.mu.Lock()
	if len(n.waiting) < newsMax {
		n.waiting = append(n.waiting, ev)
	} else {
		n.dropped++
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() []tree.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.waiting
	n.waiting = nil
	return w
}

// tell tells the kernel what others have changed. It must not be done while a request
// is answered: the kernel holds locks then that the notice needs.
func (k *kernelFS) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.news.wake:
		}
		server := k.server.Load()
		for _, ev := range k.news.take() {
			if server != nil {
				k.tellOne(server, ev)
			}
		}
	}
}

func (k *kernelFS) tellOne(server *fuse.Server, ev tree.Event) {
	k.d.Refresh(ev.File)
	dir, held := k.nodes.held(ev.Dir)
	if number, ok := k.nodes.held(ev.File); ok && number != fuse.FUSE_ROOT_ID {
		if n, err := k.d.Node(ev.File); err != nil || !n.Dir {
			k.nodes.outdate(number)
			server.InodeNotify(number, 0, 0) // those who have it open read it anew
		} else {
			server.InodeNotify(number, -1, 0)
		}
	}
	if !held || ev.Name == "" {
		return
	}
	server.EntryNotify(dir, ev.Name)
	server.InodeNotify(dir, 0, 0)
}
