package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// replicasName is the extended attribute of a directory that says how many machines
// keep each file at and below it: a number from 1 to [MaxReplicas] in decimal.
const replicasName = drive.OwnAttributes + "replicas"

// MaxReplicas is the most copies that can be asked for.
const MaxReplicas = 64

// Replicas says how many copies are wanted of what lies in a directory.
type Replicas struct {
	// Path is the directory asked about, From the one that the number comes from;
	// empty: from the settings of this machine.
	Path string `json:"path"`
	From string `json:"from,omitempty"`
	// Copies is the number, Machines how many there are that can keep one.
	Copies   int `json:"copies"`
	Machines int `json:"machines"`
}

// markKey remembers a directory that has, or had, a number of its own.
func markKey(id store.FileID) []byte { return append([]byte{store.PrefixNode, 'r'}, id[:]...) }

// loadMarks reads which directories may have a number of their own.
func loadMarks(r store.Reader) (map[store.FileID]bool, error) {
	marked := map[store.FileID]bool{}
	err := r.Scan([]byte{store.PrefixNode, 'r'}, []byte{store.PrefixNode, 'r' + 1}, func(k, _ []byte) bool {
		if len(k) == 2+len(store.FileID{}) {
			marked[store.FileID(k[2:])] = true
		}
		return true
	})
	return marked, err
}

// mark takes note of an operation that may change how many copies are wanted. The
// number itself is always read from the tree.
func (c *core) mark(tx store.Txn, op *tree.Op) error {
	if op.Kind != tree.KindXattr || op.Name != replicasName {
		return nil
	}
	c.wantBalance()
	c.choosing.marked[op.Node] = true
	return tx.Set(markKey(op.Node), nil)
}

// wanted returns how many machines shall keep what lies in a directory: what is said of
// it or of the next directory above of which something is said, else the setting.
func (c *core) wanted(r store.Reader, dir func() (store.FileID, error)) int {
	n, _ := c.wantedFrom(r, dir)
	return n
}

// maxAbove bounds how far up is looked.
const maxAbove = 4096

// wantedFrom is wanted, and returns the directory of which it is said; nil: of none.
func (c *core) wantedFrom(r store.Reader, dir func() (store.FileID, error)) (int, *store.FileID) {
	if len(c.choosing.marked) == 0 {
		return min(c.m.copiesWanted(), MaxReplicas), nil
	}
	id, err := dir()
	for range maxAbove {
		if err != nil {
			break
		}
		if c.choosing.marked[id] {
			if n, ok := replicasOf(c.m.tree, r, id); ok {
				return n, &id
			}
		}
		if id == tree.Root {
			break
		}
		id, err = c.m.tree.Home(r, id)
	}
	return min(c.m.copiesWanted(), MaxReplicas), nil
}

// replicasOf reads the number that is said of a directory.
func replicasOf(t *tree.Tree, r store.Reader, id store.FileID) (int, bool) {
	b, err := t.Xattr(r, id, replicasName)
	if err != nil || len(b) > 3 {
		return 0, false
	}
	n, err := strconv.Atoi(string(b))
	return n, err == nil && n >= 1 && n <= MaxReplicas
}

// wantedOf returns how many machines shall keep the file id.
func (c *core) wantedOf(r store.Reader, id store.FileID) int {
	return c.wanted(r, func() (store.FileID, error) { return c.m.tree.Home(r, id) })
}

// Replicas returns how many copies are wanted of what lies at and below p.
func (m *Machine) Replicas(ctx context.Context, p string) (r Replicas, err error) {
	e, err := m.drive.Stat(p)
	if err != nil {
		return r, err
	}
	r.Path = e.Path
	var from *store.FileID
	err = m.core.call(ctx, func() {
		r.Copies, from = m.core.wantedFrom(m.kv, func() (store.FileID, error) {
			if e.Dir {
				return e.ID, nil
			}
			return m.tree.Home(m.kv, e.ID)
		})
		r.Machines = m.core.keepers()
	})
	if err != nil || from == nil {
		return r, err
	}
	for at := r.Path; r.From == ""; at = path.Dir(at) {
		if up, err := m.drive.Stat(at); err == nil && up.ID == *from || at == "/" {
			r.From = at
		}
	}
	return r, nil
}

// SetReplicas sets how many machines shall keep each file below the directory p; 0
// takes back what was said of it, so that what is said of the directory above holds.
func (m *Machine) SetReplicas(ctx context.Context, p string, n int) error {
	e, err := m.drive.Stat(p)
	switch {
	case err != nil:
		return err
	case !e.Dir:
		return fmt.Errorf("node: replicas %s: %w", p, tree.ErrNotDir)
	case n < 0 || n > MaxReplicas:
		return fmt.Errorf("node: replicas %s: %w: %d copies, want 1 to %d", p, errBadRequest, n, MaxReplicas)
	case n > 0:
		return m.drive.SetXattr(ctx, e.Path, replicasName, []byte(strconv.Itoa(n)))
	}
	err = m.drive.RemoveXattr(ctx, e.Path, replicasName)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func serveReplicas(m *Machine, w http.ResponseWriter, r *http.Request) error {
	if s := r.FormValue("copies"); r.Method == http.MethodPost {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("node: %w: copies %q", errBadRequest, s)
		}
		if err := m.SetReplicas(r.Context(), r.FormValue("path"), n); err != nil {
			return err
		}
	}
	got, err := m.Replicas(r.Context(), r.FormValue("path"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(got)
}

// Replicas returns how many copies are wanted of what lies at and below p.
func (c *Client) Replicas(ctx context.Context, p string) (r Replicas, err error) {
	return r, c.one(ctx, http.MethodGet, "replicas", &r, "path", p)
}

// SetReplicas sets how many machines shall keep each file below the directory p; 0
// takes back what was said of it. It returns what holds then.
func (c *Client) SetReplicas(ctx context.Context, p string, n int) (r Replicas, err error) {
	return r, c.one(ctx, http.MethodPost, "replicas", &r, "path", p, "copies", strconv.Itoa(n))
}
