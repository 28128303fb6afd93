package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// serveRekey answers how far the sealing anew has come.
func serveRekey(m *Machine, w http.ResponseWriter, r *http.Request) error {
	state, err := m.CountRekey(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(state)
}

// orderRekey orders it.
func orderRekey(m *Machine, w http.ResponseWriter, r *http.Request) error {
	var limit int64
	if s := r.FormValue("rate"); s != "" {
		var err error
		if limit, err = strconv.ParseInt(s, 10, 64); err != nil || limit < 0 {
			return fmt.Errorf("node: %w: rate %q", errBadRequest, s)
		}
	}
	if flag(r, "new") {
		if err := m.newGeneration(r.Context()); err != nil {
			return err
		}
	}
	if m.newestGeneration() > 0 { // else nothing can be older
		if err := m.OrderRekey(r.Context(), limit); err != nil {
			return err
		}
	}
	return serveRekey(m, w, r)
}

// rekeyState returns what the machine last saw of the sealing anew, nil where it was
// never ordered.
func (m *Machine) rekeyState() *Rekey {
	if s := m.rekeying.state(); s.Ordered {
		return &s
	}
	return nil
}

// Rekey returns how far the sealing anew has come; see [Machine.CountRekey].
func (c *Client) Rekey(ctx context.Context) (r Rekey, err error) {
	return r, c.one(ctx, http.MethodGet, "rekey", &r)
}

// OrderRekey orders it, with at most limit bytes a second on each machine (0: no
// limit), and with fresh begins a new generation of keys before; see
// [Machine.OrderRekey].
func (c *Client) OrderRekey(ctx context.Context, limit int64, fresh bool) (r Rekey, err error) {
	return r, c.one(ctx, http.MethodPost, "rekey", &r, "rate", strconv.FormatInt(limit, 10), "new", strconv.FormatBool(fresh))
}
