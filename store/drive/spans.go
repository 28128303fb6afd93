package drive

import (
	"slices"
	"sort"

	"github.com/aether-lan/aether/store/chunk"
)

// spans is a set of bytes of a file: sorted, disjoint, and with a gap between any
// two.
type spans []chunk.Span

// at returns the index of the first span that ends behind off.
func (s spans) at(off int64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].To > off })
}

// add puts [from, to) into the set.
func (s spans) add(from, to int64) spans {
	if from >= to {
		return s
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].To >= from })
	j := i
	for j < len(s) && s[j].From <= to {
		from, to = min(from, s[j].From), max(to, s[j].To)
		j++
	}
	return slices.Replace(s, i, j, chunk.Span{From: from, To: to})
}

// remove takes [from, to) out of the set.
func (s spans) remove(from, to int64) spans {
	if from >= to {
		return s
	}
	i := s.at(from)
	j := i
	var rest []chunk.Span
	for j < len(s) && s[j].From < to {
		if s[j].From < from {
			rest = append(rest, chunk.Span{From: s[j].From, To: from})
		}
		if s[j].To > to {
			rest = append(rest, chunk.Span{From: to, To: s[j].To})
		}
		j++
	}
	return slices.Replace(s, i, j, rest...)
}

// run says whether off is in the set, and how far it is the same from there on: to
// the end of the file at most, which is to.
func (s spans) run(off, to int64) (in bool, end int64) {
	i := s.at(off)
	switch {
	case i == len(s):
		return false, to
	case s[i].From <= off:
		return true, min(s[i].To, to)
	default:
		return false, min(s[i].From, to)
	}
}
