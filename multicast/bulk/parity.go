package bulk

import (
	"fmt"

	"github.com/klauspost/reedsolomon"
)

// MaxRows is how many different rows of parity a group can have.
const MaxRows = 48

// parity makes and uses Reed-Solomon parity over groups of GroupBlocks blocks: any
// GroupBlocks of blocks and rows give all blocks (RFC 5510 has the same shape).
// Blocks that the last section does not have count as zeros. A row does not depend
// on how many are asked for.
type parity struct {
	block  int
	coders map[int]reedsolomon.Encoder // by number of rows
	zero   []byte
}

func newParity(block int) *parity {
	return &parity{block: block, coders: make(map[int]reedsolomon.Encoder), zero: make([]byte, block)}
}

func (p *parity) coder(rows int) (reedsolomon.Encoder, error) {
	if c := p.coders[rows]; c != nil {
		return c, nil
	}
	c, err := reedsolomon.New(GroupBlocks, rows, reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("bulk: parity: %w", err)
	}
	p.coders[rows] = c
	return c, nil
}

// shards returns the blocks of group g in content, whose length is a whole number of
// blocks, zeros where it has none.
func (p *parity) shards(content []byte, g, rows int) [][]byte {
	s := make([][]byte, GroupBlocks+rows)
	for i := range GroupBlocks {
		at := (i*Groups + g) * p.block
		if at+p.block > len(content) {
			s[i] = p.zero
			continue
		}
		s[i] = content[at : at+p.block : at+p.block]
	}
	return s
}

// rows returns the rows from up to, but without, to of group g.
func (p *parity) rows(content []byte, g, from, to int) ([][]byte, error) {
	c, err := p.coder(to)
	if err != nil {
		return nil, err
	}
	s := p.shards(content, g, to)
	slab := make([]byte, to*p.block)
	for i := range to {
		s[GroupBlocks+i] = slab[i*p.block : (i+1)*p.block]
	}
	if err := c.Encode(s); err != nil {
		return nil, fmt.Errorf("bulk: parity: %w", err)
	}
	return s[GroupBlocks+from:], nil
}

// solve fills the missing blocks of group g of content from rows, by their number.
func (p *parity) solve(content []byte, g int, missing []int, rows map[int][]byte) error {
	c, err := p.coder(MaxRows)
	if err != nil {
		return err
	}
	s := p.shards(content, g, MaxRows)
	for _, b := range missing {
		s[b/Groups] = s[b/Groups][:0] // its bytes are written in place
	}
	for i, row := range rows {
		s[GroupBlocks+i] = row
	}
	if err := c.ReconstructData(s); err != nil {
		return fmt.Errorf("bulk: parity: %w", err)
	}
	for _, b := range missing {
		copy(content[b*p.block:(b+1)*p.block], s[b/Groups])
	}
	return nil
}
