package dht

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The model is the ring's rules, as Ring has them, over all orders in which queries,
// answers, notifications, joins and deaths can follow one another. A state is a
// value that can be compared, so that each is visited once.

const (
	modelNodes = 5
	modelList  = 3
	nobody     = -1

	start = "start"
	lost  = "loses a notification of"
)

type phase uint8

const (
	outside     phase = iota // never was a member
	joining                  // has the answer of the member before it
	idle                     //
	askHead                  // has queried target
	heardHead                // has target's answer
	askBetter                // has queried target, a candidate
	heardBetter              // has target's answer
	dead
)

// inside is Between for the model's small numbers; TestModel_Inside compares them.
func inside(a, x, b int8) bool {
	if a < b {
		return a < x && x < b
	}
	return a < x || x < b
}

// a view of small numbers; absent places are nobody.
type modelView struct {
	pred int8
	list [modelList]int8
}

type modelNode struct {
	modelView
	phase   phase
	target  int8
	answer  modelView
	notices uint8 // from whom notifications are on their way, a bit each
	doubts  int8  // who notified while the predecessor is asked whether it lives
}

type modelState [modelNodes]modelNode

// model explores a circle of n places with lists of r successors.
type model struct {
	n, r      int
	atomic    bool // a query, its answer and what follows are one step
	small     bool // rings of r nodes or fewer too: nothing is assumed of principals
	deaths    int  // when set, so many may die, whatever the assumption
	published struct{ joinWithoutList, adoptUnasked, keepDeadPredecessor, comeRound bool }

	space Space
	queue []modelState
}

func newModel(t *testing.T, n, r int) *model {
	return &model{n: n, r: r, space: space(t, 3)}
}

func (m *model) peer(i int8) Peer { return Peer{ID: m.space.Int(uint64(i))} }

func (m *model) number(p Peer) int8 { return int8(p.ID[len(p.ID)-1]) }

func (m *model) pack(v View) (w modelView) {
	w.pred = m.number(v.Predecessor)
	for i := range w.list {
		w.list[i] = nobody
		if i < len(v.Successors) {
			w.list[i] = m.number(v.Successors[i])
		}
	}
	return w
}

func (m *model) unpack(self int8, w modelView) View {
	v := View{Self: m.peer(self), Predecessor: m.peer(w.pred)}
	for _, p := range w.list {
		if p != nobody {
			v.Successors = append(v.Successors, m.peer(p))
		}
	}
	return v
}

func (m *model) ring(s *modelState, i int8) *Ring {
	v := m.unpack(i, s[i].modelView)
	return &Ring{self: v.Self, pred: v.Predecessor, list: v.Successors, length: m.r}
}

func (m *model) keep(s *modelState, i int8, r *Ring) { s[i].modelView = m.pack(r.View()) }

func (s *modelState) member(i int8) bool { return s[i].phase >= idle && s[i].phase < dead }

// lives reports whether i answers queries.
func (s *modelState) lives(i int8) bool { return i != nobody && s.member(i) }

func (m *model) String(s *modelState) string {
	var b strings.Builder
	for i := range int8(m.n) {
		n := s[i]
		if n.phase == outside || n.phase == dead {
			fmt.Fprintf(&b, " %d:%s", i, map[phase]string{outside: "-", dead: "dead"}[n.phase])
			continue
		}
		fmt.Fprintf(&b, " %d:{pred %d list %v phase %d target %d notices %b}", i, n.pred, n.list[:m.r], n.phase, n.target, n.notices)
	}
	return b.String()
}

// ideal returns the ring of these members with all pointers right.
func (m *model) ideal(members ...int8) (s modelState) {
	for i := range s {
		s[i] = modelNode{modelView: modelView{nobody, [modelList]int8{nobody, nobody, nobody}}, target: nobody, doubts: nobody}
	}
	for at, i := range members {
		r := NewRing(m.peer(i), m.r)
		r.pred = m.peer(members[(at+len(members)-1)%len(members)])
		var list []Peer
		for k := 1; k <= len(members); k++ {
			list = append(list, m.peer(members[(at+k)%len(members)]))
		}
		r.adopt(list)
		s[i].phase = idle
		m.keep(&s, i, r)
	}
	return s
}

