package paxos

import (
	"fmt"
	"strconv"
)

// Form says what a promise carries in WorkedExample.
type Form string

// The forms of the worked example.
const (
	// Textbook: a promise tells the highest-numbered proposal that was accepted, as in
	// "Paxos Made Simple".
	Textbook Form = "textbook"
	// Text: a promise tells the highest-numbered proposal that was seen, accepted or
	// only asked about, and a prepare request brings its value along.
	Text Form = "text"
)

// Step is a message of the worked example, and what came of it.
type Step struct {
	Kind     string // prepare, promise, ignored, accept, accepted, refused, chosen
	From, To string // parties: A, B, C, X, Y, Z; of chosen, From is the proposer
	N        uint64
	Value    string // of accept, accepted and chosen; of a promise, the value it tells
	Told     uint64 // the number that a promise tells, 0: none
	Why      string // in words, for people
}

// exampleRun runs the single-decree values of single.go and notes what they do.
type exampleRun struct {
	form      Form
	steps     []Step
	acceptors [3]Acceptor
	seen      [3]Proposal // by acceptors, for the form Text
	proposers map[string]*Proposer
	proposals map[string]Proposal
	learner   Learner
	done      bool
}

// exampleAcceptors are the acceptors' names.
var exampleAcceptors = [3]string{"X", "Y", "Z"}

// WorkedExample replays an example with acceptors X, Y, Z and proposers A (n=2, v=8),
// B (n=4, v=5) and C (n=6, v=7). A reaches X and Y first, B reaches Z first; A's
// prepare comes late to Z. B learns of 8 and must propose it; 8 is chosen, and C can
// only confirm it.
//
// In the form Text, X and Y tell B of A's proposal because they have seen it. In the
// form Textbook they tell only what they accepted, so there A's accept request
// reaches X before B's prepare does; in the order of the text B would hear of
// nothing and be free to propose 5.
func WorkedExample(form Form) ([]Step, error) {
	if form != Textbook && form != Text {
		return nil, fmt.Errorf("paxos: worked example: form %q, want %s or %s", form, Textbook, Text)
	}
	r := &exampleRun{form: form, proposers: map[string]*Proposer{}, proposals: map[string]Proposal{}, learner: Learner{Quorum: 2}}
	r.add("A", 2, "8")
	r.add("B", 4, "5")
	r.add("C", 6, "7")
	const x, y, z = 0, 1, 2
	r.prepare("A", x)
	r.prepare("A", y)
	r.prepare("B", z)
	r.prepare("A", z) // late: 4 was promised
	if form == Textbook {
		r.accept("A", x) // in time at X alone: not chosen
	}
	r.prepare("B", x)
	r.prepare("B", y)
	if form == Text {
		r.accept("A", x)
	}
	r.accept("A", y)
	r.accept("A", z)
	for _, a := range []int{x, y, z} {
		r.accept("B", a)
	}
	for _, a := range []int{x, y, z} {
		r.prepare("C", a)
	}
	for _, a := range []int{x, y, z} {
		r.accept("C", a)
	}
	return r.steps, nil
}

func (r *exampleRun) add(name string, n uint64, value string) {
	r.proposers[name] = &Proposer{N: Ballot{Round: n}, Value: value, Quorum: 2}
}

func (r *exampleRun) step(s Step) { r.steps = append(r.steps, s) }

// prepare carries a prepare request to acceptor number a, and the promise back.
func (r *exampleRun) prepare(name string, a int) {
	p, to := r.proposers[name], exampleAcceptors[a]
	n := p.N.Round
	r.step(Step{Kind: "prepare", From: name, To: to, N: n})
	promised := r.acceptors[a].Promised.Round
	told, ok := r.acceptors[a].OnPrepare(p.N)
	if !ok {
		r.step(Step{Kind: "ignored", From: to, To: name, N: n, Why: fmt.Sprintf("%d > %d", promised, n)})
		return
	}
	if r.form == Text {
		told = r.seen[a]
		if told.N.Less(p.N) {
			r.seen[a] = Proposal{p.N, p.Value}
			if !told.IsZero() {
				r.seen[a].Value = told.Value
			}
		}
	}
	r.step(Step{Kind: "promise", From: to, To: name, N: n, Told: told.N.Round, Value: told.Value})
	if out, ready := p.OnPromise(a, told); ready {
		r.proposals[name] = out
	}
}

// accept carries an accept request to acceptor number a, and the answer to the
// proposer and the learners.
func (r *exampleRun) accept(name string, a int) {
	p, to := r.proposals[name], exampleAcceptors[a]
	n := p.N.Round
	why := ""
	if own := r.proposers[name].Value; p.Value != own {
		why = "not " + own
	}
	r.step(Step{Kind: "accept", From: name, To: to, N: n, Value: p.Value, Why: why})
	promised := r.acceptors[a].Promised.Round
	if !r.acceptors[a].OnAccept(p) {
		r.step(Step{Kind: "refused", From: to, To: name, N: n, Value: p.Value, Why: fmt.Sprintf("%d > %d", promised, n)})
		return
	}
	r.seen[a] = p
	r.step(Step{Kind: "accepted", From: to, To: name, N: n, Value: p.Value})
	before := r.done
	if r.learner.OnAccepted(a, p) && (!before || r.learner.accepted[p].len() == 2) {
		r.done = true
		why = "a majority has accepted it"
		if before {
			why = "as before"
		}
		r.step(Step{Kind: "chosen", From: name, N: n, Value: p.Value, Why: why})
	}
}

// String returns the step in words: "promise n=4, accepted n=2 v=8".
func (s Step) String() string {
	n := "n=" + strconv.FormatUint(s.N, 10)
	switch s.Kind {
	case "promise":
		if s.Told == 0 {
			return "promise " + n
		}
		return fmt.Sprintf("promise %s, has n=%d v=%s", n, s.Told, s.Value)
	case "ignored":
		return "ignored: " + s.Why
	case "refused":
		return "refused: " + s.Why
	case "accept":
		if s.Why != "" {
			return fmt.Sprintf("accept %s v=%s, %s", n, s.Value, s.Why)
		}
		return fmt.Sprintf("accept %s v=%s", n, s.Value)
	case "accepted":
		return fmt.Sprintf("accepted %s v=%s", n, s.Value)
	case "chosen":
		return fmt.Sprintf("chosen: %s (%s)", s.Value, s.Why)
	}
	return s.Kind + " " + n
}

// DrawExample draws steps as a sequence diagram, a line each.
func DrawExample(steps []Step) []string {
	d := Diagram{Columns: []string{"A", "B", "C", "X", "Y", "Z"}, Width: 14}
	column := func(name string) int {
		for i, c := range d.Columns {
			if c == name {
				return i
			}
		}
		return 0
	}
	lines := []string{d.Header()}
	for _, s := range steps {
		if s.Kind == "chosen" {
			lines = append(lines, "", "    "+s.String(), "")
			continue
		}
		lines = append(lines, d.Arrow(column(s.From), column(s.To), s.String()))
	}
	return lines
}
