package dnssd

import (
	"cmp"
	"slices"

	"github.com/aether-lan/aether/mdns"
)

// questions counts who wants what asked, and what is being asked.
type questions struct {
	asked   map[mdns.Question]*asking // by folded question
	changed map[mdns.Question]bool
}

type asking struct {
	q       mdns.Question // with its case: some responders insist
	n       int
	running bool
}

func newQuestions() questions {
	return questions{asked: make(map[mdns.Question]*asking), changed: make(map[mdns.Question]bool)}
}

func folded(q mdns.Question) mdns.Question { return mdns.Question{Name: fold(q.Name), Type: q.Type} }

func (s *questions) ask(q mdns.Question) {
	key := folded(q)
	a := s.asked[key]
	if a == nil {
		a = &asking{q: q}
		s.asked[key] = a
	}
	a.n++
	s.changed[key] = true
}

// release reports whether nobody asks q any more.
func (s *questions) release(q mdns.Question) bool {
	key := folded(q)
	a := s.asked[key]
	if a == nil || a.n == 0 {
		return false
	}
	a.n--
	s.changed[key] = true
	return a.n == 0
}

func (s *questions) asks(q mdns.Question) bool {
	a := s.asked[folded(q)]
	return a != nil && a.n > 0
}

// changes returns what to start and to stop since it was called last.
func (s *questions) changes() (start, stop []mdns.Question) {
	for key := range s.changed {
		a := s.asked[key]
		if want := a.n > 0; want && !a.running {
			start = append(start, a.q)
		} else if !want && a.running {
			stop = append(stop, a.q)
		}
		if a.running = a.n > 0; !a.running {
			delete(s.asked, key)
		}
	}
	clear(s.changed)
	slices.SortFunc(start, compareQuestions)
	slices.SortFunc(stop, compareQuestions)
	return start, stop
}

func compareQuestions(a, b mdns.Question) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
}
