package node

import (
	"bytes"
	"fmt"
	"path"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// paths returns what the machine shows, at most limit of it, and places where
// something could be.
func (h *simHost) paths(limit int) (all []string) {
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		all = append(all, e.Path)
		return len(all) < limit
	})
	return all
}

// somewhere returns a path: mostly of something that is there.
func (h *simHost) somewhere() string {
	if there := h.paths(60); len(there) > 0 && h.w.rng.IntN(4) > 0 {
		return there[h.w.rng.IntN(len(there))]
	}
	return h.anywhere()
}

// anywhere returns a path below a directory that is there, by one of a few names, so
// that machines meet.
func (h *simHost) anywhere() string {
	dirs := []string{"/"}
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if e.Dir {
			dirs = append(dirs, e.Path)
		}
		return len(dirs) < 30
	})
	names := []string{"a", "b", "Notes.txt", "notes.txt", "photo.jpg", "dir", "work", "x"}
	return path.Join(dirs[h.w.rng.IntN(len(dirs))], names[h.w.rng.IntN(len(names))])
}

// deed is something that people do, and how often.
type deed struct {
	often int
	name  string
	f     func(h *simHost) (what string, f func() error)
}

func deeds() []deed {
	return []deed{
		{10, "write", (*simHost).write},
		{6, "save", func(h *simHost) (string, func() error) { return h.save(h.somewhere()) }},
		{4, "mkdir", (*simHost).mkdir},
		{3, "remove", (*simHost).remove},
		{5, "rename", (*simHost).rename},
		{2, "attributes", (*simHost).attributes},
		{2, "link", (*simHost).link},
		{1, "xattr", (*simHost).xattr},
		{1, "symlink", (*simHost).symlink},
		{1, "restore", (*simHost).restore},
	}
}

// shared is one of the few files that everybody has a hand in.
func (h *simHost) shared() string {
	return []string{"/plan.txt", "/sums", "/Letter.odt"}[h.w.rng.IntN(3)]
}

// fighting is what people do of whom some write and others tidy up.
func fighting() []deed {
	return append(writing(), deed{3, "remove", func(h *simHost) (string, func() error) {
		p := h.shared()
		return "remove " + p, func() error { return h.m.drive.Remove(h.m.background, p, false) }
	}})
}

// writing is what people do who work on a few files together.
func writing() []deed {
	return []deed{
		{6, "write", func(h *simHost) (string, func() error) { return h.put(h.shared(), h.w.text(h)) }},
		{3, "save", func(h *simHost) (string, func() error) { return h.save(h.shared()) }},
	}
}

// act has a person at the machine do something.
func (h *simHost) act() error {
	sum := 0
	for _, d := range h.w.deeds {
		sum += d.often
	}
	n := h.w.rng.IntN(sum)
	for _, d := range h.w.deeds {
		if n -= d.often; n < 0 {
			return h.do(d.f(h))
		}
	}
	return nil
}

// keeps notes the bytes that lie behind an address.
func (p *simPast) keeps(w *simWorld, c store.Content, b []byte) {
	if had, ok := p.bytes[c.Root]; ok && !bytes.Equal(had, b) {
		w.fail("%s stands for %q and %q", c.Root, had, b)
	}
	p.bytes[c.Root] = b
}

func (h *simHost) put(p string, b []byte) (string, func() error) {
	return fmt.Sprintf("put %s, %d bytes", p, len(b)), func() error {
		e, err := h.m.drive.Put(h.m.background, p, bytes.NewReader(b), drive.Attributes{})
		if err == nil {
			h.w.past.keeps(h.w, e.Version.Content, b)
		}
		return err
	}
}

func (h *simHost) write() (string, func() error) {
	b := h.w.text(h)
	if h.w.rng.IntN(12) == 0 {
		b = []byte("what two may write alike")
	}
	return h.put(h.somewhere(), b)
}

// save changes a part of an open file, as a program does through the mount.
func (h *simHost) save(p string) (string, func() error) {
	return "save " + p, func() error {
		e, err := h.m.tree.Lookup(h.m.kv, p)
		if err != nil {
			return err
		}
		i, err := h.m.drive.Inode(e.ID)
		if err != nil {
			return err
		}
		defer i.Close()
		if _, err := i.WriteAt([]byte(fmt.Sprintf("<%d>", h.w.count.actions)), int64(h.w.rng.IntN(8))); err != nil {
			return err
		}
		return i.Sync(h.m.background)
	}
}

