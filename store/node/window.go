package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/replicate"
)

const (
	// maxWindows bounds the windows that are kept for those who may ask again.
	maxWindows = 32
	// hasEvery is how often it is looked which chunks of a window are here while nothing
	// fetches it.
	hasEvery = 2 * time.Second
)

// windowKey names a window: so many chunks of data of one content, in the order of the
// file.
type windowKey struct {
	root   store.Ref
	number uint32
}

// window is at most replicate.MaxPieces chunks of data in a row, and which of them are
// here. Its chunks are the pieces of a swarm.
type window struct {
	parts []chunk.Part

	mu      sync.Mutex
	share   *replicate.Share
	have    replicate.Pieces
	live    bool // being fetched: have is up to date
	looked  time.Time
	changed chan struct{} // closed when there is more in have
	used    time.Time
}

// windows are those that are being fetched, or were asked for lately.
type windows struct {
	mu  sync.Mutex
	all map[windowKey]*window
}

var errNoWindow = errors.New("node: no such part of a file")

// windowOf returns the window of c with a number. It fails with store.ErrNotFound while
// the lists that lead there are not here.
func (m *Machine) windowOf(c store.Content, number uint32) (*window, error) {
	key := windowKey{c.Root, number}
	ws := &m.windows
	ws.mu.Lock()
	w := ws.all[key]
	if w != nil {
		w.used = time.Now()
	}
	ws.mu.Unlock()
	if w != nil {
		return w, nil
	}
	parts, err := m.partsOf(c, number)
	if err != nil {
		return nil, err
	}
	w = &window{parts: parts, share: replicate.NewShare(len(parts)), have: replicate.NewPieces(len(parts)), changed: make(chan struct{}), used: time.Now()}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if old := ws.all[key]; old != nil {
		return old, nil
	}
	if ws.all == nil {
		ws.all = map[windowKey]*window{}
	}
	ws.makeRoom()
	ws.all[key] = w
	return w, nil
}

// makeRoom drops the window that was not used for the longest time, where there are too
// many; whoever has it goes on with it.
func (ws *windows) makeRoom() {
	if len(ws.all) < maxWindows {
		return
	}
	var oldest windowKey
	for k, w := range ws.all {
		if o := ws.all[oldest]; o == nil || w.used.Before(o.used) {
			oldest = k
		}
	}
	delete(ws.all, oldest)
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// partsOf returns the chunks of data of a window.
func (m *Machine) partsOf(c store.Content, number uint32) ([]chunk.Part, error) {
	skip := int64(number) * replicate.MaxPieces
	if c.Size <= 0 || skip >= c.Size { // a chunk has at least a byte
		return nil, errNoWindow
	}
	var parts []chunk.Part
	err := m.keys.Walk(c, m.bodies.Get, func(p chunk.Part) error {
		switch {
		case p.Absent:
			return fmt.Errorf("node: list %.8s: %w", p.Ref, store.ErrNotFound)
		case p.Depth > 0:
			return nil
		}
		if skip--; skip >= 0 {
			return nil
		}
		if parts = append(parts, p); len(parts) == replicate.MaxPieces {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if len(parts) == 0 {
		return nil, errNoWindow
	}
	return parts, nil
}

// look finds out what is here, unless that is known. The caller holds mu.
func (w *window) look(now time.Time, have func(store.Ref) bool) {
	if w.live || now.Sub(w.looked) < hasEvery && !w.looked.IsZero() {
		return
	}
	w.looked = now
	for i, p := range w.parts {
		if have(p.Ref) {
			w.have.Set(i)
		} else {
			w.have.Clear(i)
		}
	}
}

// lost says that a piece is not here after all.
func (w *window) lost(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.live {
		w.have.Clear(i)
	}
}

// tell wakes those who wait for more. The caller holds mu.
func (w *window) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// size returns how large a piece is, in bytes, before it was compressed.
func (w *window) size(i int) int64 { return w.parts[i].Size }
