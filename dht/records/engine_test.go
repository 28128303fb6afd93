package records

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// alone is the engine of a ring of one, whose disk is instant.
type alone struct {
	t   *testing.T
	e   *Engine
	now time.Time
	n   byte
}

func newAlone(t *testing.T, cfg Config) *alone {
	a := &alone{t: t, now: start}
	cfg.Self.ID, cfg.Self.Incarnation = dht.ID{19: 7}, max(cfg.Self.Incarnation, 1)
	a.e = New(cfg)
	a.e.HandleView(a.now, dht.View{Self: cfg.Self, Predecessor: cfg.Self, Successors: []dht.Peer{cfg.Self}})
	return a
}

// do runs a request to its end.
func (a *alone) do(q Request) Response {
	a.t.Helper()
	if q.ID == (RequestID{}) {
		a.n++
		q.ID[0] = a.n
	}
	a.e.Do(a.now, q)
	for range 1000 {
		if _, seq, ok := a.e.Unsaved(); ok {
			a.e.Saved(a.now, seq)
		}
		for _, v := range a.e.Events() {
			if v, ok := v.(Answered); ok && v.Response.ID == q.ID {
				return v.Response
			}
		}
		t, ok := a.e.NextTimeout()
		if !ok {
			break
		}
		if t.After(a.now) {
			a.now = t
		}
		a.e.HandleTimeout(a.now)
	}
	a.t.Fatalf("%v %q is not answered", q.Op, q.Name)
	return Response{}
}

func TestEngine_Alone(t *testing.T) {
	a := newAlone(t, Config{})
	for _, s := range []struct {
		q       Request
		status  Status
		version uint64
		value   string
	}{
		{Request{Op: Get, Name: "a"}, NotFound, 0, ""},
		{Request{Op: Put, Name: "a", Value: []byte("1")}, OK, 1, "1"},
		{Request{Op: Get, Name: "a"}, OK, 1, "1"},
		{Request{Op: Swap, Name: "a", Version: 2, Value: []byte("x")}, Conflict, 1, "1"},
		{Request{Op: Swap, Name: "a", Version: 1, Value: []byte("2")}, OK, 2, "2"},
		{Request{Op: Delete, Name: "a", Version: 1}, Conflict, 2, "2"},
		{Request{Op: Delete, Name: "a"}, OK, 3, ""},
		{Request{Op: Get, Name: "a"}, NotFound, 3, ""},
		{Request{Op: Swap, Name: "a", Version: 0, Value: []byte("3")}, OK, 4, "3"},
		{Request{Op: Delete, Name: "b"}, NotFound, 0, ""},
	} {
		r := a.do(s.q)
		if r.Status != s.status || r.Record.Version != s.version || string(r.Record.Value) != s.value {
			t.Errorf("%v %q: %v, version %d, %q; want %v, %d, %q", s.q.Op, s.q.Name, r.Status, r.Record.Version, r.Record.Value, s.status, s.version, s.value)
		}
	}
}
