package main

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/aether-lan/aether/dht/sim"
)

func (s *ringSim) printRing(alive int) error {
	text := fmt.Sprintf("%d nodes on a circle of 2^%d points, each knows %d successors; seed %d", s.ring.Nodes, s.ring.Bits, s.ring.List, s.ring.Seed)
	if dead := s.ring.Nodes - alive; dead > 0 {
		text += fmt.Sprintf("\n%d of them died at once, and nothing is repaired yet", dead)
	}
	return s.out.event("ring", text, "nodes", s.ring.Nodes, "alive", alive, "bits", s.ring.Bits, "list", s.ring.List, "seed", s.ring.Seed)
}

func (s *ringSim) printLookups(l sim.Lookups) error {
	half, expected := halfLog2(s.ring.Nodes), sim.ExpectedHops(s.ring.Nodes, min(s.ring.List, s.ring.Nodes))
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d lookups: %d failed, %d found a wrong owner; %.1f questions and %.0f bytes each\n", l.Asked, l.Failed, l.Wrong,
		float64(l.Messages)/float64(l.Asked), float64(l.Bytes)/float64(l.Asked))
	fmt.Fprintf(&b, "             mean    1%%   50%%   99%%  most\n")
	spreadLine(&b, "hops", l.Hops)
	spreadLine(&b, "timeouts", l.Timeouts)
	spreadLine(&b, "asked", l.Served)
	fmt.Fprintf(&b, "half log2 of the nodes is %.2f hops; the paper's formula for such lists gives %.2f when nobody is dead\n", half, expected)
	fmt.Fprintf(&b, "(asked: how often each node was)\n")
	bars(&b, "hops", l.Hops)
	if l.Timeouts.Max() > 0 {
		bars(&b, "timeouts", l.Timeouts)
	}
	return s.out.event("lookups", strings.TrimRight(b.String(), "\n"), "asked", l.Asked, "failed", l.Failed, "wrong", l.Wrong,
		"hops_mean", l.Hops.Mean(), "hops_p1", l.Hops.Percentile(0.01), "hops_p50", l.Hops.Percentile(0.5), "hops_p99", l.Hops.Percentile(0.99),
		"hops_max", l.Hops.Max(), "half_log2_n", half, "expected", expected, "hops", counts(l.Hops),
		"timeouts_mean", l.Timeouts.Mean(), "timeouts_p1", l.Timeouts.Percentile(0.01), "timeouts_p50", l.Timeouts.Percentile(0.5),
		"timeouts_p99", l.Timeouts.Percentile(0.99), "timeouts_max", l.Timeouts.Max(), "timeouts", counts(l.Timeouts),
		"messages", l.Messages, "bytes", l.Bytes, "served_mean", l.Served.Mean(), "served_p99", l.Served.Percentile(0.99), "served_max", l.Served.Max())
}

// spreadLine writes a line about a histogram.
func spreadLine(b *strings.Builder, name string, h sim.Histogram) {
	fmt.Fprintf(b, "  %-8s %6.2f %5d %5d %5d %5d\n", name, h.Mean(), h.Percentile(0.01), h.Percentile(0.5), h.Percentile(0.99), h.Max())
}

// counts is h as a list in JSON, also when it is empty.
func counts(h sim.Histogram) []uint64 { return append([]uint64{}, h...) }

func halfLog2(n int) float64 { return 0.5 * math.Log2(float64(n)) }

// bars draws a histogram, a line for each number from the first that was seen.
func bars(b *strings.Builder, name string, h sim.Histogram) {
	const widest = 50
	fmt.Fprintf(b, "\n%8s\n", name)
	most := uint64(1)
	for _, c := range h {
		most = max(most, c)
	}
	seen := false
	for n, c := range h {
		if seen = seen || c > 0; !seen {
			continue
		}
		fmt.Fprintf(b, "%8d %s %d\n", n, strings.Repeat("#", int((c*widest+most-1)/most)), c)
	}
}

func (s *ringSim) printLoad(cfg sim.LoadConfig, h sim.Histogram) error {
	mean := h.Mean()
	over := func(n int) float64 { return float64(n) / max(mean, 1e-9) }
	points := ""
	if cfg.Virtual > 1 {
		points = fmt.Sprintf(", each at %d points", cfg.Virtual)
	}
	text := fmt.Sprintf("\n%d keys on %d nodes%s: %.1f keys a node; 1%% have %d or fewer, 99%% have %d (%.1f times the mean) or fewer,\n"+
		"the busiest has %d (%.1f times the mean)", cfg.Keys, cfg.Nodes, points, mean, h.Percentile(0.01), h.Percentile(0.99), over(h.Percentile(0.99)),
		h.Max(), over(h.Max()))
	return s.out.event("load", text, "nodes", cfg.Nodes, "virtual", cfg.Virtual, "keys", cfg.Keys, "mean", mean,
		"p1", h.Percentile(0.01), "p50", h.Percentile(0.5), "p99", h.Percentile(0.99), "max", h.Max())
}

// paperTables does what the Chord paper did, and sets its figures beside ours.
func (s *ringSim) paperTables(ctx context.Context) error {
	for _, table := range []func(context.Context) error{s.paperFailures, s.paperLists, s.paperHops, s.paperLoad} {
		if err := table(ctx); err != nil {
			return err
		}
	}
	return nil
}

// title is the line above a table, and nothing in JSON.
func (s *ringSim) title(text string) error {
	if s.out.json {
		return nil
	}
	return s.out.line("\n" + text)
}

