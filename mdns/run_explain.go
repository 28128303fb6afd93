package mdns

import (
	"context"
	"iter"
	"time"
)

// Explain yields the reason of every decision about a packet that is sent, delayed,
// suppressed or dropped, on each interface, until ctx ends. Reasons are gathered
// only while somebody reads them; what was decided before is not told, for which
// there is Config.Explain. A reader that is too slow ends with [ErrSlowReader],
// one whose Node ends with net.ErrClosed.
func (n *Node) Explain(ctx context.Context) iter.Seq2[Note, error] {
	notes := listen(ctx, n, func() *[]*queue[Note] {
		n.host.Trace(true)
		return &n.ears.notes
	})
	return func(yield func(Note, error) bool) {
		defer func() {
			_ = n.call(context.Background(), func(time.Time) {
				n.host.Trace(n.cfg.Explain != nil || len(n.ears.notes) > 0)
			})
		}()
		notes(yield)
	}
}

// explain hands a note to whom it concerns, on the loop's goroutine.
func (n *Node) explain(note Note) {
	if n.cfg.Explain != nil {
		n.cfg.Explain(note)
	}
	for _, q := range n.ears.notes {
		q.push(note)
	}
}
