package chunk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"

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

// Spend is asked before a chunk of data is compressed. Where ok is false the chunk is
// stored as it is; else done is called when the compressor has finished. It must be
// safe for concurrent use.
type Spend func() (done func(), ok bool)

// LimitCompression lets f decide which chunks are worth the time that compressing
// them takes; without, all are. It is called before the Keys are used.
func (k *Keys) LimitCompression(f Spend) { k.spend = f }

// Ref returns the address of a chunk of data, as it is written.
func (k *Keys) Ref(plain []byte) store.Ref { return k.current().ref(data, plain) }

func (g *generation) ref(kind kind, plain []byte) store.Ref { return hash(&g.names[kind], plain) }

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
// hash, which would cost as much as the cipher. The plain bytes go to the memory of
// into where they fit; they may take the place of the sealed ones.
func (k *Keys) opened(want kind, ref store.Ref, body, into []byte) ([]byte, error) {
	_, got, plain, err := k.decrypt(ref, body, into)
	if err == nil && got != want {
		err = fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, ref, got, want)
	}
	return plain, err
}

func (k *Keys) unseal(ref store.Ref, body []byte) (*generation, kind, []byte, error) {
	g, kind, plain, err := k.decrypt(ref, body, nil)
	if err == nil && g.ref(kind, plain) != ref {
		err = fmt.Errorf("%w: %s holds another chunk", ErrCorrupt, ref)
	}
	return g, kind, plain, err
}

func (k *Keys) decrypt(ref store.Ref, body, into []byte) (*generation, kind, []byte, error) {
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
	frame, err := g.aead(ref).Open(into[:0], nonce, sealed, head)
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