// move is what leads from one state to the next.
type move struct {
	what string
	i, j int8
}

func (v move) String() string {
	if v.j == nobody {
		return fmt.Sprintf("%d %s", v.i, v.what)
	}
	return fmt.Sprintf("%d %s %d", v.i, v.what, v.j)
}

// steps calls visit with each state that can follow s, and what led there.
func (m *model) steps(s modelState, visit func(next modelState, by move)) {
	for i := range int8(m.n) {
		switch n := s[i]; n.phase {
		case outside:
			m.joins(s, i, visit)
		case joining:
			m.joined(s, i, visit)
		case dead:
		default:
			m.stabilizes(s, i, visit)
			m.rectifies(s, i, visit)
			m.dies(s, i, visit)
		}
	}
}

func (m *model) joins(s modelState, i int8, visit func(modelState, move)) {
	for j := range int8(m.n) {
		if !s.lives(j) || !Between(m.peer(j).ID, m.peer(i).ID, m.peer(s[j].list[0]).ID) {
			continue
		}
		next := s
		next[i].phase, next[i].target, next[i].answer = joining, j, s[j].modelView
		if m.atomic {
			m.joined(next, i, visit)
			continue
		}
		visit(next, move{"asks to join", i, j})
	}
}

func (m *model) joined(s modelState, i int8, visit func(modelState, move)) {
	r, joinedAt := NewRing(m.peer(i), m.r), s[i].target
	v := m.unpack(joinedAt, s[i].answer)
	r.Join(v)
	switch {
	case m.published.joinWithoutList:
		r.list = r.list[:1]
	case m.published.comeRound:
		r.adopt(append(v.Successors, v.Self))
	}
	m.keep(&s, i, r)
	s[i].phase = idle
	m.rest(&s, i)
	visit(s, move{"joins after", i, joinedAt})
}

// rest takes away what an idle node does not need, so that equal states are equal.
func (m *model) rest(s *modelState, i int8) {
	s[i].target, s[i].answer = nobody, modelView{}
}

func (m *model) notify(s *modelState, i int8) {
	if head := s[i].list[0]; head != i {
		s[head].notices |= 1 << i
	}
	s[i].phase = idle
	m.rest(s, i)
}

// stabilizes makes the next step of the node's stabilization.
func (m *model) stabilizes(s modelState, i int8, visit func(modelState, move)) {
	r := m.ring(&s, i)
	switch n := s[i]; n.phase {
	case idle:
		head := m.number(r.Head())
		switch {
		case head != i:
			s[i].phase, s[i].target = askHead, head
		case r.Candidate(r.pred):
			s[i].phase, s[i].target = askBetter, n.pred
		default:
			return // alone
		}
	case askHead, askBetter:
		if s.lives(n.target) {
			s[i].phase++
			s[i].answer = s[n.target].modelView
			break
		}
		if n.phase == askBetter {
			m.notify(&s, i)
			if n.pred == n.target && n.list[0] == i { // alone, and the last one it knew is dead
				s[i].pred = i
			}
			visit(s, move{"finds dead candidate", i, n.target})
			return
		}
		r.HeadDied(m.peer(n.target))
		m.keep(&s, i, r)
		s[i].phase = idle
		m.rest(&s, i)
		visit(s, move{"finds dead head", i, n.target})
		return
	case heardHead:
		better, ok := r.HeadAnswered(m.unpack(n.target, n.answer))
		switch {
		case ok && m.published.adoptUnasked:
			r.list[0] = better
			m.keep(&s, i, r)
			m.notify(&s, i)
		case ok:
			m.keep(&s, i, r)
			s[i].phase, s[i].target, s[i].answer = askBetter, m.number(better), modelView{}
		default:
			m.keep(&s, i, r)
			m.notify(&s, i)
		}
	case heardBetter:
		r.CandidateAnswered(m.unpack(n.target, n.answer))
		m.keep(&s, i, r)
		m.notify(&s, i)
	}
	if m.atomic && s[i].phase != idle && s[i].phase != askBetter {
		m.stabilizes(s, i, visit)
		return
	}
	visit(s, move{"stabilizes to phase", i, int8(s[i].phase)})
}

