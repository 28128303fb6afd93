package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/tree"
)

// Where says who keeps a file.
type Where struct {
	// Path is the file, Size its length in bytes.
	Path string `json:"path"`
	Size int64  `json:"size"`
	// Wanted is how many copies there shall be, Copies how many there are for certain.
	Wanted int `json:"wanted"`
	Copies int `json:"copies"`
	// Author is the machine that wrote this version, Modified the time that it gave.
	Author   string    `json:"author"`
	Modified time.Time `json:"modified"`
	// Holders are the machines that shall keep it, and Cached says that this machine,
	// which is none of them, has all of it all the same.
	Holders []Holder `json:"holders"`
	Cached  bool     `json:"cached"`
}

// Holder is a machine that shall keep a file.
type Holder struct {
	ID        store.MachineID `json:"id"`
	Name      string          `json:"name"`
	Self      bool            `json:"self"`
	Connected bool            `json:"connected"`
	// Has says that the machine is known to have the bytes.
	Has bool `json:"has"`
}

// Why explains which machines shall keep a file.
type Why struct {
	// Path is the file, Key what its place follows from, in hexadecimal.
	Path string `json:"path"`
	Key  string `json:"key"`
	// Wanted is how many copies there shall be.
	Wanted int `json:"wanted"`
	// Order are all machines, the first choice first.
	Order []Choice `json:"order"`
}

// Choice is a machine in the order of a file.
type Choice struct {
	ID   store.MachineID `json:"id"`
	Name string          `json:"name"`
	// Laptop, Weight and Score are as in [place.Reason].
	Laptop bool    `json:"laptop"`
	Weight float64 `json:"weight"`
	Score  float64 `json:"score"`
	// Holder says that it keeps the file, Today that it would be chosen now.
	Holder bool `json:"holder"`
	Today  bool `json:"today"`
	// Reason says in words why it is or is not a holder.
	Reason string `json:"reason"`
}

// Where says who keeps the file p.
func (m *Machine) Where(ctx context.Context, p string) (Where, error) {
	e, err := m.file(p)
	if err != nil {
		return Where{}, err
	}
	w := Where{Path: e.Path, Size: e.Version.Content.Size, Author: m.authorOf(e.Version.Dot), Modified: e.Version.ModTime}
	up := m.reachable()
	err = m.core.call(ctx, func() {
		w.Wanted = m.copiesOf(e)
		w.Copies = m.core.copies(e)
		for _, id := range e.Version.Holders {
			one := assignment(e.ID, e.Version)
			one.Holders = []store.MachineID{id}
			w.Holders = append(w.Holders, Holder{
				ID: id, Name: m.core.nameOf(id), Self: id == m.ID(), Connected: up[id] && id != m.ID(), Has: m.core.copying.Copies(one) == 1,
			})
		}
	})
	if err == nil && !slices.Contains(e.Version.Holders, m.ID()) {
		w.Cached = m.has(e.Version.Content)
	}
	return w, err
}

// file returns the entry of a file.
func (m *Machine) file(p string) (tree.Entry, error) {
	e, err := m.drive.Stat(p)
	if err == nil && e.Dir {
		err = fmt.Errorf("node: %s: %w", e.Path, tree.ErrIsDir)
	}
	return e, err
}

// Why explains which machines keep the file p, and which would today.
func (m *Machine) Why(ctx context.Context, p string) (Why, error) {
	e, err := m.file(p)
	if err != nil {
		return Why{}, err
	}
	m.bringList(ctx, e.Version)
	key := place.Key(m.drive.FirstChunks(e.Version.Content, place.KeyRefs))
	w := Why{Path: e.Path, Key: fmt.Sprintf("%x", key)}
	err = m.core.call(ctx, func() {
		c, now := m.core, m.now()
		w.Wanted = m.copiesOf(e)
		skip := func(id store.MachineID) string {
			room := c.roomOf(now, id)
			switch {
			case c.lost(id):
				return "has been away for too long"
			case slices.Contains(e.Version.Holders, id):
				return ""
			case e.Version.Content.Size > 0 && room < e.Version.Content.Size:
				return fmt.Sprintf("is full: room for %d bytes", max(0, room))
			}
			return ""
		}
		for _, r := range c.mapOf(w.Wanted).Explain(key, w.Wanted, skip) {
			ch := Choice{ID: r.Machine, Name: c.nameOf(r.Machine), Laptop: r.Laptop, Weight: r.Weight, Score: r.Score,
				Holder: slices.Contains(e.Version.Holders, r.Machine), Today: r.Keeps, Reason: r.Skipped}
			if ch.Reason == "" {
				ch.Reason = reasonOf(ch)
			}
			w.Order = append(w.Order, ch)
		}
		for _, id := range e.Version.Holders {
			if !slices.ContainsFunc(w.Order, func(ch Choice) bool { return ch.ID == id }) {
				w.Order = append(w.Order, Choice{ID: id, Name: c.nameOf(id), Holder: true, Reason: "is no member any more"})
			}
		}
	})
	return w, err
}

// bringList sees to it that the list of a file's first chunks is here, as far as it can
// be had: the placement key follows from it.
func (m *Machine) bringList(ctx context.Context, v tree.Version) {
	part, ok := chunk.Root(v.Content)
	for ok && part.Depth > 0 {
		body, err := m.bodies.Get(part.Ref)
		if err != nil {
			body, err = m.fetchBody(ctx, part.Ref, v.Holders)
		}
		if err != nil {
			return
		}
		below, err := m.keys.Children(part, body)
		if ok = err == nil && len(below) > 0; ok {
			part = below[0]
		}
	}
}

// reasonOf says in words why a machine keeps a file or does not.
func reasonOf(ch Choice) string {
	switch {
	case ch.Holder && ch.Today:
		return "among the first of the order"
	case ch.Holder:
		return "kept it when others came, and files stay where they are"
	case ch.Today:
		return "would be chosen today, but who keeps a file goes on keeping it"
	}
	return "enough others come before it"
}

func serveWhere(m *Machine, w http.ResponseWriter, r *http.Request) error {
	p, err := drive.Clean(r.FormValue("path"))
	if err != nil {
		return err
	}
	got, err := m.Where(r.Context(), p)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(got)
}

func serveWhy(m *Machine, w http.ResponseWriter, r *http.Request) error {
	p, err := drive.Clean(r.FormValue("path"))
	if err != nil {
		return err
	}
	got, err := m.Why(r.Context(), p)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(got)
}

// Where says who keeps the file p.
func (c *Client) Where(ctx context.Context, p string) (w Where, err error) {
	return w, c.one(ctx, http.MethodGet, "where", &w, "path", p)
}

// Why explains which machines keep the file p.
func (c *Client) Why(ctx context.Context, p string) (w Why, err error) {
	return w, c.one(ctx, http.MethodGet, "why", &w, "path", p)
}
