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
	"math/bits"
	"slices"
	"sync"

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

// Keys are the keys of one generation of a pool. They are safe for concurrent use.
type Keys struct {
	generation uint32
	sealing    []byte       // of which a key is made for each chunk
	names      [2]sync.Pool // of *blake3.Hasher, keyed: the address keys by kind
	nonces     sync.Pool    // of *blake3.Hasher
	gear       *gear
	enc        *zstd.Encoder
	dec        *zstd.Decoder
	spend      Spend
	holes      sync.Map // *sizes → entry: see hole
}

// Spend is asked before a chunk of data is compressed. Where ok is false the chunk is
// stored as it is; else done is called when the compressor has finished. It must be
// safe for concurrent use.
type Spend func() (done func(), ok bool)

// LimitCompression lets f decide which chunks are worth the time that compressing
// them takes; without, all are. It is called before the Keys are used.
func (k *Keys) LimitCompression(f Spend) { k.spend = f }

// NewKeys derives the keys of a generation from the secret of the pool, which has
// [SecretSize] bytes, by HKDF-SHA-256 (RFC 5869).
func NewKeys(secret []byte, generation uint32) (*Keys, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("chunk: keys: secret of %d bytes, want %d", len(secret), SecretSize)
	}
	k := &Keys{generation: generation}
	salt := binary.BigEndian.AppendUint32([]byte("aether chunk "), generation)
	root, err := hkdf.Extract(sha256.New, secret, salt)
	if err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	var cutting []byte
	for _, d := range []struct {
		purpose string
		use     func(key []byte) error
	}{
		{"address data", func(b []byte) error { return hashers(&k.names[data], b) }},
		{"address list", func(b []byte) error { return hashers(&k.names[list], b) }},
		{"nonce", func(b []byte) error { return hashers(&k.nonces, b) }},
		{"seal", func(b []byte) error { k.sealing = b; return nil }},
		{"cut", func(b []byte) error { cutting = b; return nil }},
	} {
		key, err := hkdf.Expand(sha256.New, root, d.purpose, 32)
		if err == nil {
			err = d.use(key)
		}
		if err != nil {
			return nil, fmt.Errorf("chunk: keys: %w", err)
		}
	}
	if k.gear, err = newGear(cutting); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	if k.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	if k.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxSize),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	return k, nil
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

// Generation returns the generation of the pool's secret that k belongs to.
func (k *Keys) Generation() uint32 { return k.generation }

// Ref returns the address of a chunk of data.
func (k *Keys) Ref(plain []byte) store.Ref { return k.ref(data, plain) }

func (k *Keys) ref(kind kind, plain []byte) store.Ref { return hash(&k.names[kind], plain) }

// Sealed is a chunk ready to be stored and sent.
type Sealed struct {
	// Ref is the address of the chunk.
	Ref store.Ref
	// Body is what is stored and sent: at most [MaxBody] bytes.
	Body []byte
	// Size is the number of plain bytes.
	Size int
}

// Seal names and seals a chunk of data, compressed when that makes it smaller. It
// does not keep plain. It panics on more than [MaxSize] bytes.
func (k *Keys) Seal(plain []byte) Sealed {
	packed, _ := k.compress(plain)
	return k.seal(nil, data, k.Ref(plain), plain, packed)
}

// seal makes the body in the memory of buf where that is enough. packed is what
// compress made of plain, or nil.
func (k *Keys) seal(buf []byte, kind kind, ref store.Ref, plain, packed []byte) Sealed {
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
	b = binary.BigEndian.AppendUint32(b, k.generation)
	b = append(b, make([]byte, nonceSize)...)
	frame := append(b[len(b):], byte(kind), encoding)
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(payload)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(plain)))
	frame = append(frame, payload...)
	clear(frame[len(frame):size]) // the padding
	frame = frame[:size]
	nonce := b[headSize:]
	if encoding != encodingPlain {
		sum := hash(&k.nonces, frame)
		copy(nonce, sum[:])
	}
	body := k.aead(ref).Seal(b, nonce, frame, b[:headSize])
	return Sealed{Ref: ref, Body: body, Size: len(plain)}
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
func (k *Keys) aead(ref store.Ref) cipher.AEAD {
	mac := hmac.New(sha256.New, k.sealing)
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
// was sealed with other keys. The caller may change what it gets.
func (k *Keys) Open(ref store.Ref, body []byte) ([]byte, error) { return k.open(data, ref, body) }

// Check reports whether body is the chunk ref, data or list, with the errors of
// [Keys.Open].
func (k *Keys) Check(ref store.Ref, body []byte) error {
	_, _, err := k.unseal(ref, body)
	return err
}

func (k *Keys) open(want kind, ref store.Ref, body []byte) ([]byte, error) {
	got, plain, err := k.unseal(ref, body)
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
	got, plain, err := k.decrypt(ref, body)
	if err == nil && got != want {
		err = fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, ref, got, want)
	}
	return plain, err
}

func (k *Keys) unseal(ref store.Ref, body []byte) (kind, []byte, error) {
	kind, plain, err := k.decrypt(ref, body)
	if err == nil && k.ref(kind, plain) != ref {
		err = fmt.Errorf("%w: %s holds another chunk", ErrCorrupt, ref)
	}
	return kind, plain, err
}

func (k *Keys) decrypt(ref store.Ref, body []byte) (kind, []byte, error) {
	r := wire.NewReader(body)
	head := r.Bytes(headSize)
	nonce := r.Bytes(nonceSize)
	sealed := r.Rest()
	if r.Err() != nil || len(body) > largest || head[0] != format {
		return 0, nil, fmt.Errorf("%w: %s: not a body of format %d", ErrCorrupt, ref, format)
	}
	if g := binary.BigEndian.Uint32(head[1:]); g != k.generation {
		return 0, nil, fmt.Errorf("%w: %s: %d, these are %d", ErrGeneration, ref, g, k.generation)
	}
	frame, err := k.aead(ref).Open(nil, nonce, sealed, head)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, ref, err)
	}
	kind, plain, err := k.decode(frame)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, ref, err)
	}
	return kind, plain, nil
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
