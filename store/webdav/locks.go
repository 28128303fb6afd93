package webdav

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
)

const (
	// maxLocks bounds the locks at any time.
	maxLocks = 4096
	maxOwner = 8 << 10 // bytes of what a lock says of its owner
	// maxTimeout is how long a lock lasts without a refresh, at most; whoever asks for
	// none in particular gets usualTimeout (RFC 4918 section 10.7).
	maxTimeout   = 24 * time.Hour
	usualTimeout = time.Hour
)

var (
	errTooManyLocks = errors.New("webdav: too many locks")
	errNoLock       = errors.New("webdav: no such lock")
)

// lock is a write lock (RFC 4918 section 6). It belongs to a path, not to what lies
// there (section 7.6: a MOVE takes no lock along).
type lock struct {
	Token    string        `json:"token"`
	Root     string        `json:"root"`            // the path it was taken out on
	Owner    string        `json:"owner,omitempty"` // XML that stands for itself
	Shared   bool          `json:"shared,omitempty"`
	Infinite bool          `json:"infinite,omitempty"` // it covers what is below Root too
	Timeout  time.Duration `json:"timeout"`
	Expires  time.Time     `json:"expires"`
}

// covers says that what is at p is locked by l.
func (l *lock) covers(p string) bool { return p == l.Root || l.Infinite && below(p, l.Root) }

// below says that p is dir or lies in it. Both are clean.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// lockedError reports the locks in the way of a request, whose tokens it did not
// bring.
type lockedError struct {
	conflict bool     // another lock was asked for
	roots    []string // the paths that the locks were taken out on
}

func (e *lockedError) Error() string {
	return "webdav: locked at " + strings.Join(e.roots, ", ")
}

// locks are all locks, and the writes under way, which no lock may be taken out on
// meanwhile. They are kept in kv, when there is one, so that they outlive the
// process.
type locks struct {
	kv store.KV

	mu      sync.Mutex
	byToken map[string]*lock
	writes  map[*write]bool
}

// write is a request that writes.
type write struct{ targets []target }

// target is what a request changes at a path.
type target struct {
	path    string
	deep    bool // and all below it
	members bool // it comes or goes, which changes the directory above it
}

var locksPrefix = []byte{store.PrefixWebDAV, 'l'}

func lockKey(token string) []byte { return append(slices.Clone(locksPrefix), token...) }

// openLocks returns the locks that kv holds; a nil kv holds none. The locks are
// usable although it returns an error.
func openLocks(kv store.KV, now time.Time) (*locks, error) {
	s := &locks{kv: kv, byToken: map[string]*lock{}, writes: map[*write]bool{}}
	if kv == nil {
		return s, nil
	}
	var bad error
	err := kv.Scan(locksPrefix, []byte{store.PrefixWebDAV, 'l' + 1}, func(k, v []byte) bool {
		l := &lock{}
		if err := json.Unmarshal(v, l); err != nil || l.Token != string(k[len(locksPrefix):]) {
			bad = errors.Join(bad, fmt.Errorf("webdav: lock %q cannot be read: %w", k, err))
			return true
		}
		s.byToken[l.Token] = l
		return len(s.byToken) < maxLocks
	})
	s.sweep(now)
	return s, errors.Join(err, bad)
}

// keep brings changes to the disk: the locks to set and those to remove.
func (s *locks) keep(set *lock, remove ...*lock) error {
	if s.kv == nil || set == nil && len(remove) == 0 {
		return nil
	}
	tx := s.kv.Begin()
	defer tx.Discard()
	if set != nil {
		b, err := json.Marshal(set)
		if err != nil {
			return fmt.Errorf("webdav: keep lock: %w", err)
		}
		_ = tx.Set(lockKey(set.Token), b) // Commit repeats its error
	}
	for _, l := range remove {
		_ = tx.Delete(lockKey(l.Token)) // Commit repeats its error
	}
	if err := tx.Commit(true); err != nil {
		return fmt.Errorf("webdav: keep locks: %w", err)
	}
	return nil
}

// sweep forgets locks that have expired.
func (s *locks) sweep(now time.Time) {
	s.forget(func(l *lock) bool { return !now.Before(l.Expires) })
}

// forget ends locks. A disk that is full must not keep anybody from writing less:
// what stays on it ends with its timeout.
func (s *locks) forget(which func(*lock) bool) {
	var gone []*lock
	for _, l := range s.byToken {
		if which(l) {
			gone = append(gone, l)
			delete(s.byToken, l.Token)
		}
	}
	_ = s.keep(nil, gone...)
}

