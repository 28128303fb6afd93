package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
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
		if files > 0 || len(h.m.core.balanceWanted) > 0 || !maps.Equal(h.vector(), all[0].vector()) {
			return false
		}
	}
	return true
}

// check compares all machines with each other and with what the observer knows.
func (w *simWorld) check() {
	all := w.alive()
	first, err := all[0].shown()
	if err != nil {
		w.fail("%s: walk: %v", all[0], err)
		return
	}
	for _, h := range all {
		files, _ := h.m.core.copying.Pending()
		if !maps.Equal(h.vector(), all[0].vector()) {
			w.fail("%s has heard of %v and %s of %v", h, h.vector(), all[0], all[0].vector())
		} else if files > 0 {
			w.fail("%s still waits for %d copies", h, files)
		}
		w.checkLog(h)
		shown, err := h.shown()
		if err != nil {
			w.fail("%s: walk: %v", h, err)
			return
		}
		for p := range first {
			if shown[p] != first[p] {
				w.fail("%s shows %s as %q, and %s as %q", all[0], p, first[p], h, shown[p])
			}
		}
		if len(shown) != len(first) {
			w.fail("%s shows %d names, %s shows %d", h, len(shown), all[0], len(first))
		}
		w.checkBytes(h)
		if w.cause != "" {
			return
		}
	}
	w.checkHolders()
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
func (h *simHost) shown() (map[string]string, error) {
	out := map[string]string{}
	var failed error
	err := h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		what := fmt.Sprintf("%v dir %v mode %o conflict %v", e.ID, e.Dir, e.Version.Mode, e.Conflict)
		if !e.Dir {
			what += fmt.Sprintf(" version %v of %d bytes, %v", e.Version.Dot, e.Version.Content.Size, e.Version.Content.Root)
		}
		names, err := h.m.drive.NodeXattrs(e.ID)
		for _, name := range names {
			value, xerr := h.m.drive.NodeXattr(e.ID, name)
			what += fmt.Sprintf(" %s=%s", name, value)
			err = errors.Join(err, xerr)
		}
		failed = errors.Join(failed, err)
		out[e.Path] = what
		return true
	})
	return out, errors.Join(err, failed)
}

// checkBytes reads every file.
func (w *simWorld) checkBytes(h *simHost) {
	var files []tree.Entry
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir {
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
	want := min(h.m.copiesWanted(), len(w.alive()))
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if e.Dir || e.Version.Content.Size == 0 {
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
