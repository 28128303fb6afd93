package chunk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"

	"github.com/aether-lan/aether/store"
)

// ErrCorrupt reports a body that is not what its address says.
var ErrCorrupt = errors.New("chunk: corrupt")

// MaxSize is the largest chunk in plain bytes.
const MaxSize = 4 << 20

// kind says what the plain bytes of a chunk are.
type kind uint8

const (
	kindData kind = iota
	kindList
)

// Keys cut, name and seal the chunks of one generation of a pool. They are safe
// for concurrent use.
type Keys struct {
	address [2][32]byte // by kind
	cutting [32]byte
	sealing [32]byte
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	buffers sync.Pool // *[]byte of any capacity, for a chunk
	scans   sync.Pool // *[]byte for a chunker to look ahead in
}

// NewKeys derives the keys of a pool from its secret (at least 16 bytes) and the
// generation. Addresses and boundaries do not depend on the generation, so that
// data is found again after a change of it; sealing does.
func NewKeys(secret []byte, generation uint32) (*Keys, error) {
	if len(secret) < 16 {
		return nil, fmt.Errorf("chunk: keys: a secret of %d bytes, want 16 or more", len(secret))
	}
	k := &Keys{buffers: sync.Pool{New: newBuffer}, scans: sync.Pool{New: newBuffer}}
	for _, d := range []struct {
		to    []byte
		label string
	}{
		{k.address[kindData][:], "aether chunk address: data"},
		{k.address[kindList][:], "aether chunk address: list"},
		{k.cutting[:], "aether chunk boundaries"},
		{k.sealing[:], fmt.Sprintf("aether chunk seal, generation %d", generation)},
	} {
		b, err := hkdf.Key(sha256.New, secret, nil, d.label, 32)
		if err != nil {
			return nil, fmt.Errorf("chunk: keys: %w", err)
		}
		copy(d.to, b)
	}
	var err error
	if k.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(4), zstd.WithEncoderCRC(false)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	if k.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(MaxSize), zstd.WithDecoderConcurrency(4)); err != nil {
		return nil, fmt.Errorf("chunk: keys: %w", err)
	}
	return k, nil
}

func newBuffer() any { return new([]byte) }

// Ref returns the address of a chunk of data with the bytes plain.
func (k *Keys) Ref(plain []byte) store.Ref { return k.ref(kindData, plain) }

func (k *Keys) ref(as kind, plain []byte) (r store.Ref) {
	h, err := blake3.NewKeyed(k.address[as][:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	_, _ = h.Write(plain) // never fails
	h.Sum(r[:0])
	return r
}

// Sealed is a chunk as it is stored and sent.
type Sealed struct {
	// Ref is its address.
	Ref store.Ref
	// Body is the sealed bytes.
	Body []byte
	// Size is the number of plain bytes.
	Size int
}

// Seal names and seals a chunk of data of at most MaxSize bytes.
func (k *Keys) Seal(plain []byte) Sealed {
	return k.seal(k.Ref(plain), plain, true)
}

// The codecs of the payload.
const (
	codecPlain = 0
	codecZstd  = 1
)

// minCompress is the size under which compression is not tried.
const minCompress = 64

// seal seals plain, whose address is r. Compression is used where it saves at
// least one part in sixteen; it never changes the address.
func (k *Keys) seal(r store.Ref, plain []byte, compress bool) Sealed {
	buf := k.buffers.Get().(*[]byte)
	defer k.buffers.Put(buf)
	codec, payload := byte(codecPlain), plain
	if compress && len(plain) >= minCompress {
		*buf = k.enc.EncodeAll(plain, (*buf)[:0])
		if len(*buf) < len(plain)-len(plain)/16 {
			codec, payload = codecZstd, *buf
		}
	}
	var head [1 + binary.MaxVarintLen32]byte
	head[0] = codec
	h := head[:1+binary.PutUvarint(head[1:], uint64(len(payload)))]
	n := padded(len(h) + len(payload))
	body := make([]byte, n, n+16)
	copy(body[copy(body, h):], payload)
	aead := k.aead(r)
	return Sealed{Ref: r, Body: aead.Seal(body[:0], make([]byte, aead.NonceSize()), body, nil), Size: len(plain)}
}

// aead returns the cipher of the chunk r. Its key seals one plaintext only.
func (k *Keys) aead(r store.Ref) cipher.AEAD {
	h, err := blake3.NewKeyed(k.sealing[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	_, _ = h.Write(r[:])
	var key [32]byte
	h.Sum(key[:0])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return aead
}

// padded returns the length that n bytes are padded to: at most one part in 32
// more, and so that only 32 lengths occur between a power of two and the next
// (after Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", 2019).
func padded(n int) int {
	if n < 64 {
		return n
	}
	step := 1 << (bits.Len(uint(n)) - 6)
	return (n + step - 1) &^ (step - 1)
}

// maxBody bounds a body: the largest chunk, its head, the padding and the tag.
const maxBody = MaxSize + MaxSize/32 + 64

// Open unseals the body of the chunk r, whether data or list, and returns its
// plain bytes. It fails with ErrCorrupt when the body is not exactly that chunk.
func (k *Keys) Open(r store.Ref, body []byte) ([]byte, error) {
	plain, _, err := k.open(r, body)
	return plain, err
}

func (k *Keys) open(r store.Ref, body []byte) ([]byte, kind, error) {
	if len(body) > maxBody {
		return nil, 0, fmt.Errorf("%w: %.8s: %d bytes", ErrCorrupt, r, len(body))
	}
	aead := k.aead(r)
	b, err := aead.Open(nil, make([]byte, aead.NonceSize()), body, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %.8s: the seal is broken", ErrCorrupt, r)
	}
	plain, err := k.unwrap(b)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %.8s: %w", ErrCorrupt, r, err)
	}
	for _, as := range []kind{kindData, kindList} {
		if k.ref(as, plain) == r {
			return plain, as, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: %.8s: holds something else", ErrCorrupt, r)
}

// unwrap returns the plain bytes in what was sealed.
func (k *Keys) unwrap(b []byte) ([]byte, error) {
	if len(b) < 2 {
		return nil, errors.New("nothing in it")
	}
	n, w := binary.Uvarint(b[1:])
	if w <= 0 || n > uint64(len(b)-1-w) {
		return nil, errors.New("bad length")
	}
	payload := b[1+w : 1+w+int(n)]
	for _, z := range b[1+w+int(n):] {
		if z != 0 {
			return nil, errors.New("bad padding")
		}
	}
	switch b[0] {
	case codecPlain:
		return payload, nil
	case codecZstd:
		plain, err := k.dec.DecodeAll(payload, nil)
		if err == nil && len(plain) > MaxSize {
			err = fmt.Errorf("%d bytes unpacked", len(plain))
		}
		return plain, err
	}
	return nil, fmt.Errorf("unknown codec %d", b[0])
}
