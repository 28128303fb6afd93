package tree

import (
	"cmp"
	"slices"

	"github.com/aether-lan/aether/store"
)

// deletionsOf returns the deletions that hold for a node: its own, unless a later
// move brought it back, and those of the directory it lies in whose author had
// seen it there.
func deletionsOf(r store.Reader, n, parent *node) (del []deletion, err error) {
	for _, d := range n.Deletes {
		if d.At.compare(n.Place.At) > 0 {
			del = append(del, d)
		}
	}
	for _, d := range parent.View.Del {
		ok, err := saw(r, d.At.dot(), n.Place.At.dot())
		if err != nil {
			return nil, err
		}
		if ok {
			del = append(del, d)
		}
	}
	slices.SortFunc(del, func(a, b deletion) int { return a.At.compare(b.At) })
	return del, nil
}

// survivors returns the versions that no deletion removed, latest first.
func survivors(r store.Reader, versions []version, del []deletion) (live []version, err error) {
	for _, v := range versions {
		removed := false
		for _, d := range del {
			if slices.Contains(d.Spare, dotWire{Machine: v.At.Machine, Seq: v.At.Seq}) {
				continue
			}
			ok, err := saw(r, d.At.dot(), v.At.dot())
			if err != nil {
				return nil, err
			}
			removed = removed || ok
		}
		if !removed {
			live = append(live, v)
		}
	}
	slices.SortFunc(live, func(a, b version) int { return b.At.compare(a.At) })
	return live, nil
}

// fileView decides what of a file is shown. live are its surviving versions,
// latest first; del are the deletions that hold for it, latest last.
func fileView(live []version, del []deletion) (v view) {
	var shown []store.Content
	for i, l := range live {
		if i == 0 && (len(del) == 0 || l.At.compare(del[len(del)-1].At) > 0) {
			v.Plain, v.Winner = true, l.At // the winner is never hidden
		} else if !l.Discarded && !slices.Contains(shown, l.Content) {
			v.Losers = append(v.Losers, l.At)
		} else {
			continue
		}
		shown = append(shown, l.Content)
	}
	return v
}

func (n *node) version(at mark) version {
	for _, v := range n.Versions {
		if v.At == at {
			return v
		}
	}
	return version{At: at}
}

// plainRow returns the row of a node at its own name.
func (n *node) plainRow(id store.FileID) (k []byte, r row) {
	if n.Dir {
		return dirRow(n.View.Home, n.Place.Name, id),
			row{ID: id, Kind: rowDir, Mode: n.Attr.Mode, UID: n.Attr.UID, GID: n.Attr.GID, ModTime: n.Attr.ModTime}
	}
	return fileRow(n.View.Home, n.Place.Name, n.Place.At, id), n.winnerRow(id)
}

// winnerRow returns what all names of a file show.
func (n *node) winnerRow(id store.FileID) row {
	v := n.version(n.View.Winner)
	r := n.versionRow(id, v, rowFile)
	if n.Attr.TimeAt.compare(v.At) > 0 {
		r.ModTime = n.Attr.ModTime
	}
	return r
}

// linkRow returns the row of the i-th other name of a file.
func (n *node) linkRow(id store.FileID, i int) (k []byte, r row) {
	l := &n.View.Names[i]
	r = n.winnerRow(id)
	r.Via, r.Again = l.Link, n.View.Plain || i > 0
	return fileRow(l.Home, l.Name, l.At, l.Link), r
}

// named adds the other names of a file to its view. They show the winner; where
// the file's own name is gone that is the latest version of all.
func (n *node) named(v *view, names []linkName) {
	v.Names = names
	if len(names) == 0 || v.Plain {
		return
	}
	last := slices.MaxFunc(n.Versions, func(a, b version) int { return a.At.compare(b.At) })
	v.Winner = last.At
	v.Losers = slices.DeleteFunc(v.Losers, func(l mark) bool { return n.version(l).Content == last.Content })
}

// loserRow returns the row of a losing version.
func (n *node) loserRow(id store.FileID, at mark) (k []byte, r row) {
	return copyRow(n.View.Home, n.Place.Name, at), n.versionRow(id, n.version(at), rowLoser)
}

func (n *node) versionRow(id store.FileID, v version, kind rowKind) row {
	return row{ID: id, Kind: kind, At: v.At, Content: v.Content,
		Mode: n.Attr.Mode, UID: n.Attr.UID, GID: n.Attr.GID, ModTime: v.ModTime, Holders: v.Holders,
		Placed: dotWire{Machine: v.Placed.Machine, Seq: v.Placed.Seq}, Sealed: v.Sealed}
}

// equal reports whether two views of one node have the same rows in the same
// place. Group follows from rows and is left out.
func (v *view) equal(o *view) bool {
	return v.Home == o.Home && v.Plain == o.Plain && v.Winner == o.Winner && slices.Equal(v.Losers, o.Losers) &&
		slices.Equal(v.Names, o.Names)
}

func equalDel(a, b []deletion) bool {
	return slices.EqualFunc(a, b, func(a, b deletion) bool { return a.At == b.At })
}

func compareID(a, b store.FileID) int { return cmp.Compare(string(a[:]), string(b[:])) }
