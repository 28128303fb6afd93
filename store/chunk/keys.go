package chunk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/store"
)

// ErrCorrupt reports a body that is not what its Ref says: cut short, changed,
// sealed by somebody else, or another chunk's.
var ErrCorrupt = errors.New("chunk: corrupt")

// ErrGeneration reports a body sealed with the keys of another generation.
var ErrGeneration = errors.New("chunk: sealed with keys of another generation")

// ErrTooLarge reports plain bytes over [MaxSize].
var ErrTooLarge = errors.New("chunk: too large")

// SecretSize is the length of a pool secret in bytes.
const SecretSize = 32

const (
	format     = 1
	headSize   = 5  // format, generation
	nonceSize  = 12 // of AES-GCM
	tagSize    = 16
	frameHead  = 10
	smallest   = 64 // frames are padded to this at least
	largest    = headSize + nonceSize + frameHead + MaxSize + MaxSize/64 + tagSize
	worthwhile = 16 // compression has to save one part in this many
)

// MaxBody is the greatest number of bytes in a body.
const MaxBody = largest

// kind tells data from lists.
type kind uint8

const (
	data kind = iota
	list
)

func (k kind) String() string { return [...]string{"data", "list"}[k&1] }

const (
	encodingPlain = 0
	encodingZstd  = 1
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

// Spend is asked before a chunk of data is compressed. Where ok is false the chunk is
// stored as it is; else done is called when the compressor has finished. It must be
// safe for concurrent use.
type Spend func() (done func(), ok bool)

// LimitCompression lets f decide which chunks are worth the time that compressing
// them takes; without, all are. It is called before the Keys are used.
func (k *Keys) LimitCompression(f Spend) { k.spend = f }

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

// Has reports whether what is sealed under a generation can be read.
func (k *Keys) Has(number uint32) bool { return k.ring.Load().byNumber[number] != nil }

// Ref returns the address of a chunk of data, as it is written.
func (k *Keys) Ref(plain []byte) store.Ref { return k.current().ref(data, plain) }

func (g *generation) ref(kind kind, plain []byte) store.Ref { return hash(&g.names[kind], plain) }

// GenerationOf returns the generation that a body says it is sealed under. It fails
// with [ErrCorrupt] where body does not begin like one.
func GenerationOf(body []byte) (uint32, error) {
	if len(body) < headSize || body[0] != format {
		return 0, fmt.Errorf("%w: not a body of format %d", ErrCorrupt, format)
	}
	return binary.BigEndian.Uint32(body[1:]), nil
}

// Sealed is a chunk ready to be stored and sent.
type Sealed struct {
	// Ref is the address of the chunk.
	Ref store.Ref
	// Body is what is stored and sent: at most [MaxBody] bytes.
	Body []byte
	// Size is the number of plain bytes.
	Size int
	// Generation is that of the keys.
	Generation uint32
}

// Seal names and seals a chunk of data, compressed when that makes it smaller. It
// does not keep plain. It panics on more than [MaxSize] bytes.
func (k *Keys) Seal(plain []byte) Sealed {
	g := k.current()
	packed, _ := k.compress(plain)
	return g.seal(nil, data, g.ref(data, plain), plain, packed)
}

// seal makes the body in the memory of buf where that is enough. packed is what
// compress made of plain, or nil.
func (g *generation) seal(buf []byte, kind kind, ref store.Ref, plain, packed []byte) Sealed {
	if len(plain) > MaxSize {
		panic(fmt.Errorf("%w: %d bytes", ErrTooLarge, len(plain)))
	}
	payload, encoding := plain, byte(encodingPlain)
	if packed != nil {
		payload, encoding = packed, encodingZstd
	}
	size := padded(frameHead + len(payload))
	b := slices.Grow(buf[:0], headSize+nonceSize+size+tagSize)
	b = append(b, format)
	b = binary.BigEndian.AppendUint32(b, g.number)
	b = append(b, make([]byte, nonceSize)...)
	frame := append(b[len(b):], byte(kind), encoding)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(plain)))
	frame = append(frame, payload...)
	clear(frame[len(frame):size]) // the padding
	frame = frame[:size]
	nonce := b[headSize:]
	if encoding != encodingPlain {
		sum := hash(&g.nonces, frame)
		copy(nonce, sum[:])
	}
	body := g.aead(ref).Seal(b, nonce, frame, b[:headSize])
	return Sealed{Ref: ref, Body: body, Size: len(plain), Generation: g.number}
}

// compress returns plain compressed, or nil when that does not pay; tried is false when
// there was no time for it.
func (k *Keys) compress(plain []byte) (packed []byte, tried bool) {
	if len(plain) <= smallest {
		return nil, false
	}
	if k.spend != nil {
		done, ok := k.spend()
		if !ok {
			return nil, false
		}
		defer done()
	}
	return k.pack(plain), true
}