func (h *simHost) mkdir() (string, func() error) {
	p := h.anywhere()
	return "mkdir " + p, func() error { return h.m.drive.Mkdir(h.m.background, p) }
}

func (h *simHost) remove() (string, func() error) {
	p, all := h.somewhere(), h.w.rng.IntN(3) == 0
	return fmt.Sprintf("remove %s %v", p, all), func() error { return h.m.drive.Remove(h.m.background, p, all) }
}

func (h *simHost) rename() (string, func() error) {
	from, to := h.somewhere(), h.anywhere()
	return "rename " + from + " to " + to, func() error { return h.m.drive.Rename(h.m.background, from, to) }
}

// synced waits for the disk after what does not wait for it, or it does not: then
// nothing is promised.
func (h *simHost) synced(err error) error {
	if h.hasty = h.w.rng.IntN(2) == 0; err != nil || h.hasty {
		return err
	}
	return h.m.drive.Sync(h.m.background)
}

func (h *simHost) attributes() (string, func() error) {
	p, mode := h.somewhere(), uint32(h.w.rng.IntN(0o1000))
	return fmt.Sprintf("chmod %s %o", p, mode), func() error {
		e, err := h.m.tree.Lookup(h.m.kv, p)
		if err != nil {
			return err
		}
		return h.synced(h.m.drive.SetNode(h.m.background, e.ID, tree.AttributeChange{Mode: &mode}))
	}
}

// place finds the directory of a path.
func (h *simHost) place(p string) (tree.Place, error) {
	dir, err := h.m.tree.Lookup(h.m.kv, path.Dir(p))
	return tree.Place{Dir: dir.ID, Name: path.Base(p)}, err
}

func (h *simHost) link() (string, func() error) {
	p, to := h.somewhere(), h.anywhere()
	return "link " + p + " as " + to, func() error {
		e, err := h.m.tree.Lookup(h.m.kv, p)
		if err != nil {
			return err
		}
		at, err := h.place(to)
		if err != nil {
			return err
		}
		return h.synced(h.m.drive.LinkAt(h.m.background, e.ID, at))
	}
}

func (h *simHost) xattr() (string, func() error) {
	p, n := h.somewhere(), h.w.count.actions
	return "xattr " + p, func() error {
		e, err := h.m.tree.Lookup(h.m.kv, p)
		if err != nil {
			return err
		}
		return h.synced(h.m.drive.SetNodeXattr(h.m.background, e.ID, "user.n", fmt.Appendf(nil, "%d", n)))
	}
}

func (h *simHost) symlink() (string, func() error) {
	p, target := h.anywhere(), h.anywhere()
	return "symlink " + p, func() error {
		at, err := h.place(p)
		if err != nil {
			return err
		}
		n, err := h.m.drive.SymlinkAt(h.m.background, at, target, tree.Version{Mode: 0o120777})
		if err == nil {
			h.w.past.keeps(h.w, n.Version.Content, []byte(target))
		}
		return h.synced(err)
	}
}

func (h *simHost) restore() (string, func() error) {
	p, ago := h.somewhere(), h.w.within(5*time.Minute)
	return fmt.Sprintf("restore %s of %v ago", p, ago), func() error {
		if err := h.looks(p, h.clock().Add(-ago)); err != nil {
			return err
		}
		_, err := h.m.drive.Restore(h.m.background, p, h.clock().Add(-ago))
		return err
	}
}

// looks reads what somebody wants to restore. Where little of the past is kept, what
// one machine remembers has bytes that the others may have given up.
func (h *simHost) looks(p string, at time.Time) error {
	if h.w.retention == 0 {
		return nil
	}
	e, err := h.m.drive.StatAt(p, at)
	if err != nil || e.Version.Content.Size == 0 && !e.Dir {
		return err
	}
	if e.Dir {
		return store.ErrNotFound // nobody looks at all that lies below
	}
	_, err = h.m.drive.Body(h.m.background, e.Version.Content.Root, e.Version.Holders)
	return err
}