// covering returns the locks on p, in the order of their roots.
func (s *locks) covering(p string) (list []*lock) {
	for _, l := range s.byToken {
		if l.covers(p) {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b *lock) int {
		return cmp.Or(strings.Compare(a.Root, b.Root), strings.Compare(a.Token, b.Token))
	})
	return list
}

// on returns copies of the locks on p.
func (s *locks) on(now time.Time, p string) (list []lock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.covering(p) {
		if now.Before(l.Expires) {
			list = append(list, *l)
		}
	}
	return list
}

// create takes l out, which needs no Token yet. It fails with a lockedError
// (section 6.1: exclusive locks conflict with all, shared ones with exclusive ones)
// and with errTooManyLocks.
func (s *locks) create(now time.Time, l lock) (lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	if len(s.byToken) >= maxLocks {
		return l, errTooManyLocks
	}
	locked := &lockedError{conflict: true}
	for _, o := range s.byToken {
		if (o.covers(l.Root) || l.covers(o.Root)) && !(o.Shared && l.Shared) {
			locked.roots = append(locked.roots, o.Root)
		}
	}
	for w := range s.writes {
		for _, t := range w.targets {
			if l.covers(t.path) || t.deep && below(l.Root, t.path) {
				locked.roots = append(locked.roots, t.path)
			}
		}
	}
	if len(locked.roots) > 0 {
		slices.Sort(locked.roots)
		locked.roots = slices.Compact(locked.roots)
		return l, locked
	}
	l.Token = newToken()
	l.Timeout = min(l.Timeout, maxTimeout)
	l.Expires = now.Add(l.Timeout)
	if err := s.keep(&l); err != nil {
		return l, err
	}
	s.byToken[l.Token] = &l
	return l, nil
}

// newToken returns a URI that no other lock has or had (section 6.5): a random UUID
// (RFC 9562 section 5.4).
func newToken() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// refresh starts the timeout of a lock anew; a timeout of zero is the one before. It
// fails with errNoLock where no lock on p has the token.
func (s *locks) refresh(now time.Time, p, token string, timeout time.Duration) (lock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	old := s.byToken[token]
	if old == nil || !old.covers(p) {
		return lock{}, errNoLock
	}
	l := *old
	if timeout > 0 {
		l.Timeout = min(timeout, maxTimeout)
	}
	l.Expires = now.Add(l.Timeout)
	if err := s.keep(&l); err != nil {
		return lock{}, err
	}
	s.byToken[token] = &l
	return l, nil
}

// unlock gives a lock on p back. It fails with errNoLock as refresh does.
func (s *locks) unlock(now time.Time, p, token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	l := s.byToken[token]
	if l == nil || !l.covers(p) {
		return errNoLock
	}
	if err := s.keep(nil, l); err != nil {
		return err
	}
	delete(s.byToken, token)
	return nil
}

// drop forgets the locks on what was at p and below: DELETE and MOVE end them
// (sections 9.6 and 9.9).
func (s *locks) drop(p string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(func(l *lock) bool { return below(l.Root, p) })
}

// enter begins a write, which lasts until leave is called: for all locks in its way
// it must have brought tokens, one of them where several shared ones cover the same
// (section 7.1). It fails with a lockedError.
func (s *locks) enter(now time.Time, tokens map[string]bool, targets ...target) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	locked := &lockedError{}
	for _, t := range targets {
		locked.roots = append(locked.roots, s.inTheWay(t, tokens)...)
	}
	if len(locked.roots) > 0 {
		slices.Sort(locked.roots)
		locked.roots = slices.Compact(locked.roots)
		return nil, locked
	}
	w := &write{targets}
	s.writes[w] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.writes, w)
	}, nil
}

// inTheWay returns the roots of the locks that forbid changing t to whoever has
// tokens.
func (s *locks) inTheWay(t target, tokens map[string]bool) (roots []string) {
	check := func(list []*lock) {
		if len(list) > 0 && !slices.ContainsFunc(list, func(l *lock) bool { return tokens[l.Token] }) {
			roots = append(roots, list[0].Root)
		}
	}
	check(s.covering(t.path))
	if t.members { // section 7.4: a lock on a directory protects its list of members
		check(s.covering(parent(t.path)))
	}
	if t.deep {
		for _, l := range s.byToken {
			if l.Root != t.path && below(l.Root, t.path) {
				check(s.covering(l.Root))
			}
		}
	}
	return roots
}
