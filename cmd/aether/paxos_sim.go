package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos/sim"
)

func paxosSimCommand() *cli.Command {
	return &cli.Command{
		Name:  "sim",
		Usage: "run simulated clusters that fail in every way, from a seed",
		Description: "A seed draws a cluster, its clients and a random subset of the faults of network, disk, process and clock, and\n" +
			"always leads to the same run. Whatever goes wrong is said with the seed that shows it again; --trace draws it, a\n" +
			"column a node, time going down. --mutate plants a known mistake, which must be found: " + strings.Join(sim.Mutations(), ", ") + ".\n" +
			"Of a failure it is found out which faults it needs; --faults runs a seed with those alone.\n" +
			"JSON events: seed {seed, nodes, faults, chosen, answers, steps, virtual_s, hash, failure, needs}, trace {line},\n" +
			"summary {seeds, failed}.\n" +
			"Exit status: 0 every check held, 1 one did not." +
			examples(`aether paxos sim --seed 7 --trace`, `aether paxos sim --seeds 1000`, `aether paxos sim --mutate no-gap-fill --seeds 100`),
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "seed", Usage: "begin with seed `N`"},
			&cli.Uint64Flag{Name: "seeds", Value: 1, Usage: "run `N` seeds, or until one fails"},
			&cli.StringFlag{Name: "mutate", Usage: "plant the mistake `NAME`"},
			&cli.StringFlag{Name: "faults", Usage: "of the faults that the seed draws, make only `NAME[,NAME...]`"},
			&cli.BoolFlag{Name: "trace", Usage: "draw what happens"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			s := simulation{first: c.Uint64("seed"), seeds: c.Uint64("seeds"), mutate: c.String("mutate"), trace: c.Bool("trace")}
			if s.seeds == 0 {
				return usage("--seeds must be at least 1")
			}
			if s.mutate != "" && !slices.Contains(sim.Mutations(), s.mutate) {
				return usage("--mutate takes one of %s", strings.Join(sim.Mutations(), ", "))
			}
			if c.IsSet("faults") {
				only, err := sim.ParseFaults(c.String("faults"))
				if err != nil {
					return usage("%w", err)
				}
				s.faults = &only
			}
			return paxosSim(c.Context, out, s)
		},
	}
}

// simulation is what paxosSimCommand was asked for.
type simulation struct {
	first, seeds uint64
	mutate       string
	faults       *sim.FaultMask // nil: all that the seed draws
	trace        bool
}

func paxosSim(ctx context.Context, out *printer, s simulation) error {
	var ran, bad uint64
	for seed := s.first; ran < s.seeds && bad == 0 && ctx.Err() == nil; seed++ {
		o := sim.Options{Seed: seed, Mutate: s.mutate, Faults: s.faults}
		if s.trace {
			o.Trace = traceTo{out}
		}
		r, err := sim.Run(o)
		if err != nil {
			return err
		}
		ran++
		if r.Failure != "" {
			bad++
		}
		if s.seeds == 1 || out.json || r.Failure != "" {
			if err := printSim(out, r, o); err != nil {
				return err
			}
		}
	}
	text := ""
	if s.seeds > 1 {
		text = fmt.Sprintf("%d seeds from %d on: %d failed", ran, s.first, bad)
	}
	if err := out.event("summary", text, "seeds", ran, "failed", bad); err != nil {
		return err
	}
	if bad > 0 {
		return failed()
	}
	if ctx.Err() != nil {
		return &statusError{statusSignal, errors.New("interrupted")}
	}
	return nil
}

func printSim(out *printer, r sim.Result, o sim.Options) error {
	text := fmt.Sprintf("seed %d: %d nodes, %d slots chosen, %d answers in %.1f s of their time, trace hash %016x\nfaults: %v\n",
		r.Seed, r.Nodes, r.Chosen, r.Answers, r.Virtual.Seconds(), r.Hash, r.Faults)
	needs := ""
	if r.Failure == "" {
		text += "every check held"
	} else {
		left, _, err := sim.Shrink(o, r)
		if err != nil {
			return err
		}
		needs = left.String()
		text += fmt.Sprintf("FAILED: %s\nagain: aether paxos sim --trace --seed %d --faults '%s'", r.Failure, r.Seed, needs)
		if o.Mutate != "" {
			text += " --mutate " + o.Mutate
		}
	}
	return out.event("seed", text, "seed", r.Seed, "nodes", r.Nodes, "faults", r.Faults.String(), "chosen", r.Chosen, "answers", r.Answers,
		"steps", r.Steps, "virtual_s", r.Virtual.Seconds(), "hash", fmt.Sprintf("%016x", r.Hash), "failure", r.Failure, "needs", needs)
}

// traceTo prints the lines that the simulator writes.
type traceTo struct{ out *printer }

// Write takes whole lines.
func (t traceTo) Write(b []byte) (int, error) {
	line := string(bytes.TrimRight(b, "\n"))
	return len(b), t.out.event("trace", line, "line", line)
}
