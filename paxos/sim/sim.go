package sim

import (
	"fmt"
	"io"
	"time"
)

// Options say what to run.
type Options struct {
	Seed uint64
	// Mutate is the planted mistake to make, one of Mutations; "" is none.
	Mutate string
	// Trace receives the run as a diagram; nil: nobody.
	Trace io.Writer
	// Steps bounds what happens; 0 is 2,000,000.
	Steps uint64
	// Faults, if given, is a mask on what the seed enables: to find out which faults a
	// failure needs.
	Faults *FaultMask
	// Nodes and Ops, if given, are the size of the cluster and how many operations
	// all clients do together, instead of what the seed draws.
	Nodes, Ops int
	// CrashAt crashes a host, in turn, at the n-th thing that hosts do: a message or a
	// timeout taken in, a record saved. 0: never.
	CrashAt uint64
}

// Result says what became of a run.
type Result struct {
	Seed    uint64
	Nodes   int
	Faults  FaultMask // that were enabled
	Chosen  int       // slots
	Answers int       // operations that were answered
	Steps   uint64
	Crashes int
	Virtual time.Duration
	// Hash is of everything that happened: two runs of a seed have the same.
	Hash uint64
	// Failure says what went wrong; "" is nothing. It begins with the letter of the
	// check in the package comment, or with "liveness".
	Failure string
}

// Run runs one seed: a safety phase, in which what the seed enabled goes wrong, and a
// liveness phase, in which nothing does and the cluster must become whole. It returns
// an error only for an unknown mutation.
func Run(o Options) (Result, error) {
	if _, ok := mutationOf(o.Mutate); !ok {
		return Result{}, fmt.Errorf("sim: run: no mutation is called %q", o.Mutate)
	}
	if o.Steps == 0 {
		o.Steps = 2_000_000
	}
	w := newWorld(o)
	if o.CrashAt > 0 {
		w.run(30*time.Second, w.settled)
	} else {
		w.run(8*time.Second+time.Duration(w.rng.IntN(8))*time.Second, nil)
	}
	if w.failure == "" {
		w.settle()
		w.run(w.now+60*time.Second, w.settled)
		if w.failure == "" && !w.settled() {
			w.fail("%s", w.unsettled())
		}
	}
	if w.failure == "" {
		w.check.finish()
	}
	answers := 0
	for _, op := range w.check.history {
		if op.answered {
			answers++
		}
	}
	return Result{
		Seed: o.Seed, Nodes: w.knobs.nodes, Faults: w.knobs.faults, Chosen: len(w.check.order), Answers: answers,
		Steps: w.seq, Crashes: w.crashes, Virtual: w.now, Hash: w.digest.Sum64(), Failure: w.failure,
	}, nil
}

// Shrink takes faults away from a run that fails, one after the other, as long as it
// fails in the same check, and returns those that are left: what the failure needs.
func Shrink(o Options, r Result) (FaultMask, Result, error) {
	left := r.Faults
	o.Trace = nil
	for f := range faults {
		if !left.has(f) {
			continue
		}
		fewer := left &^ (1 << f)
		o.Faults = &fewer
		s, err := Run(o)
		if err != nil {
			return left, r, err
		}
		if s.Failure != "" && s.Failure[0] == r.Failure[0] && s.Failure[1] == r.Failure[1] {
			left, r = fewer, s
		}
	}
	return left, r, nil
}
