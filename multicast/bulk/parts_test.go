package bulk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTree_ProvesEachSection(t *testing.T) {
	for n := 1; n <= 33; n++ {
		leaves := make([][32]byte, n)
		for i := range leaves {
			leaves[i] = HashSection([]byte(fmt.Sprint(i)))
		}
		tree := NewTree(leaves)
		for i := range leaves {
			proof := tree.Proof(i)
			if !VerifySection(tree.Root(), leaves[i], i, n, proof) {
				t.Fatalf("section %d of %d is not proved", i, n)
			}
			for j := range n {
				if j != i && VerifySection(tree.Root(), leaves[i], j, n, proof) {
					t.Fatalf("section %d of %d passes as %d", i, n, j)
				}
			}
			if VerifySection(tree.Root(), leaves[i], i, n, append(slices.Clone(proof), [32]byte{})) {
				t.Fatalf("a proof of %d that is too long was taken", i)
			}
			if n > 1 && VerifySection(tree.Root(), leaves[i], i, n, proof[:len(proof)-1]) {
				t.Fatalf("a proof of %d that is too short was taken", i)
			}
		}
	}
	// A node is not a leaf: its hash begins otherwise (RFC 9162 section 2.1).
	a, b := HashSection([]byte("a")), HashSection([]byte("b"))
	if HashSection(append(a[:], b[:]...)) == NewTree([][32]byte{a, b}).Root() {
		t.Error("a node passes as a section")
	}
}

func TestObject_Sizes(t *testing.T) {
	const block = 100
	section := int64(block * SectionBlocks)
	for _, c := range []struct {
		size              int64
		sections, last, b int
	}{
		{0, 1, 0, 0}, {1, 1, 1, 1}, {block, 1, block, 1}, {block + 1, 1, block + 1, 2},
		{section, 1, int(section), SectionBlocks}, {section + 1, 2, 1, 1},
	} {
		o := Object{Size: c.size, Block: block}
		s := o.Sections() - 1
		if o.Sections() != c.sections || o.Length(s) != c.last || o.Blocks(s) != c.b {
			t.Errorf("%d bytes: %d sections, the last of %d bytes and %d blocks; want %+v", c.size, o.Sections(), o.Length(s), o.Blocks(s), c)
		}
		total := int64(0)
		for s := range o.Sections() {
			for b := range o.Blocks(s) {
				total += int64(o.BlockLength(s, b))
			}
		}
		if total != c.size {
			t.Errorf("%d bytes: the blocks have %d", c.size, total)
		}
	}
}

// A row is the same however many are made with it, and any rows mend as many blocks.
func TestParity_MendsAnyBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, blocks := range []int{1, 16, 17, 500, SectionBlocks} {
		p := newParity(64)
		content := randomBytes(uint64(blocks), blocks*64)
		for g := range min(Groups, blocks) {
			all, err := p.rows(content, g, 0, MaxRows)
			if err != nil {
				t.Fatal(err)
			}
			few, err := p.rows(content, g, 1, 3)
			if err != nil || !bytes.Equal(few[0], all[1]) || !bytes.Equal(few[1], all[2]) {
				t.Fatalf("rows 1 and 2 of group %d differ (%v)", g, err)
			}
			var members []int
			for b := g; b < blocks; b += Groups {
				members = append(members, b)
			}
			lost := min(len(members), 1+r.IntN(6))
			r.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			damaged := bytes.Clone(content)
			for _, b := range members[:lost] {
				clear(damaged[b*64 : (b+1)*64])
			}
			rows := map[int][]byte{}
			for len(rows) < lost {
				i := r.IntN(MaxRows)
				rows[i] = all[i]
			}
			if err := p.solve(damaged, g, members[:lost], rows); err != nil || !bytes.Equal(damaged, content) {
				t.Fatalf("%d blocks, group %d: %d lost blocks were not mended (%v)", blocks, g, lost, err)
			}
		}
	}
}

func TestState_TakesWhatIsWhole(t *testing.T) {
	o := &Object{Size: 10 * MaxBlock * SectionBlocks, Block: MaxBlock, Root: [32]byte{7}}
	want := []stateRecord{{3, [][32]byte{{1}, {2}}}, {9, nil}, {0, [][32]byte{{5}}}}
	b := appendStateHeader(nil, o)
	ends := []int{len(b)}
	for _, rec := range want {
		b = appendStateRecord(b, rec)
		ends = append(ends, len(b))
	}
	for n := len(appendStateHeader(nil, o)); n <= len(b); n++ {
		got, err := parseState(b[:n], o)
		whole := 0
		for _, e := range ends[1:] {
			if e <= n {
				whole++
			}
		}
		if err != nil || len(got) != whole {
			t.Fatalf("the first %d bytes give %d records, %v; want %d", n, len(got), err, whole)
		}
	}
	other := *o
	other.Root[0]++
	if _, err := parseState(b, &other); err == nil {
		t.Error("the state of another object was taken")
	}
}

func FuzzState(f *testing.F) {
	o := &Object{Size: 10 * MaxBlock * SectionBlocks, Block: MaxBlock}
	f.Add(appendStateRecord(nil, stateRecord{3, [][32]byte{{1}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseState(append(appendStateHeader(nil, o), b...), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range list {
			if rec.section < 0 || rec.section >= o.Sections() {
				t.Fatalf("section %d", rec.section)
			}
		}
	})
}

func FuzzPull(f *testing.F) {
	q := request{nonce: 5, section: 3}
	f.Add(q.append(nil))
	f.Add(appendAnswer(nil, 5, Piece{Proof: [][32]byte{{1}}, Content: []byte("x")}, true))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseRequest(b); err == nil && !bytes.Equal(q.append(nil), b) {
			t.Fatalf("%x became %x", b, q.append(nil))
		}
		if p, found, err := parseAnswer(b, &q); err == nil && found && !bytes.Equal(appendAnswer(nil, q.nonce, p, true), b) {
			t.Fatalf("%x became %+v", b, p)
		}
	})
}

// link is a bottleneck: what arrives at a rate, and what is lost beside that.
func (p *pacer) through(link, lost float64) (loss float64) {
	sent := p.rate
	arrives := min(sent, link)
	loss = 1 - arrives/sent*(1-lost)
	p.judge(round{rate: sent, sent: sent, losses: []float64{loss}, arrivals: []float64{arrives * (1 - lost)}})
	return loss
}

func TestPacer_FindsTheLinkAndStaysThere(t *testing.T) {
	for _, lost := range []float64{0, 0.01, 0.05} {
		p := newPacer(0, 0)
		p.measured(3e6) // the train saw less than there is
		for range 40 {
			p.through(10e6, lost)
		}
		sum := 0.0
		for range 40 {
			sum += min(p.rate, 10e6)
			p.through(10e6, lost)
		}
		if mean := sum / 40; mean < 8.5e6 {
			t.Errorf("at %.0f %% loss the link of 10 MB/s is used with %.1f", 100*lost, mean/1e6)
		}
		if p.rate > 12e6 {
			t.Errorf("at %.0f %% loss the rate is %.1f MB/s on a link of 10", 100*lost, p.rate/1e6)
		}
	}
}

func TestPacer_GivesWay(t *testing.T) {
	p := newPacer(0, 0)
	p.measured(10e6)
	for range 20 {
		p.through(2e6, 0) // the link became slower, and drops at once
	}
	if p.rate > 2.4e6 || p.rate < 1.2e6 {
		t.Errorf("the rate is %.1f MB/s on a link of 2", p.rate/1e6)
	}
}
