package node

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/internal/oracle"
	"github.com/aether-lan/aether/store/tree"
)

// heal ends all trouble and lets the machines meet until nothing happens any more.
func (w *simWorld) heal() {
	w.note("peace")
	w.net = simNet{slow: w.net.slow, links: w.net.links, lives: w.net.lives}
	for _, h := range w.hosts {
		h.side, h.kv.full = 0, false
		h.start()
	}
	w.rewire()
	for range 40 {
		w.run(30 * time.Second)
		if w.cause != "" || w.calm() {
			break
		}
	}
	w.run(30 * time.Second) // what is held is told
	w.idle()
}

// simIdle is the most that a machine may send and receive when nothing happens, in
// bytes a second: a bound against storms. What it was is among the figures of a run.
const simIdle = 10_000

// idle looks how much is said when there is nothing to say: after a few minutes, in
// which machines tidy up and tell of it, it must be little.
func (w *simWorld) idle() {
	const span = time.Minute
	var each float64
	for range 6 {
		bytes := w.count.bytes
		w.run(span)
		each = 2 * float64(w.count.bytes-bytes) / span.Seconds() / float64(len(w.alive()))
		if w.cause != "" || each <= simIdle {
			w.count.idle = max(w.count.idle, int(each))
			return
		}
	}
	w.fail("idle, each of %d machines has %.0f bytes a second to say and to hear", len(w.alive()), each)
}

// alive returns the machines that are not gone for ever.
func (w *simWorld) alive() (all []*simHost) {
	for _, h := range w.hosts {
		if !h.gone {
			all = append(all, h)
		}
	}
	return all
}

// calm reports whether all machines know the same and have what they shall keep.
func (w *simWorld) calm() bool {
	all := w.alive()
	for _, h := range all {
		files, _ := h.m.core.copying.Pending()
		if files > 0 && len(w.past.lost) == 0 || len(h.m.core.balanceWanted) > 0 || !maps.Equal(h.vector(), all[0].vector()) {
			return false
		}
	}
	return true
}

// check compares all machines with each other and with what the observer knows.
func (w *simWorld) check() {
	all, want := w.alive(), w.past.expected()
	for _, h := range all {
		files, _ := h.m.core.copying.Pending()
		if !maps.Equal(h.vector(), all[0].vector()) {
			w.fail("%s has heard of %v and %s of %v", h, h.vector(), all[0], all[0].vector())
		} else if files > 0 && len(w.past.lost) == 0 {
			w.fail("%s still waits for %d copies", h, files)
		}
		w.checkLog(h)
		shown, err := h.shown()
		if err != nil {
			w.fail("%s: walk: %v", h, err)
			return
		}
		if d := cmp.Diff(want, shown); d != "" {
			w.fail("%s shows (-oracle +%s):\n%s", h, h, d)
		}
		if w.cause != "" {
			return
		}
	}
	w.checkConflicts(all[0])
	w.checkHolders() // before files are read, which brings them into caches
	for _, h := range all {
		w.checkBytes(h)
	}
}

// checkLog compares a machine's log with what was made.
func (w *simWorld) checkLog(h *simHost) {
	v := h.vector()
	for d := range w.past.ops {
		if !v.Has(d) {
			w.fail("%s has never heard of %v, which was safe", h, d)
		}
	}
	for _, m := range v.Machines() {
		if _, ok := w.past.ops[store.Dot{Machine: m, Seq: v[m]}]; !ok {
			w.fail("%s knows %v/%d, which nobody made", h, m.Short(), v[m])
		}
	}
}

// shown returns what the machine shows, by path, in words.
func (h *simHost) shown() (map[string]string, error) { return oracle.Shown(h.m.tree, h.m.kv) }

// expected returns what the pool shall show, given what the observer saw: each machine
// is taken at the observer's word for what it had seen, not at its own.
func (p *simPast) expected() map[string]string {
	var ops []tree.Op
	for _, o := range p.ops {
		ops = append(ops, o.op)
	}
	slices.SortFunc(ops, func(a, b tree.Op) int { return a.Dot.Compare(b.Dot) })
	return oracle.View(ops)
}

// checkBytes reads every file.
func (w *simWorld) checkBytes(h *simHost) {
	var files []tree.Entry
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir && !w.past.isLost(e.Version.Content) {
			files = append(files, e)
		}
		return true
	})
	for _, e := range files {
		f := h.m.drive.OpenEntry(h.m.background, e)
		b, err := io.ReadAll(f)
		if err != nil {
			w.fail("%s cannot read %s, %v: %v", h, e.Path, e.Version.Dot, err)
			return
		}
		if want, ok := w.past.bytes[e.Version.Content.Root]; ok && !bytes.Equal(b, want) {
			w.fail("%s reads %q in %s, and %q was written", h, b, e.Path, want)
		}
	}
}

// checkHolders looks on the disks: every version must lie where it shall.
func (w *simWorld) checkHolders() {
	h := w.alive()[0]
	want := min(h.m.copiesWanted(), w.keepers())
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if e.Dir || e.Version.Content.Size == 0 || w.past.isLost(e.Version.Content) {
			return true
		}
		n := 0
		for _, o := range w.alive() {
			if slices.Contains(e.Version.Holders, o.id) && o.has(e.Version.Content) {
				n++
			}
		}
		w.count.copies += n
		if n != len(e.Version.Holders) || n < want {
			w.fail("%s, %v: %d of %d holders have it, %d shall", e.Path, e.Version.Dot, n, len(e.Version.Holders), want)
		}
		for _, o := range w.alive() {
			if k := o.m.core.copies(e); k != n {
				w.fail("%s counts %d copies of %s, %v, and there are %d", o, k, e.Path, e.Version.Dot, n)
				return false
			}
		}
		return true
	})
}

// has reports whether all bytes of c lie on the machine's own disk.
func (h *simHost) has(c store.Content) bool {
	if _, err := h.m.bodies.Get(c.Root); err != nil {
		return false
	}
	return true // every content of a simulation is one chunk
}
