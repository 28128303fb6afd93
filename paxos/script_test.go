package paxos

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
)

// TestScripts runs the scenarios of testdata. Their commands are
//
//	nodes N            a cluster of N, messages take a millisecond
//	run D              lets D pass and draws what arrives; heartbeats are left out
//	rest D             lets D pass and draws nothing
//	propose V...       the leader proposes
//	crash N, start N   ends and starts node N
//	cut N              cuts node N off; join heals
//	chosen             what every node has applied
//	roles              who is what
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(tb testing.TB) func([]string) string {
		s := &scenario{t: tb.(*testing.T)}
		return s.do
	})
}

type scenario struct {
	t     *testing.T
	c     *cluster
	out   strings.Builder
	draw  bool
	began time.Time
}

func (s *scenario) do(args []string) string {
	s.out.Reset()
	s.t.Helper()
	number := func(i int) NodeID {
		v, err := strconv.ParseUint(args[i], 10, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		return NodeID(v)
	}
	switch args[0] {
	case "nodes":
		s.c = newCluster(s.t, int(number(1)), nil)
		s.began = s.c.now
		s.c.seen = s.arrives
	case "run", "rest":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		if s.draw = args[0] == "run"; s.draw {
			fmt.Fprintf(&s.out, "%9s %s\n", "", s.diagram().Header())
		}
		s.c.run(d)
	case "propose":
		s.c.propose(s.c.leader(), args[1:]...)
	case "crash":
		s.c.crash(number(1))
	case "start":
		s.c.start(number(1))
	case "cut":
		lost := number(1)
		s.c.cut = func(a, b NodeID) bool { return a == lost || b == lost }
	case "join":
		s.c.cut = func(NodeID, NodeID) bool { return false }
	case "chosen":
		for _, id := range s.c.ids() {
			fmt.Fprintf(&s.out, "node %v: %s\n", id, strings.Join(s.c.commands(id), " "))
		}
	case "roles":
		for _, id := range s.c.ids() {
			n := s.c.nodes[id]
			line := fmt.Sprintf("node %v: %v, promised %v, chosen %v %s", id, n.role, n.acc.promised, n.chosen, n.Status(s.c.now).Stuck)
			fmt.Fprintln(&s.out, strings.TrimSpace(line))
		}
	default:
		s.t.Fatalf("unknown command %q", args)
	}
	return s.out.String()
}

func (s *scenario) diagram() Diagram {
	d := Diagram{Width: 26}
	ids := s.c.ids()
	for id := range slices.Max(ids) {
		d.Columns = append(d.Columns, fmt.Sprintf("n%d", id+1))
	}
	return d
}

func (s *scenario) arrives(from, to NodeID, b Body) {
	switch v := b.(type) {
	case Accept:
		if len(v.Entries) == 0 {
			return
		}
	case Accepted:
		if v.Through == s.c.nodes[from].chosen && v.Want == 0 {
			return
		}
	case Hello, HelloReply:
		return
	}
	if s.draw {
		at := s.c.now.Sub(s.began)
		fmt.Fprintf(&s.out, "%8dms %s\n", at.Milliseconds(), s.diagram().Arrow(int(from)-1, int(to)-1, Describe(b)))
	}
}
