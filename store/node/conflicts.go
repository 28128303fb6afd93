package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// Conflict is a conflict copy: what lost against another change of the same file, or of
// the same name, that its author had not seen.
type Conflict struct {
	// Path is where the copy is shown, and Of the path that it would have had. There need
	// not be anything at Of: it may have been removed.
	Path string `json:"path"`
	Of   string `json:"of"`
	// Author is the name of the machine that wrote it, and Written when, by its clock.
	Author  string    `json:"author"`
	Written time.Time `json:"written"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Modified is the modification time that the writer gave.
	Modified time.Time `json:"modified"`
	// OfSize, OfAuthor and OfModified say the same of what is at Of now; OfSize is -1
	// where no file is.
	OfSize     int64     `json:"of_size"`
	OfAuthor   string    `json:"of_author,omitempty"`
	OfModified time.Time `json:"of_modified,omitzero"`
}

// Conflicts calls f with the conflict copies at and below p, in the order of paths,
// until f returns an error.
func (m *Machine) Conflicts(ctx context.Context, p string, f func(Conflict) error) error {
	p, err := drive.Clean(p)
	if err != nil {
		return err
	}
	totals, err := m.tree.Totals(m.kv)
	if err != nil {
		return err
	}
	top, err := m.drive.Stat(p)
	if err != nil {
		return err
	}
	if !top.Dir {
		if !top.Conflict {
			return nil
		}
		c, err := m.conflict(p)
		if err != nil {
			return err
		}
		return f(c)
	}
	left := totals.Conflicts // a drive without conflicts is not searched
	if left == 0 {
		return nil
	}
	var inner error
	err = m.tree.Walk(m.kv, p, func(e tree.Entry) bool {
		if inner = ctx.Err(); inner != nil || !e.Conflict {
			return inner == nil
		}
		left--
		c, err := m.conflict(e.Path)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, tree.ErrNoConflict) {
			return true // it has just gone
		}
		if inner = err; err == nil {
			inner = f(c)
		}
		return inner == nil && left > 0
	})
	return errors.Join(err, inner)
}

// conflict returns the conflict copy at p.
func (m *Machine) conflict(p string) (Conflict, error) {
	t, err := m.tree.Conflict(m.kv, p)
	if err != nil {
		return Conflict{}, err
	}
	c := Conflict{Path: t.Path, Of: t.Of, Author: m.authorOf(t.Version.Dot), Written: t.Written,
		Size: t.Version.Content.Size, Modified: t.Version.ModTime, OfSize: -1}
	switch of, err := m.drive.Stat(t.Of); {
	case errors.Is(err, store.ErrNotFound), err == nil && of.Dir:
	case err != nil:
		return c, err
	default:
		c.OfSize, c.OfAuthor, c.OfModified = of.Version.Content.Size, m.authorOf(of.Version.Dot), of.Version.ModTime
	}
	return c, nil
}

// settle ends the conflict at p with f and returns what it was.
func (m *Machine) settle(ctx context.Context, p string, f func(context.Context, string) error) (Conflict, error) {
	c, err := m.conflict(p)
	if err == nil {
		err = f(ctx, p)
	}
	return c, err
}

func serveConflicts(m *Machine, w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	wrote := false
	err := m.Conflicts(r.Context(), r.FormValue("path"), func(c Conflict) error {
		wrote = true
		return enc.Encode(c)
	})
	if !wrote {
		return err
	}
	return endStream(w, err)
}

// settleConflict answers the orders that end a conflict by f.
func settleConflict(m *Machine, w http.ResponseWriter, r *http.Request, f func(context.Context, string) error) error {
	p, err := drive.Clean(r.FormValue("path"))
	if err != nil {
		return err
	}
	c, err := m.settle(r.Context(), p, f)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(c)
}

// Conflicts calls f with the conflict copies at and below p, in the order of paths,
// until f returns an error.
func (c *Client) Conflicts(ctx context.Context, p string, f func(Conflict) error) error {
	body, err := c.do(ctx, http.MethodGet, "conflicts", nil, "path", p)
	if err != nil {
		return err
	}
	defer body.Close()
	return eachLine(body, f)
}

// KeepConflict makes the conflict copy at p what its path Of shows. It returns the
// conflict that is no more, and fails with tree.ErrNoConflict for what is none.
func (c *Client) KeepConflict(ctx context.Context, p string) (k Conflict, err error) {
	return k, c.one(ctx, http.MethodPost, "conflicts/keep", &k, "path", p)
}

// DropConflict removes the conflict copy at p. It returns the conflict that is no more,
// and fails with tree.ErrNoConflict for what is none.
func (c *Client) DropConflict(ctx context.Context, p string) (k Conflict, err error) {
	return k, c.one(ctx, http.MethodPost, "conflicts/drop", &k, "path", p)
}

// Conflict returns the conflict copy at p. It fails with tree.ErrNoConflict for
// everything else.
func (c *Client) Conflict(ctx context.Context, p string) (k Conflict, err error) {
	err = c.Conflicts(ctx, p, func(found Conflict) error {
		k = found
		return errFound
	})
	switch {
	case err != nil && !errors.Is(err, errFound):
		return k, err
	case err != nil && k.Path == path.Clean(p): // else it lies below p
		return k, nil
	}
	return k, fmt.Errorf("node: %s: %w", p, tree.ErrNoConflict)
}

// errFound ends a listing of which no more is wanted.
var errFound = errors.New("found")
