package peer

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
)

// Space is the circle of all rings of this package: 160 bits, as in the Chord paper.
func Space() dht.Space {
	s, err := dht.NewSpace(dht.MaxBits)
	if err != nil {
		panic(err) // a constant
	}
	return s
}

// IDOf returns the ID of the node that holds the private half of key. It is a hash, so
// that no node can choose its place on the ring, nor take another's (Chord, section IV-A).
func IDOf(key ed25519.PublicKey) dht.ID {
	sum := sha256.Sum256(key)
	return Space().Hash(sum[:])
}

// KeyID returns the point of the circle at which a name is kept.
func KeyID(name string) dht.ID { return records.Key(Space(), name) }

// identityFile holds the node's private key, readable by its owner alone.
const identityFile = "identity.json"

// savedIdentity is what identityFile holds.
type savedIdentity struct {
	Format int    `json:"format"`
	Seed   string `json:"seed"` // of the Ed25519 key, hexadecimal
}

const identityFormat = 1

// loadIdentity reads the key in dir, and makes one where there is none.
func loadIdentity(dir string) (ed25519.PrivateKey, error) {
	name := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(name)
	}
	if err != nil {
		return nil, err
	}
	var s savedIdentity
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", name, err)
	}
	if s.Format != identityFormat {
		return nil, fmt.Errorf("%s has format %d, known is %d", name, s.Format, identityFormat)
	}
	seed, err := hex.DecodeString(s.Seed)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s is damaged: it holds no key", name)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func newIdentity(name string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(savedIdentity{identityFormat, hex.EncodeToString(key.Seed())})
	if err != nil {
		return nil, err
	}
	return key, writeNew(name, append(b, '\n'))
}

// writeNew writes a file that its owner alone may read: whole or not at all, whenever
// the machine stops.
func writeNew(name string, b []byte) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
