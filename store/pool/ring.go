package pool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Errors of a Ring.
var (
	// ErrRingFull reports a pool that has had as many generations as there can be.
	ErrRingFull = errors.New("pool: no further generation of keys is possible")
	// ErrClash reports two secrets that say that they are the same generation.
	ErrClash = errors.New("pool: another secret has this generation")
)

const (
	// MaxGenerations is how many generations a pool can have, the first included.
	MaxGenerations = 1024

	generationPrefix = "aether-generation-1-"
	// A generation is the number of the generation before plus one, and below that
	// bits of a hash of the secret, which tell two apart that were begun at the same
	// time.
	markBits = 22
)

// Ring holds the secrets of a pool by generation. The first, whose generation is 0,
// says which pool it is; a later one begins when somebody may no longer read what is
// written from then on. A generation is a number that orders them: of two that
// machines began without knowing of each other the greater is the newer, and all
// machines agree. The numbers are not dense.
//
// A Ring is safe for concurrent use.
type Ring struct {
	mu      sync.RWMutex
	secrets map[uint32]Secret
	newest  uint32
}

// newRing returns the Ring of a pool that has had no second generation.
func newRing(first Secret) *Ring {
	return &Ring{secrets: map[uint32]Secret{0: first}}
}

// Generation returns the generation of s: 0 for the one that a pool begins with.
func (s Secret) Generation() uint32 {
	if s.number == 0 {
		return 0
	}
	mark := binary.BigEndian.Uint32(s.derive("aether generation 1", 4))
	return s.number<<markBits | mark>>(32-markBits)
}

// Newest returns the newest generation: what is written, is written under it.
func (r *Ring) Newest() uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.newest
}

// Secret returns the secret of a generation; ok is false where the machine does not
// have it.
func (r *Ring) Secret(generation uint32) (s Secret, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok = r.secrets[generation]
	return s, ok
}

// Generations returns the generations that the machine has, oldest first.
func (r *Ring) Generations() []uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.secrets))
}

// Next returns a fresh secret that is newer than all in r. It is not added. It fails
// with ErrRingFull behind generation number [MaxGenerations].
func (r *Ring) Next() (Secret, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	number := r.newest>>markBits + 1
	if number >= MaxGenerations || len(r.secrets) >= MaxGenerations {
		return Secret{}, ErrRingFull
	}
	s := NewSecret()
	s.number = number
	return s, nil
}

// Add adds a secret, and keeps it in the machine's directory dir: when it returns,
// the file is whole and on the disk. passphrase is what the file is sealed with;
// empty where it is not. A secret that is there already changes nothing. It fails
// with ErrClash, ErrRingFull, and ErrPassphrase where the file is sealed with another
// passphrase: r is then what it was.
func (r *Ring) Add(dir string, s Secret, passphrase []byte) error {
	return r.AddAll(dir, []Secret{s}, passphrase)
}

// AddAll is [Ring.Add] for several secrets, all or none.
func (r *Ring) AddAll(dir string, more []Secret, passphrase []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := &Ring{secrets: maps.Clone(r.secrets), newest: r.newest}
	for _, s := range more {
		if err := next.take(s); err != nil {
			return err
		}
	}
	if len(next.secrets) == len(r.secrets) {
		return nil
	}
	// What is there is opened first: a sealed file must not be replaced by an open one.
	old, err := loadRing(dir, passphrase)
	if err != nil {
		return err
	}
	if old.secrets[0] != r.secrets[0] {
		return fmt.Errorf("%w: %s is another pool's", ErrExists, filepath.Join(dir, SecretFile))
	}
	if err := next.save(dir, passphrase); err != nil {
		return err
	}
	r.secrets, r.newest = next.secrets, next.newest
	return nil
}

// Save writes the file anew, sealed with passphrase, open where it is empty.
func (r *Ring) Save(dir string, passphrase []byte) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.save(dir, passphrase)
}

// take adds s in memory.
func (r *Ring) take(s Secret) error {
	if s.b == ([keySize]byte{}) {
		return fmt.Errorf("%w: the secret is empty", ErrBadText)
	}
	g := s.Generation()
	switch old, ok := r.secrets[g]; {
	case ok && old == s:
		return nil
	case ok:
		return fmt.Errorf("%w: %d", ErrClash, g)
	case len(r.secrets) >= MaxGenerations:
		return ErrRingFull
	}
	r.secrets[g] = s
	r.newest = max(r.newest, g)
	return nil
}

// text returns a line a generation, oldest first.
func (r *Ring) text() string {
	var b strings.Builder
	for i, g := range slices.Sorted(maps.Keys(r.secrets)) {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.secrets[g].Text())
	}
	return b.String()
}

func (r *Ring) save(dir string, passphrase []byte) error {
	return saveText(dir, SecretFile, r.text(), passphrase)
}

func loadRing(dir string, passphrase []byte) (*Ring, error) {
	text, err := loadText(dir, SecretFile, passphrase)
	if err != nil {
		return nil, err
	}
	r, err := parseRing(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, SecretFile), err)
	}
	return r, nil
}

// parseRing reads what text writes: the first generation, then others, each newer
// than the one before.
func parseRing(text string) (*Ring, error) {
	lines := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	if len(lines) > MaxGenerations {
		return nil, fmt.Errorf("%w: %d generations, at most %d", ErrBadText, len(lines), MaxGenerations)
	}
	var r *Ring
	for i, line := range lines {
		s, err := ParseSecret(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		switch g := s.Generation(); {
		case i == 0 && g == 0:
			r = newRing(s)
			continue
		case i == 0:
			return nil, fmt.Errorf("%w: the first generation is missing", ErrBadText)
		case g <= r.newest:
			return nil, fmt.Errorf("%w: line %d is not newer than the one before", ErrBadText, i+1)
		}
		if err := r.take(s); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return r, nil
}

// ParseSecrets reads what is in the file of a machine that no passphrase seals: the
// secret that the pool begins with, and those that came later. The error wraps
// ErrBadText and repeats nothing of the text.
func ParseSecrets(text string) (first Secret, later []Secret, err error) {
	r, err := parseRing(strings.TrimSpace(text))
	if err != nil {
		return Secret{}, nil, err
	}
	for _, g := range r.Generations() {
		if g > 0 {
			later = append(later, r.secrets[g])
		}
	}
	return r.secrets[0], later, nil
}

// generationText returns what a line of generation number begins with.
func generationText(number uint32) string {
	return generationPrefix + strconv.FormatUint(uint64(number), 10) + "-"
}

// parseGeneration reads the number behind generationPrefix, in its only form.
func parseGeneration(s string) (number uint32, ok bool) {
	rest, ok := strings.CutPrefix(s, generationPrefix)
	if !ok {
		return 0, false
	}
	digits, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 || n >= MaxGenerations || strconv.FormatUint(n, 10) != digits {
		return 0, false
	}
	return uint32(n), true
}
