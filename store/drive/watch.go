package drive

import (
	"context"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// watcher hears of changes.
type watcher struct {
	origin any
	f      func(tree.Event)
}

type originKey struct{}

// WithOrigin marks the changes made under a context as those of origin, who does
// not want to hear of them.
func WithOrigin(ctx context.Context, origin any) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// Origin returns who makes changes under ctx; nil where nobody said.
func Origin(ctx context.Context) any { return ctx.Value(originKey{}) }

// Watch calls f with each tree.NameChanged that others than origin cause, in their
// order, until stop is called. f must neither block nor use the drive.
func (d *Drive) Watch(origin any, f func(tree.Event)) (stop func()) {
	w := &watcher{origin, f}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers[w] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.watchers, w)
	}
}

// Announce tells watchers what a committed change of origin did. The journal calls it.
func (d *Drive) Announce(origin any, events []tree.Event) {
	d.activity.changes.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.watchers) == 0 {
		return
	}
	for _, ev := range events {
		if ev.Kind != tree.NameChanged {
			continue
		}
		for w := range d.watchers {
			if w.origin != origin || origin == nil {
				w.f(ev)
			}
		}
	}
}

// Refresh brings an open file up to date with a version that came from elsewhere. It
// reports whether its bytes are others now; those of a file that is being written
// stay.
func (d *Drive) Refresh(id store.FileID) bool {
	i := d.Opened(id)
	if i == nil {
		return false
	}
	changed := i.refresh()
	_ = i.Close()
	return changed
}
