package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Happening is one thing that happened on this machine, for who follows.
type Happening struct {
	// Time is when, by this machine's clock.
	Time time.Time `json:"time"`
	// Kind is connected, disconnected, refused or fault (a machine), alarm or cleared, stored,
	// removed or conflict (a file or directory of the drive, by any machine), held (a
	// copy that is now on this disk) or lost (Count things that came too fast).
	Kind string `json:"kind"`
	// Machine is the name of the machine that it is about; of stored and conflict, who
	// wrote it.
	Machine string `json:"machine,omitempty"`
	// Path is the file or directory, and Size its bytes.
	Path string `json:"path,omitempty"`
	Size int64  `json:"size,omitempty"`
	// Text says more.
	Text string `json:"text,omitempty"`
	// Count is how many were lost.
	Count int64 `json:"count,omitempty"`
}

// The kinds of happenings that are no [EventKind].
const (
	HappenedAlarm    = "alarm"
	HappenedCleared  = "cleared"
	HappenedStored   = "stored"
	HappenedRemoved  = "removed"
	HappenedConflict = "conflict"
	HappenedHeld     = "held"
	HappenedLost     = "lost"
)

const (
	// happeningsKept is how many of the latest are shown to who begins to follow; files
	// are not among them.
	happeningsKept = 256
	// followQueue is how many wait for one follower; what does not fit is counted.
	followQueue = 4096
)

// happenings are the latest, and who follows.
type happenings struct {
	mu        sync.Mutex
	latest    []Happening
	followers map[*follower]bool
	any       atomic.Bool // somebody follows
}

// follower is who wants to hear.
type follower struct {
	queue chan seen
	lost  atomic.Int64
}

// seen is a happening, or what of it is to be looked up when it is told: a name that
// shows something else, or a copy that is here.
type seen struct {
	Happening
	name *tree.Event
	file store.FileID
}

func (f *follower) hear(s seen) {
	select {
	case f.queue <- s:
	default:
		f.lost.Add(1)
	}
}

// happened tells followers, and keeps h for those to come. It may be called from
// anywhere.
func (m *Machine) happened(h Happening) {
	h.Time = m.now().UTC()
	m.happenings.mu.Lock()
	defer m.happenings.mu.Unlock()
	if len(m.happenings.latest) == happeningsKept {
		m.happenings.latest = append(m.happenings.latest[:0], m.happenings.latest[1:]...)
	}
	m.happenings.latest = append(m.happenings.latest, h)
	for f := range m.happenings.followers {
		f.hear(seen{Happening: h})
	}
}

// held tells followers that a copy is here.
func (m *Machine) held(file store.FileID) {
	if !m.happenings.any.Load() {
		return
	}
	s := seen{Happening: Happening{Time: m.now().UTC(), Kind: HappenedHeld}, file: file}
	m.happenings.mu.Lock()
	defer m.happenings.mu.Unlock()
	for f := range m.happenings.followers {
		f.hear(s)
	}
}

// noting returns an Event function that keeps what followers want to know.
func (m *Machine) noting(tell func(Event)) func(Event) {
	return func(ev Event) {
		h := Happening{Kind: string(ev.Kind), Text: ev.Reason}
		switch ev.Kind {
		case EventConnected, EventRefused, EventFault:
			if ev.Address.IsValid() {
				h.Text = fmt.Sprintf("at %s %s", ev.Address, ev.Reason)
			}
			fallthrough
		case EventDisconnected:
			h.Machine = ev.Machine.String() // it may have no name yet
			m.happened(h)
		}
		if tell != nil {
			tell(ev)
		}
	}
}

