package chunk

import (
	"encoding/binary"

	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
	"github.com/zeebo/blake3"
)

// sizes bounds the chunks of one part of a file, in bytes. The algorithm is
// "fastcdc-v1.0.0" of go-cdc-chunkers, which a test compares it with; it is written
// out here because that package pulls from a reader, and a Writer is pushed to.
type sizes struct {
	from             int64 // where in the file this part begins
	min, normal, max int
	early, late      uint64 // masks below and above normal
}

// The parts of a file. Early masks have two bits more and late ones two bits fewer
// than log2(normal), which keeps sizes near normal (FastCDC, USENIX ATC 2016,
// section 3.4: normalized chunking, level 2). The bits are spread over the word.
var parts = []sizes{
	{from: 0, min: 32 << 10, normal: 64 << 10, max: 256 << 10, early: spread(18), late: spread(14)},
	{from: 1 << 30, min: 64 << 10, normal: 256 << 10, max: 1 << 20, early: spread(20), late: spread(16)},
	{from: 8 << 30, min: 256 << 10, normal: 1 << 20, max: MaxSize, early: spread(22), late: spread(18)},
}

// MaxSize is the greatest number of plain bytes in a chunk.
const MaxSize = 4 << 20

func spread(bits int) uint64 {
	var mask uint64
	for i := range bits {
		mask |= 1 << (63 - i*(64/bits))
	}
	return mask
}

// sizesAt returns the bounds of a chunk that begins at offset.
func sizesAt(offset int64) *sizes {
	i := len(parts) - 1
	for parts[i].from > offset {
		i--
	}
	return &parts[i]
}

type gear [256]uint64

// newGear derives the table of the rolling hash from a key of 32 bytes.
func newGear(key []byte) (*gear, error) {
	h, err := blake3.NewKeyed(key)
	if err != nil {
		return nil, err
	}
	for _, v := range fastcdc.G {
		h.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	b := make([]byte, 8*256)
	h.Digest().Read(b)
	g := new(gear)
	for i := range g {
		g[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return g, nil
}

// cut returns the length of the first chunk of b, which holds at least s.max bytes
// or all that is left of the file.
func (g *gear) cut(b []byte, s *sizes) int {
	if len(b) <= s.min {
		return len(b)
	}
	b = b[:min(len(b), s.max)]
	normal := min(s.normal, len(b))
	n, fp := g.roll(0, b[s.min:normal], s.early)
	if n += s.min; n < normal {
		return n
	}
	n, _ = g.roll(fp, b[normal:], s.late)
	return normal + n
}

// lane is how many bytes each of the two hashes in roll takes in a row.
const lane = 1 << 10

// roll goes on from the hash fp through b until the hash has no bit of mask, and
// returns the index of the byte that did it, or len(b) and the hash there. A byte
// leaves the hash after 64 more, so a second hash can begin further on with the 64
// bytes before it; the processor works on both at once.
func (g *gear) roll(fp uint64, b []byte, mask uint64) (int, uint64) {
	i := 0
	for ; i+2*lane <= len(b); i += 2 * lane {
		x, y := (*[lane]byte)(b[i:]), (*[lane]byte)(b[i+lane:])
		var ahead uint64
		for _, c := range x[lane-64:] {
			ahead = ahead<<1 + g[c]
		}
		for j := range x {
			fp = fp<<1 + g[x[j]]
			ahead = ahead<<1 + g[y[j]]
			if fp&mask == 0 {
				return i + j, fp
			}
			if ahead&mask == 0 {
				n, _ := g.rollOne(fp, x[j+1:], mask)
				if n += j + 1; n == lane {
					n += j
				}
				return i + n, fp
			}
		}
		fp = ahead
	}
	n, fp := g.rollOne(fp, b[i:], mask)
	return i + n, fp
}

func (g *gear) rollOne(fp uint64, b []byte, mask uint64) (int, uint64) {
	for i, c := range b {
		if fp = fp<<1 + g[c]; fp&mask == 0 {
			return i, fp
		}
	}
	return len(b), fp
}
