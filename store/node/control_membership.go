package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// handleMembership serves what concerns who belongs.
func handleMembership(m *Machine, handle func(pattern string, f func(w http.ResponseWriter, r *http.Request) error)) {
	handle("GET /v1/members", func(w http.ResponseWriter, r *http.Request) error {
		list, err := m.Members(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(list)
	})
	handle("POST /v1/invite", func(w http.ResponseWriter, r *http.Request) error {
		l := newLineWriter[InviteEvent](w)
		return l.end(m.Invite(r.Context(), l.write))
	})
	handle("POST /v1/leave", func(w http.ResponseWriter, r *http.Request) error {
		l := newLineWriter[LeaveProgress](w)
		return l.end(m.Leave(r.Context(), flag(r, "now"), l.write))
	})
	handle("POST /v1/join", func(w http.ResponseWriter, r *http.Request) error {
		var req joinOrder
		err := json.NewDecoder(io.LimitReader(r.Body, maxJoinOrder)).Decode(&req)
		if err != nil {
			return fmt.Errorf("%w: join: %w", errBadRequest, err)
		}
		code, err := pool.ParseCode(req.Code)
		if err != nil {
			return fmt.Errorf("%w: join: %w", errBadRequest, err)
		}
		j, err := m.Rejoin(r.Context(), JoinConfig{Code: code, At: req.At, Interfaces: req.Interfaces})
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(j)
	})
	about := func(order func(context.Context, store.MachineID) error) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			id, err := m.FindMember(r.Context(), r.FormValue("machine"))
			if err == nil {
				err = order(r.Context(), id)
			}
			if err != nil {
				return err
			}
			w.Header().Set("Content-Type", "application/json")
			return json.NewEncoder(w).Encode(named{id, m.NameOf(id)})
		}
	}
	handle("POST /v1/forget", about(m.Forget))
	handle("POST /v1/revoke", about(m.Revoke))
}

// joinOrder has the node that runs join a pool. The code is in the body, not in the URL,
// which others might keep.
type joinOrder struct {
	Code       string   `json:"code"`
	At         string   `json:"at,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
}

// maxJoinOrder bounds a joinOrder, in bytes.
const maxJoinOrder = 64 << 10

// lineWriter writes an answer of a JSON value a line, each at once.
type lineWriter[T any] struct {
	w       http.ResponseWriter
	started bool
}

func newLineWriter[T any](w http.ResponseWriter) *lineWriter[T] { return &lineWriter[T]{w: w} }

func (l *lineWriter[T]) write(v T) {
	if !l.started {
		l.started = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	_ = json.NewEncoder(l.w).Encode(v) // who has gone also ends the request's context
	_ = http.NewResponseController(l.w).Flush()
}

// end ends the answer: with err as its status where nothing was written.
func (l *lineWriter[T]) end(err error) error {
	if !l.started {
		return err
	}
	return endStream(l.w, err)
}

// Members returns the machines that belong to the pool or did.
func (c *Client) Members(ctx context.Context) (list []MemberStatus, err error) {
	return list, c.one(ctx, http.MethodGet, "members", &list)
}

// Invite lets one machine into the pool, with the code of the first event, and calls f
// with what happens. It returns nil when a machine has joined; see [Machine.Invite].
func (c *Client) Invite(ctx context.Context, f func(InviteEvent) error) error {
	return stream(ctx, c, "invite", f)
}

// Join has the machine join the pool of one that invites; see [Machine.Rejoin].
func (c *Client) Join(ctx context.Context, how JoinConfig) (j Joined, err error) {
	b, err := json.Marshal(joinOrder{Code: how.Code.Text(), At: how.At, Interfaces: how.Interfaces})
	if err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	body, err := c.do(ctx, http.MethodPost, "join", bytes.NewReader(b))
	if err != nil {
		return j, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&j); err != nil {
		return j, fmt.Errorf("node: join: %w", err)
	}
	return j, nil
}

// Leave ends the machine's membership; see [Machine.Leave]. It calls f with how far it
// is.
func (c *Client) Leave(ctx context.Context, atOnce bool, f func(LeaveProgress) error) error {
	now := ""
	if atOnce {
		now = "true"
	}
	return stream(ctx, c, "leave", f, "now", now)
}

// stream calls f with each line of an answer.
func stream[T any](ctx context.Context, c *Client, endpoint string, f func(T) error, kv ...string) error {
	body, err := c.do(ctx, http.MethodPost, endpoint, nil, kv...)
	if err != nil {
		return err
	}
	defer body.Close()
	err = eachLine(body, f)
	var remote *remoteError
	if errors.As(err, &remote) {
		return remote // the answer is whole: it says why there is no more
	}
	return err
}

// Forget gives up a machine that will not come back; see [Machine.Forget]. word is its
// name, its ID or what its ID alone begins with. It returns who was meant.
func (c *Client) Forget(ctx context.Context, word string) (id store.MachineID, name string, err error) {
	return c.about(ctx, "forget", word)
}

// Revoke ends a machine's membership for ever; see [Machine.Revoke] and [Client.Forget].
func (c *Client) Revoke(ctx context.Context, word string) (id store.MachineID, name string, err error) {
	return c.about(ctx, "revoke", word)
}

func (c *Client) about(ctx context.Context, endpoint, word string) (store.MachineID, string, error) {
	var n named
	err := c.one(ctx, http.MethodPost, endpoint, &n, "machine", word)
	return n.Machine, n.Name, err
}