// Follow calls f with the latest happenings, but for changes of the drive, and where on
// is set with all that follow, until ctx ends or f returns an error.
func (m *Machine) Follow(ctx context.Context, on bool, f func(Happening) error) error {
	fo := &follower{queue: make(chan seen, followQueue)}
	hs := &m.happenings
	hs.mu.Lock()
	latest := append([]Happening(nil), hs.latest...)
	if on {
		if hs.followers == nil {
			hs.followers = map[*follower]bool{}
		}
		hs.followers[fo] = true
		hs.any.Store(true)
	}
	hs.mu.Unlock()
	defer func() {
		hs.mu.Lock()
		defer hs.mu.Unlock()
		delete(hs.followers, fo)
		hs.any.Store(len(hs.followers) > 0)
	}()
	for _, h := range latest {
		if err := f(m.named(h)); err != nil {
			return err
		}
	}
	if !on {
		return nil
	}
	defer m.drive.Watch(nil, func(ev tree.Event) {
		fo.hear(seen{Happening: Happening{Time: m.now().UTC()}, name: &ev})
	})()
	return m.tellFollower(ctx, fo, f)
}

// tellFollower tells what comes until ctx ends.
func (m *Machine) tellFollower(ctx context.Context, fo *follower, f func(Happening) error) error {
	told := map[string]store.Dot{} // which version of a file was told last
	var ended <-chan struct{}
	if sv := m.serving.Load(); sv != nil {
		ended = sv.ended
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			return nil
		case <-m.background.Done():
			return nil
		case s := <-fo.queue:
			h, ok := m.lookUp(s, told)
			if n := fo.lost.Swap(0); n > 0 {
				if err := f(Happening{Time: h.Time, Kind: HappenedLost, Count: n}); err != nil {
					return err
				}
			}
			if !ok {
				continue
			}
			if err := f(h); err != nil {
				return err
			}
		}
	}
}

// named puts the name of a machine in the place of its ID.
func (m *Machine) named(h Happening) Happening {
	if id, err := store.ParseMachineID(h.Machine); err == nil {
		h.Machine = m.NameOf(id)
	}
	return h
}

// toldMax bounds the files of which the last version told is remembered.
const toldMax = 4096

// lookUp completes a happening; false means that there is nothing to tell.
func (m *Machine) lookUp(s seen, told map[string]store.Dot) (Happening, bool) {
	h := s.Happening
	var err error
	switch {
	case s.file != store.FileID{}:
		h.Path, err = m.tree.Path(m.kv, s.file)
		return h, err == nil
	case s.name == nil:
		return m.named(h), true
	case s.name.Name == "": // so much that nobody says what
		h.Kind, h.Path = HappenedStored, "/"
		return h, true
	}
	dir, err := m.tree.Path(m.kv, s.name.Dir)
	if err != nil {
		return h, false
	}
	h.Path = path.Join(dir, s.name.Name)
	e, err := m.tree.Child(m.kv, s.name.Dir, s.name.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		h.Kind = HappenedRemoved
		delete(told, h.Path)
		return h, true
	case err != nil:
		return h, false
	}
	h.Kind, h.Size, h.Machine = HappenedStored, e.Version.Content.Size, m.authorOf(e.Version.Dot)
	if e.Conflict {
		h.Kind = HappenedConflict
	}
	if last, again := told[h.Path]; again && last == e.Version.Dot {
		return h, false // one change may touch a name twice
	}
	if len(told) >= toldMax {
		clear(told)
	}
	told[h.Path] = e.Version.Dot
	return h, true
}

// serveLog writes a Happening a line.
func serveLog(m *Machine, w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, rc := json.NewEncoder(w), http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush() // who follows knows that it has begun
	_ = m.Follow(r.Context(), flag(r, "follow"), func(h Happening) error {
		return errors.Join(enc.Encode(h), rc.Flush())
	}) // an error means that nobody reads any more
	return nil
}

// Log calls f with the latest happenings of the machine, and with on set with all that
// follow, until ctx ends or f returns an error. It needs a node that runs.
func (c *Client) Log(ctx context.Context, on bool, f func(Happening) error) error {
	body, err := c.do(ctx, http.MethodGet, "log", nil, "follow", fmt.Sprint(on))
	if err != nil {
		return err
	}
	defer body.Close()
	err = eachLine(body, f)
	if err == nil && on && ctx.Err() == nil {
		err = fmt.Errorf("node: log: %w", ErrCut)
	}
	return err
}