// rectifies takes one notification, or learns whether the predecessor lives.
func (m *model) rectifies(s modelState, i int8, visit func(modelState, move)) {
	r := m.ring(&s, i)
	if from := s[i].doubts; from != nobody {
		s[i].doubts = nobody
		if !s.lives(s[i].pred) {
			r.PredecessorDied(r.pred, m.peer(from))
			m.keep(&s, i, r)
		}
		visit(s, move{"rectifies for", i, from})
		return
	}
	for j := range int8(m.n) {
		if s[i].notices&(1<<j) == 0 {
			continue
		}
		next, r := s, m.ring(&s, i)
		next[i].notices &^= 1 << j
		visit(next, move{lost, i, j})
		_, ask := r.Notified(m.peer(j))
		m.keep(&next, i, r)
		if ask && !m.published.keepDeadPredecessor {
			next[i].doubts = j
		}
		visit(next, move{"is notified by", i, j})
	}
}

// dies lets a member fail, where the assumption under which the protocol is right
// still holds afterwards: nobody, with what is on its way to it, is left without a
// live successor, and there are r+1 principals.
func (m *model) dies(s modelState, i int8, visit func(modelState, move)) {
	s[i] = modelNode{modelView: modelView{nobody, [modelList]int8{nobody, nobody, nobody}}, phase: dead, target: nobody, doubts: nobody}
	if m.deaths > 0 {
		if count := s.count(dead); count <= m.deaths && modelNodes-count-s.count(outside) > m.r {
			visit(s, move{"dies", i, nobody})
		}
		return
	}
	if m.small {
		if m.reaches(&s) {
			visit(s, move{"dies", i, nobody})
		}
		return
	}
	for j := range int8(m.n) {
		n := s[j]
		if n.phase == joining && !s.anyLives(n.answer.list, nobody) {
			return
		}
		if !s.member(j) {
			continue
		}
		if !s.anyLives(n.list, nobody) {
			return
		}
		if (n.phase == heardHead || n.phase == heardBetter) && !s.anyLives(n.answer.list, n.target) {
			return
		}
	}
	if m.principals(&s) > m.r {
		visit(s, move{"dies", i, nobody})
	}
}

func (s *modelState) count(p phase) (n int) {
	for _, node := range s {
		if node.phase == p {
			n++
		}
	}
	return n
}

func (s *modelState) anyLives(list [modelList]int8, first int8) bool {
	if s.lives(first) {
		return true
	}
	for _, p := range list {
		if s.lives(p) {
			return true
		}
	}
	return false
}

// reaches reports whether every member of a small ring can still get, over live
// nodes that each knows, to every other: without that no protocol can bring them
// together.
func (m *model) reaches(s *modelState) bool {
	knows := func(i, j int8) bool { // also what is on its way
		n := s[i]
		if n.pred == j || n.notices&(1<<j) != 0 || n.target == j || n.doubts == j {
			return true
		}
		for k := range n.list {
			if n.list[k] == j {
				return true
			}
		}
		return false
	}
	var members []int8
	for i := range int8(m.n) {
		if s.member(i) {
			members = append(members, i)
		} else if s[i].phase == joining && !s.lives(s[i].target) {
			return false
		}
	}
	if len(members) == 0 {
		return false
	}
	from := map[int8]bool{members[0]: true}
	for grown := true; grown; {
		grown = false
		for _, i := range members {
			for _, j := range members {
				if from[i] != from[j] && (knows(i, j) || knows(j, i)) {
					from[i], from[j], grown = true, true, true
				}
			}
		}
	}
	return len(from) == len(members)
}

// principals counts the members that nobody's list skips.
func (m *model) principals(s *modelState) (count int) {
	for p := range int8(m.n) {
		if s.member(p) && !m.skipped(s, p) {
			count++
		}
	}
	return count
}

