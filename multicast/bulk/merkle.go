package bulk

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Tree is the Merkle tree over the hashes of an object's sections, built as the one
// of RFC 9162 section 2.1: a leaf is SHA-256(0 ‖ content), a node SHA-256(1 ‖ left
// ‖ right), and an odd one at the end of a level moves up as it is.
type Tree struct {
	levels [][][32]byte // levels[0] are the leaves
}

// HashSection returns the leaf of a section's content.
func HashSection(content []byte) (leaf [32]byte) {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(content)
	h.Sum(leaf[:0])
	return leaf
}

func hashNode(left, right [32]byte) [32]byte {
	var b [65]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[33:], right[:])
	return sha256.Sum256(b[:])
}

// NewTree returns the tree over leaves, at least one.
func NewTree(leaves [][32]byte) *Tree {
	t := &Tree{levels: [][][32]byte{leaves}}
	for level := leaves; len(level) > 1; {
		up := make([][32]byte, 0, (len(level)+1)/2)
		for i := 0; i+1 < len(level); i += 2 {
			up = append(up, hashNode(level[i], level[i+1]))
		}
		if len(level)%2 == 1 {
			up = append(up, level[len(level)-1])
		}
		t.levels = append(t.levels, up)
		level = up
	}
	return t
}

// Root returns the hash over all.
func (t *Tree) Root() [32]byte { return t.levels[len(t.levels)-1][0] }

// Leaf returns the hash of section s.
func (t *Tree) Leaf(s int) [32]byte { return t.levels[0][s] }

// Proof returns the hashes that lead from section s to the root, lowest first.
func (t *Tree) Proof(s int) (proof [][32]byte) {
	for _, level := range t.levels[:len(t.levels)-1] {
		if sibling := s ^ 1; sibling < len(level) {
			proof = append(proof, level[sibling])
		}
		s /= 2
	}
	return proof
}

// VerifySection reports whether leaf is section s of sections under root, as proof
// says.
func VerifySection(root, leaf [32]byte, s, sections int, proof [][32]byte) bool {
	if s < 0 || s >= sections {
		return false
	}
	h := leaf
	for width := sections; width > 1; width = (width + 1) / 2 {
		if sibling := s ^ 1; sibling < width {
			if len(proof) == 0 {
				return false
			}
			if s%2 == 0 {
				h = hashNode(h, proof[0])
			} else {
				h = hashNode(proof[0], h)
			}
			proof = proof[1:]
		}
		s /= 2
	}
	return len(proof) == 0 && h == root
}

// Describe reads size bytes of f and returns the object called name with blocks of
// so many bytes, and its tree. It fails when f is shorter.
func Describe(name string, f io.ReaderAt, size int64, block int) (Object, *Tree, error) {
	o := Object{Name: name, Size: size, Block: block}
	if err := o.check(); err != nil {
		return o, nil, err
	}
	b := make([]byte, o.SectionSize())
	leaves := make([][32]byte, o.Sections())
	for s := range leaves {
		n := o.Length(s)
		if _, err := f.ReadAt(b[:n], o.Offset(s)); err != nil && !(err == io.EOF && o.Offset(s)+int64(n) == size) {
			return o, nil, fmt.Errorf("bulk: read section %d of %q: %w", s, name, err)
		}
		leaves[s] = HashSection(b[:n])
	}
	t := NewTree(leaves)
	o.Root = t.Root()
	return o, t, nil
}