// pack is compress without asking.
func (k *Keys) pack(plain []byte) []byte {
	packed := k.enc.EncodeAll(plain, make([]byte, 0, len(plain)+len(plain)/128+64))
	if len(packed) > len(plain)-len(plain)/worthwhile {
		return nil
	}
	return packed
}

// padded rounds n up to a multiple of the greatest power of two that is at most
// n/64, which leaves 64 lengths between two powers of two. (Padmé, PoPETs 2019,
// leaves fewer and costs up to 12 %.)
func padded(n int) int {
	if n <= smallest {
		return smallest
	}
	step := 1 << max(bits.Len(uint(n))-1-6, 0)
	return (n + step - 1) &^ (step - 1)
}

// aead returns the cipher of one chunk. Its key is HMAC-SHA-256(chunk key, ref).
func (g *generation) aead(ref store.Ref) cipher.AEAD {
	mac := hmac.New(sha256.New, g.sealing)
	mac.Write(ref[:])
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // 32 bytes are a key
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// Open returns the plain bytes of a chunk of data. It fails with [ErrCorrupt] when
// body is anything but the chunk ref of the pool, and with [ErrGeneration] when it
// was sealed with keys that are not here. The caller may change what it gets.
func (k *Keys) Open(ref store.Ref, body []byte) ([]byte, error) { return k.open(data, ref, body) }

// Check reports whether body is the chunk ref, data or list, with the errors of
// [Keys.Open].
func (k *Keys) Check(ref store.Ref, body []byte) error {
	_, _, _, err := k.unseal(ref, body)
	return err
}

func (k *Keys) open(want kind, ref store.Ref, body []byte) ([]byte, error) {
	_, got, plain, err := k.unseal(ref, body)
	if err != nil {
		return nil, err
	}
	if got != want {
		return nil, fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, ref, got, want)
	}
	return plain, nil
}

// opened is open without computing the address. A body that opens under the key of ref
// was sealed as ref by a machine of the pool; that it is what ref says is checked
// where bodies come from other machines, see [Keys.Check]. Readers do without the
// hash, which would cost as much as the cipher.
func (k *Keys) opened(want kind, ref store.Ref, body []byte) ([]byte, error) {
	_, got, plain, err := k.decrypt(ref, body)
	if err == nil && got != want {
		err = fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, ref, got, want)
	}
	return plain, err
}

func (k *Keys) unseal(ref store.Ref, body []byte) (*generation, kind, []byte, error) {
	g, kind, plain, err := k.decrypt(ref, body)
	if err == nil && g.ref(kind, plain) != ref {
		err = fmt.Errorf("%w: %s holds another chunk", ErrCorrupt, ref)
	}
	return g, kind, plain, err
}

func (k *Keys) decrypt(ref store.Ref, body []byte) (*generation, kind, []byte, error) {
	r := wire.NewReader(body)
	head := r.Bytes(headSize)
	nonce := r.Bytes(nonceSize)
	sealed := r.Rest()
	if r.Err() != nil || len(body) > largest || head[0] != format {
		return nil, 0, nil, fmt.Errorf("%w: %s: not a body of format %d", ErrCorrupt, ref, format)
	}
	g, err := k.generation(binary.BigEndian.Uint32(head[1:]))
	if err != nil {
		return nil, 0, nil, fmt.Errorf("%s: %w", ref, err)
	}
	frame, err := g.aead(ref).Open(nil, nonce, sealed, head)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, ref, err)
	}
	kind, plain, err := k.decode(frame)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, ref, err)
	}
	return g, kind, plain, nil
}

// decode reads a frame. It allocates what the frame says the plain bytes need, but
// never over [MaxSize], and decompresses into that and no further.
func (k *Keys) decode(frame []byte) (kind, []byte, error) {
	r := wire.NewReader(frame)
	kind, encoding := kind(r.Uint8()), r.Uint8()
	packed, size := r.Uint32(), r.Uint32()
	if size > MaxSize || packed > MaxSize {
		r.Fail(fmt.Errorf("size %d in %d", size, packed))
	}
	payload := r.Bytes(int(packed))
	for _, c := range r.Rest() {
		if c != 0 {
			r.Fail(errors.New("padding is not zero"))
			break
		}
	}
	if err := r.End(); err != nil {
		return 0, nil, err
	}
	switch {
	case kind > list:
		return 0, nil, fmt.Errorf("kind %d", kind)
	case encoding == encodingPlain && packed == size:
		return kind, payload, nil
	case encoding == encodingZstd:
		plain, err := k.dec.DecodeAll(payload, make([]byte, 0, size))
		if err == nil && len(plain) != int(size) {
			err = fmt.Errorf("%d plain bytes, want %d", len(plain), size)
		}
		return kind, plain, err
	default:
		return 0, nil, fmt.Errorf("encoding %d of %d bytes in %d", encoding, size, packed)
	}
}