func (m *model) skipped(s *modelState, p int8) bool {
	for i := range int8(m.n) {
		if !s.member(i) {
			continue
		}
		a := i
		for _, b := range s[i].list {
			if b == nobody {
				break
			}
			if a != b && inside(a, p, b) {
				return true
			}
			a = b
		}
	}
	return false
}

// wrong says what is wrong with s, or nothing.
func (m *model) wrong(s *modelState) string {
	best := [modelNodes]int8{}
	members := 0
	for i := range int8(m.n) {
		best[i] = nobody
		if !s.member(i) {
			continue
		}
		members++
		for k, p := range s[i].list {
			if p == nobody {
				break
			}
			if best[i] == nobody && s.lives(p) {
				best[i] = p
			}
			if k > 0 && (p == i || !inside(s[i].list[k-1], p, i)) {
				return fmt.Sprintf("the list of %d is out of order", i)
			}
		}
		if best[i] == nobody && !m.small {
			return fmt.Sprintf("%d has no live successor", i)
		}
	}
	if m.small {
		return ""
	}
	if got := m.principals(s); got <= m.r && m.deaths == 0 {
		return fmt.Sprintf("%d principals", got)
	}
	return m.notOneRing(best, members)
}

// notOneRing checks that first live successors make one ring, in order, which every
// member leads to.
func (m *model) notOneRing(best [modelNodes]int8, members int) string {
	ring := [modelNodes]bool{}
	rings := 0
	for i := range int8(m.n) {
		if best[i] == nobody {
			continue
		}
		p := best[i]
		for range members {
			if p == i {
				break
			}
			p = best[p]
		}
		if p != i {
			continue // leads into the ring
		}
		if !ring[i] {
			rings++
			for p := i; !ring[p]; p = best[p] {
				ring[p] = true
			}
		}
	}
	if rings != 1 {
		return fmt.Sprintf("%d rings", rings)
	}
	for i := range int8(m.n) {
		for j := range int8(m.n) {
			if ring[i] && ring[j] && best[i] != i && inside(i, j, best[i]) {
				return fmt.Sprintf("the ring passes %d between %d and %d", j, i, best[i])
			}
		}
	}
	return ""
}

// run visits all states that can be reached from the starts, at most limit, and
// returns how many there were and the first that is wrong, with the way to it.
func (m *model) run(starts []modelState, limit int) (states int, failure string) {
	type step struct {
		from modelState
		by   move
	}
	came := map[modelState]step{}
	add := func(s, from modelState, by move) {
		if _, ok := came[s]; !ok {
			came[s] = step{from, by}
			m.queue = append(m.queue, s)
		}
	}
	for _, s := range starts {
		add(s, modelState{}, move{what: start})
	}
	for at := 0; at < len(m.queue) && at < limit; at++ {
		s := m.queue[at]
		why := m.wrong(&s)
		if why == "" && at%m.every() == 0 {
			why = m.neverSettles(s)
		}
		if why != "" {
			var way []string
			for c, ok := came[s]; ok && c.by.what != start; c, ok = came[c.from] {
				way = append([]string{c.by.String()}, way...)
			}
			return at, fmt.Sprintf("%s:%s\nafter %s", why, m.String(&s), strings.Join(way, "; "))
		}
		m.steps(s, func(next modelState, by move) { add(next, s, by) })
	}
	return len(m.queue), ""
}

// every is how many states are visited for one whose quiet future is played out.
func (m *model) every() int { return 7 }

// neverSettles plays what follows when nobody joins or dies any more: in turns each
// node stabilizes and hears its notifications. The ring must become ideal.
func (m *model) neverSettles(s modelState) string {
	first := func(step func(modelState, int8, func(modelState, move)), i int8) {
		var last modelState
		got := false
		step(s, i, func(next modelState, by move) {
			if by.what != lost {
				last, got = next, true
			}
		})
		if got {
			s = last
		}
	}
	var members []int8
	for i := range int8(m.n) {
		if s[i].phase == joining {
			first(m.joined, i)
		}
		if s.member(i) {
			members = append(members, i)
		}
	}
	ideal := m.ideal(members...)
	for range 12 * m.n {
		settled := true
		for _, i := range members {
			settled = settled && s[i].modelView == ideal[i].modelView
			for range 6 { // to the end of one stabilization
				first(m.stabilizes, i)
			}
			for range 2 * m.n {
				first(m.rectifies, i)
			}
		}
		if settled {
			return ""
		}
	}
	return "never settles"
}