func (s *ringSim) paperFailures(ctx context.Context) error {
	ring, err := sim.NewStatic(sim.StaticConfig{Nodes: 1000, List: 20, Seed: s.ring.Seed})
	if err != nil {
		return err
	}
	if err := s.title("Chord, table II: 1000 nodes with lists of 20, some die at once; 10000 lookups before any repair\n" +
		"     dead     hops   paper   timeouts   paper   failed"); err != nil {
		return err
	}
	for _, p := range sim.PaperTableII() {
		l, err := s.lookUp(ctx, ring, p.Share, 10_000)
		if err != nil {
			return err
		}
		s.progress.end()
		text := fmt.Sprintf("  %5.0f %%   %6.2f  %6.2f     %6.2f  %6.2f   %6d", 100*p.Share, l.Hops.Mean(), p.Hops, l.Timeouts.Mean(), p.Timeouts, l.Failed+l.Wrong)
		if err := s.out.event("paper_failures", text, "share", p.Share, "hops", l.Hops.Mean(), "paper_hops", p.Hops,
			"timeouts", l.Timeouts.Mean(), "paper_timeouts", p.Timeouts, "asked", l.Asked, "failed", l.Failed+l.Wrong); err != nil {
			return err
		}
	}
	return nil
}

func (s *ringSim) paperLists(ctx context.Context) error {
	if err := s.title("Lists that are too short: half of 1000 nodes die. Lookups that fail, beside plain Chord, which does not go back to\n" +
		"ask another way, and beside those that nobody can find: all successors of the node before the key are dead\n" +
		"     list   failed    plain   unavoidable"); err != nil {
		return err
	}
	for _, p := range sim.ShortLists() {
		ring, err := sim.NewStatic(sim.StaticConfig{Nodes: 1000, List: p.List, Seed: s.ring.Seed})
		if err != nil {
			return err
		}
		l, err := s.lookUp(ctx, ring, 0.5, 10_000)
		if err != nil {
			return err
		}
		s.progress.end()
		share, least := float64(l.Failed+l.Wrong)/float64(l.Asked), ring.CutOff()
		text := fmt.Sprintf("  %7d  %5.1f %%  %5.0f %%  %10.1f %%", p.List, 100*share, 100*p.Failed, 100*least)
		if err := s.out.event("paper_list", text, "list", p.List, "failed_share", share, "plain_share", p.Failed, "unavoidable_share", least); err != nil {
			return err
		}
	}
	return nil
}

// hopsAt measures the mean hops of rings of 2^k nodes with lists of r, 0 for 2 log2.
func (s *ringSim) hopsAt(ctx context.Context, k, r, lookups int) (sim.Lookups, error) {
	s.progress.begin("nodes", 0)
	ring, err := sim.NewStatic(sim.StaticConfig{Nodes: 1 << k, List: r, Seed: s.ring.Seed})
	if err != nil {
		return sim.Lookups{}, err
	}
	l, err := s.lookUp(ctx, ring, 0, lookups)
	s.progress.end()
	return l, err
}

func (s *ringSim) paperHops(ctx context.Context) error {
	if err := s.title("Hops against nodes. Fingers and lists of 2 log2 N, as nodes route; fingers alone, as in the paper's figure 10\n" +
		"    nodes     hops   fingers   half log2 N"); err != nil {
		return err
	}
	for _, k := range []int{6, 8, 10, 12, 14, 17, 20} {
		both, err := s.hopsAt(ctx, k, 0, 2000)
		if err != nil {
			return err
		}
		fingers, err := s.hopsAt(ctx, k, 1, 2000)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("  %7d   %6.2f    %6.2f        %6.2f", 1<<k, both.Hops.Mean(), fingers.Hops.Mean(), 0.5*float64(k))
		if err := s.out.event("paper_hops", text, "nodes", 1<<k, "hops", both.Hops.Mean(), "fingers_only", fingers.Hops.Mean(),
			"half_log2_n", 0.5*float64(k)); err != nil {
			return err
		}
	}
	return nil
}

func (s *ringSim) paperLoad(context.Context) error {
	plain := sim.LoadConfig{Nodes: sim.PaperLoadNodes, Keys: 500_000, Seed: s.ring.Seed}
	million := sim.LoadConfig{Nodes: sim.PaperLoadNodes, Keys: 1_000_000, Seed: s.ring.Seed}
	virtual := million
	virtual.Virtual = sim.PaperVirtual
	if err := s.title("Keys, as multiples of the mean of 10000 nodes (Chord, section V-B)\n" +
		"                                              ours   paper"); err != nil {
		return err
	}
	for _, row := range []struct {
		what  string
		cfg   sim.LoadConfig
		q     float64
		paper float64
	}{
		{"the busiest, 500000 keys", plain, 1, sim.PaperBusiest},
		{"99th percentile, 1000000 keys", million, 0.99, sim.PaperPercentile99},
		{"99th percentile, 20 virtual nodes to each", virtual, 0.99, sim.PaperVirtualPercentile99},
		{"1st percentile, 20 virtual nodes to each", virtual, 0.01, sim.PaperVirtualPercentile1},
	} {
		h, err := sim.Load(row.cfg)
		if err != nil {
			return err
		}
		ours := float64(h.Percentile(row.q)) / h.Mean()
		text := fmt.Sprintf("  %-41s %6.1f  %6.1f", row.what, ours, row.paper)
		if err := s.out.event("paper_load", text, "what", row.what, "times_mean", ours, "paper_times_mean", row.paper); err != nil {
			return err
		}
	}
	return nil
}
