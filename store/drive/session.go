package drive

import (
	"errors"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/segment"
)

// session is the chunks that a writer has put, or found, and that no version of
// the tree leads to yet: whoever removes garbage leaves them alone. It is safe for
// concurrent use.
type session struct {
	d *Drive

	mu   sync.Mutex
	refs []store.Ref
}

func (d *Drive) begin() *session {
	s := &session{d: d}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s] = true
	return s
}

// end lets go of what was put: it is garbage unless a version leads to it.
func (s *session) end() {
	defer s.d.garbage.changes.Add(1)
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	delete(s.d.sessions, s)
}

// forget says that versions lead to all that was put until now.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs = s.refs[:0]
}

func (s *session) note(ref store.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refs = append(s.refs, ref)
}

// put keeps a sealed chunk. Where there is no room for it garbage is collected.
func (s *session) put(c chunk.Sealed) error {
	s.note(c.Ref)
	s.d.activity.wrote(c.Body)
	seen := s.d.garbage.runs.Load()
	err := s.d.cfg.Bodies.Put(c.Ref, c.Body, segment.Replica)
	for end := time.Now().Add(patience); errors.Is(err, store.ErrFull); {
		if !s.d.reclaim(seen) && (s.d.cfg.OthersTake == nil || time.Now().After(end) || !s.d.cfg.OthersTake(s.d.cfg.Context)) {
			break
		}
		seen = s.d.garbage.runs.Load()
		err = s.d.cfg.Bodies.Put(c.Ref, c.Body, segment.Replica)
	}
	return err
}

// patience is how long a writer waits for room that other machines make.
const patience = 5 * time.Second

// have reports whether a chunk is here. From then on it stays here.
func (s *session) have(ref store.Ref) bool {
	s.note(ref)
	return s.d.Hold(ref)
}
