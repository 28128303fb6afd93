package pool

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/aether-lan/aether/store"
)

// Errors of opening and making pools.
var (
	// ErrNoPool reports a directory whose machine belongs to no pool.
	ErrNoPool = errors.New("pool: this machine belongs to no pool")
	// ErrExists reports a directory whose machine belongs to a pool already.
	ErrExists = errors.New("pool: this machine belongs to a pool already")
)

// The files of a machine's directory.
const (
	KeyFile    = "machine.key"
	SecretFile = "pool.secret"
)

// Pool is a machine's membership of a pool.
type Pool struct {
	// ID names the pool; it may be shown and announced.
	ID ID
	// Machine names this machine.
	Machine store.MachineID

	key  ed25519.PrivateKey
	ring *Ring
}

// Key returns the machine's private key.
func (p *Pool) Key() ed25519.PrivateKey { return p.key }

// Secret returns what the pool's machines have shared from the beginning: the secret
// of generation 0.
func (p *Pool) Secret() Secret { s, _ := p.ring.Secret(0); return s }

// Ring returns the secrets of all generations.
func (p *Pool) Ring() *Ring { return p.ring }

// Create makes a new pool, and this machine its first member. The directory is
// made when it is missing. The caller sees to it that nobody else works in dir. A
// passphrase that is not empty seals the files. It fails with ErrExists when the
// machine belongs to a pool.
func Create(dir string, passphrase []byte) (*Pool, error) {
	return enter(dir, NewSecret(), passphrase)
}

// Join makes this machine a member of the pool that secret opens; see [Create].
// Joining the same pool again changes nothing.
func Join(dir string, secret Secret, passphrase []byte) (*Pool, error) {
	switch {
	case secret.IsZero():
		return nil, fmt.Errorf("%w: the secret is empty", ErrBadText)
	case secret.Generation() != 0:
		return nil, fmt.Errorf("%w: the secret of a later generation does not say which pool it is", ErrBadText)
	}
	p, err := Open(dir, passphrase)
	switch {
	case errors.Is(err, ErrNoPool):
		return enter(dir, secret, passphrase)
	case err != nil:
		return nil, err
	case p.Secret() != secret:
		return nil, fmt.Errorf("%w: %v, not %v", ErrExists, p.ID, secret.ID())
	}
	return p, nil
}

// Open returns the membership kept in dir. It fails with ErrNoPool when there is
// none, ErrPassphrase when the files are sealed and passphrase does not fit,
// ErrExposed when other users may read them, ErrBadText when they are damaged.
func Open(dir string, passphrase []byte) (*Pool, error) {
	ring, err := loadRing(dir, passphrase)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (%s)", ErrNoPool, dir)
	}
	if err != nil {
		return nil, err
	}
	seed, err := load(dir, KeyFile, machinePrefix, passphrase)
	if err != nil {
		return nil, err
	}
	return newPool(seed, ring), nil
}

func newPool(seed [keySize]byte, ring *Ring) *Pool {
	key := ed25519.NewKeyFromSeed(seed[:])
	p := &Pool{Machine: store.MachineIDOf(key.Public().(ed25519.PublicKey)), key: key, ring: ring}
	p.ID = p.Secret().ID()
	return p
}

// enter writes the files. The secret comes last: a directory without it belongs to
// no pool, so a crash between the two leaves a key that the next try takes up.
func enter(dir string, secret Secret, passphrase []byte) (*Pool, error) {
	seed, err := takeUpKey(dir, passphrase)
	if err != nil {
		return nil, err
	}
	ring := newRing(secret)
	if err := ring.save(dir, passphrase); err != nil {
		return nil, err
	}
	return newPool(seed, ring), nil
}

func load(dir, name, prefix string, passphrase []byte) (b [keySize]byte, err error) {
	text, err := loadText(dir, name, passphrase)
	if err != nil {
		return b, err
	}
	if b, err = parseKeyText(prefix, text); err != nil {
		return b, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return b, nil
}

// loadText returns what is in a file of dir, opened with passphrase where it is sealed.
func loadText(dir, name string, passphrase []byte) (string, error) {
	path := filepath.Join(dir, name)
	raw, err := readPrivate(path)
	if err != nil {
		return "", err
	}
	text := string(raw)
	if isSealed(text) {
		if text, err = unseal(text, passphrase); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
	}
	return text, nil
}

func save(dir, name, prefix string, b [keySize]byte, passphrase []byte) error {
	return saveText(dir, name, keyText(prefix, b), passphrase)
}

// saveText writes a file of dir, sealed where there is a passphrase.
func saveText(dir, name, text string, passphrase []byte) error {
	if len(passphrase) > 0 {
		var err error
		if text, err = seal(text, passphrase, sealCost); err != nil {
			return err
		}
	}
	return writePrivate(filepath.Join(dir, name), []byte(text+"\n"))
}