// starts are the ideal rings of at least so many of the places.
func (m *model) starts(atLeast int) (all []modelState) {
	for set := range 1 << m.n {
		var members []int8
		for i := range int8(m.n) {
			if set&(1<<i) != 0 {
				members = append(members, i)
			}
		}
		if len(members) >= atLeast {
			all = append(all, m.ideal(members...))
		}
	}
	return all
}

func limitOf(usual int) int {
	if os.Getenv("AETHER_LONG") != "" {
		return 100 * usual
	}
	if testing.Short() {
		return usual / 10
	}
	return usual
}

func TestModel_Inside(t *testing.T) {
	m := newModel(t, modelNodes, modelList)
	for a := range int8(modelNodes) {
		for x := range int8(modelNodes) {
			for b := range int8(modelNodes) {
				if inside(a, x, b) != Between(m.peer(a).ID, m.peer(x).ID, m.peer(b).ID) {
					t.Errorf("inside(%d, %d, %d)", a, x, b)
				}
			}
		}
	}
}

func TestModel_StaysOneOrderedRing(t *testing.T) {
	for _, c := range []struct {
		n, r, deaths int
		atomic       bool
		limit        int
	}{
		{4, 2, 0, true, 1 << 30}, {5, 2, 0, true, 30_000}, {4, 2, 0, false, 60_000}, {5, 3, 0, true, 30_000},
		{4, 2, 1, false, 60_000}, {5, 2, 1, true, 30_000}, {5, 3, 2, true, 30_000},
	} {
		t.Run(fmt.Sprintf("n=%d r=%d deaths=%d atomic=%v", c.n, c.r, c.deaths, c.atomic), func(t *testing.T) {
			m := newModel(t, c.n, c.r)
			m.atomic, m.deaths = c.atomic, c.deaths
			limit := limitOf(c.limit)
			states, failure := m.run(m.starts(c.r+1), limit)
			t.Logf("%d states, all of them: %v", min(states, limit), states < limit)
			if failure != "" {
				t.Error(failure)
			}
		})
	}
}

func TestModel_SmallRingsSettle(t *testing.T) {
	for _, c := range []struct{ n, r, limit int }{{2, 3, 1 << 30}, {3, 3, 60_000}} {
		m := newModel(t, c.n, c.r)
		m.small = true
		limit := limitOf(c.limit)
		states, failure := m.run(m.starts(1), limit)
		t.Logf("%d nodes: %d states, all of them: %v", c.n, min(states, limit), states < limit)
		if failure != "" {
			t.Error(failure)
		}
	}
}

func TestModel_FindsTheFaultsOfTheProtocolAsPublished(t *testing.T) {
	for _, c := range []struct {
		fault        string
		n, r, deaths int
		set          func(*model)
	}{
		{"a newcomer has one successor", 4, 2, 1, func(m *model) { m.published.joinWithoutList = true }},
		{"who is heard of is adopted unasked", 4, 2, 0, func(m *model) { m.published.adoptUnasked = true }},
		{"a dead predecessor is kept", 4, 2, 0, func(m *model) { m.published.keepDeadPredecessor = true }},
		{"a list with a gap is taken to have come round", 5, 2, 0, func(m *model) { m.published.comeRound = true }},
	} {
		t.Run(c.fault, func(t *testing.T) {
			m := newModel(t, c.n, c.r)
			m.atomic, m.deaths = true, c.deaths
			c.set(m)
			states, failure := m.run(m.starts(c.r+1), 300_000)
			if failure == "" {
				t.Fatalf("nothing wrong in %d states", states)
			}
			t.Logf("after %d states: %s", states, failure)
		})
	}
}
