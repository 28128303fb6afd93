package chunk

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// Keys are the keys of a pool: those of its first generation, and of later ones as
// they come ([Keys.Add]). What is written is sealed under the newest; what is read may
// be of any, because a body says of which it is. Keys are safe for concurrent use.
type Keys struct {
	*box
	fixed *generation // what is written under, see Under; nil: the newest
}

// box is what the keys of all generations share.
type box struct {
	gear  *gear // of the first generation, so that files go on being cut alike
	enc   *zstd.Encoder
	dec   *zstd.Decoder
	spend Spend

	mu   sync.Mutex // held by Add
	ring atomic.Pointer[ring]
}

// ring is the generations at one time. It does not change.
type ring struct {
	byNumber map[uint32]*generation
	newest   *generation
}

// generation is the keys that follow from one secret.
type generation struct {
	number  uint32
	sealing []byte       // of which a key is made for each chunk
	names   [2]sync.Pool // of *blake3.Hasher, keyed: the address keys by kind
	nonces  sync.Pool    // of *blake3.Hasher
	holes   sync.Map     // *sizes → entry: see hole
}

// NewKeys derives the keys of a pool's first generation from its secret, which has
// [SecretSize] bytes, by HKDF-SHA-256 (RFC 5869).
func NewKeys(secret []byte, number uint32) (*Keys, error) {
	k := &Keys{box: new(box)}
	var err error
	if k.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	if k.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxSize),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	g, cutting, err := newGeneration(secret, number)
	if err != nil {
		return nil, err
	}
	if k.gear, err = newGear(cutting); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	k.ring.Store(&ring{byNumber: map[uint32]*generation{number: g}, newest: g})
	return k, nil
}

// newGeneration derives the keys of one generation, and the one for cutting.
func newGeneration(secret []byte, number uint32) (g *generation, cutting []byte, err error) {
	if len(secret) != SecretSize {
		return nil, nil, fmt.Errorf("chunk: keys: secret of %d bytes, want %d", len(secret), SecretSize)
	}
	g = &generation{number: number}
	salt := binary.BigEndian.AppendUint32([]byte("aether chunk "), number)
	root, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		return nil, nil, fmt.Errorf("chunk: keys: %w", err)
	}
	for _, d := range []struct {
		purpose string
		use     func(key []byte) error
	}{
		{"address data", func(b []byte) error { return hashers(&g.names[data], b) }},
		{"address list", func(b []byte) error { return hashers(&g.names[list], b) }},
		{"nonce", func(b []byte) error { return hashers(&g.nonces, b) }},
		{"seal", func(b []byte) error { g.sealing = b; return nil }},
		{"cut", func(b []byte) error { cutting = b; return nil }},
	} {
		key, err := hkdf.Expand(sha256.New, root, d.purpose, 32)
		if err == nil {
			err = d.use(key)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("chunk: keys: %w", err)
		}
	}
	return g, cutting, nil
}

// Add adds the keys of another generation. The one with the greatest number is the
// newest. A Writer goes on under the generation with which it began. A generation that
// is there already stays what it was.
func (k *Keys) Add(secret []byte, number uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.ring.Load()
	if old.byNumber[number] != nil {
		return nil
	}
	g, _, err := newGeneration(secret, number)
	if err != nil {
		return err
	}
	next := &ring{byNumber: maps.Clone(old.byNumber), newest: old.newest}
	next.byNumber[number] = g
	if number > next.newest.number {
		next.newest = g
	}
	k.ring.Store(next)
	return nil
}

// Under returns keys that write under the given generation and read all that k does.
// It fails with [ErrGeneration] where k does not have it.
func (k *Keys) Under(number uint32) (*Keys, error) {
	g, err := k.generation(number)
	if err != nil {
		return nil, err
	}
	return &Keys{box: k.box, fixed: g}, nil
}

// current returns the generation to write under.
func (k *Keys) current() *generation {
	if k.fixed != nil {
		return k.fixed
	}
	return k.ring.Load().newest
}

func (k *Keys) generation(number uint32) (*generation, error) {
	r := k.ring.Load()
	if g := r.byNumber[number]; g != nil {
		return g, nil
	}
	return nil, fmt.Errorf("%w: %d, the newest here is %d", ErrGeneration, number, r.newest.number)
}

func hashers(p *sync.Pool, key []byte) error {
	h, err := blake3.NewKeyed(key)
	p.New = func() any { return h.Clone() }
	return err
}

// hash returns the keyed BLAKE3 of b.
func hash(p *sync.Pool, b []byte) (sum [32]byte) {
	h := p.Get().(*blake3.Hasher)
	defer p.Put(h)
	h.Reset()
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}

// Generation returns the generation that is written under: the newest.
func (k *Keys) Generation() uint32 { return k.current().number }

// Generations returns how many generations there are.
func (k *Keys) Generations() int { return len(k.ring.Load().byNumber) }

// Has reports whether what is sealed under a generation can be read.
func (k *Keys) Has(number uint32) bool { return k.ring.Load().byNumber[number] != nil }

// GenerationOf returns the generation that a body says it is sealed under. It fails
// with [ErrCorrupt] where body does not begin like one.
func GenerationOf(body []byte) (uint32, error) {
	if len(body) < headSize || body[0] != format {
		return 0, fmt.Errorf("%w: not a body of format %d", ErrCorrupt, format)
	}
	return binary.BigEndian.Uint32(body[1:]), nil
}
