package paxos

import (
	"fmt"
	"testing"
)

// single is a state of three acceptors and two proposers with a number each. The
// network is the set of what was ever sent: any of it may arrive at any time, any
// number of times, or never. So the states reached are those of every order of
// arrival, with every loss and every duplication.
type single struct {
	acceptors [3]Acceptor
	proposers [2]Proposer
	prepares  [2]bool // sent, by proposer
	promises  [2][3][3]promised
	accepts   [2]Proposal
	accepted  [2][3]bool // by proposal's proposer and acceptor
}

// promised is a promise on the network, if sent.
type promised struct {
	sent     bool
	accepted Proposal
}

// number returns the number of proposer n.
func number(n int) Ballot { return Ballot{Round: 1, Node: NodeID(n + 1)} }

func newSingle() (s single) {
	for n := range s.proposers {
		s.proposers[n] = Proposer{N: number(n), Value: string(rune('a' + n)), Quorum: 2}
		s.prepares[n] = true
	}
	return s
}

// chosen returns what a majority of acceptors has accepted under one number.
func (s *single) chosen() (list []string) {
	for n := range s.accepts {
		count := 0
		for _, ok := range s.accepted[n] {
			if ok {
				count++
			}
		}
		if count >= 2 {
			list = append(list, s.accepts[n].Value)
		}
	}
	return list
}

// next calls visit with every state that one arrival leads to.
func (s *single) next(prepare func(*Acceptor, Ballot) (Proposal, bool), visit func(single)) {
	for n := range s.proposers {
		for a := range s.acceptors {
			t := *s
			if p, ok := prepare(&t.acceptors[a], number(n)); ok {
				t.keep(n, a, p)
				visit(t)
			}
			for _, p := range s.promises[n][a] {
				if p.sent {
					t := *s
					if out, ready := t.proposers[n].OnPromise(a, p.accepted); ready {
						t.accepts[n] = out
					}
					visit(t)
				}
			}
			if !s.accepts[n].IsZero() {
				t := *s
				if t.acceptors[a].OnAccept(s.accepts[n]) {
					t.accepted[n][a] = true
					visit(t)
				}
			}
		}
	}
}

// keep puts a promise on the network, if it is not there.
func (s *single) keep(n, a int, p Proposal) {
	for i := range s.promises[n][a] {
		switch m := &s.promises[n][a][i]; {
		case m.sent && m.accepted == p:
			return
		case !m.sent:
			*m = promised{true, p}
			return
		}
	}
	panic("more kinds of promises than there is room for")
}

// key is the state in few bytes. A number's value is said once, with its proposal.
func (s *single) key() (k [40]byte) {
	i := 0
	put := func(v byte) { k[i] = v; i++ }
	for _, a := range s.acceptors {
		put(byte(a.Promised.Node)<<4 | byte(a.Accepted.N.Node))
	}
	for n, p := range s.proposers {
		put(byte(p.promises)<<4 | byte(p.highest.N.Node))
		put(("\x00" + s.accepts[n].Value)[len(s.accepts[n].Value)])
		for a := range s.acceptors {
			for _, m := range s.promises[n][a] {
				if m.sent {
					k[i] = byte(m.accepted.N.Node) + 1
				}
				i++
			}
			if s.accepted[n][a] {
				k[i] = 1
			}
			i++
		}
	}
	return k
}

// explore visits every state that can be reached, up to limit, and returns how many
// there are and what was wrong.
func explore(limit int, prepare func(*Acceptor, Ballot) (Proposal, bool)) (states int, wrong string) {
	first := newSingle()
	seen := map[[40]byte]bool{first.key(): true}
	todo := []single{first}
	for len(todo) > 0 && wrong == "" && len(seen) < limit {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if c := s.chosen(); len(c) > 1 && c[0] != c[len(c)-1] {
			wrong = fmt.Sprintf("chosen: %q", c)
		}
		s.next(prepare, func(t single) {
			if k := t.key(); t != s && !seen[k] {
				seen[k] = true
				todo = append(todo, t)
			}
		})
	}
	return len(seen), wrong
}

// All orders of arrival of all messages between two proposers and three acceptors,
// each message lost, once or many times there: one value is chosen at most.
func TestSingle_PMS_2_2_OneValueInEveryInterleaving(t *testing.T) {
	states, wrong := explore(1_000_000, (*Acceptor).OnPrepare)
	if wrong != "" {
		t.Error(wrong)
	}
	if states < 1000 || states == 1_000_000 {
		t.Errorf("%d states: not what there are", states)
	}
	t.Logf("%d states", states)
}

// The same search finds what is wrong with an acceptor that does not tell what it
// accepted, and with one that forgets its promise.
func TestSingle_InterleavingsFindMistakes(t *testing.T) {
	silent := func(a *Acceptor, n Ballot) (Proposal, bool) {
		_, ok := a.OnPrepare(n)
		return Proposal{}, ok
	}
	forgetful := func(a *Acceptor, n Ballot) (Proposal, bool) {
		before := a.Promised
		p, ok := a.OnPrepare(n)
		a.Promised = before
		return p, ok
	}
	for name, prepare := range map[string]func(*Acceptor, Ballot) (Proposal, bool){"silent": silent, "forgetful": forgetful} {
		if _, wrong := explore(1_000_000, prepare); wrong == "" {
			t.Errorf("the %s acceptor passes", name)
		}
	}
}
