package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aether-lan/aether/dht/sim"
)

// churn runs real nodes, in made-up time, that come and go while points are looked
// up.
func (s *ringSim) churn(ctx context.Context) error {
	cfg := sim.ChurnConfig{Nodes: s.ring.Nodes, Minutes: s.churned.minutes, JoinsPerSecond: s.churned.rate, FailsPerSecond: s.churned.rate,
		Lookups: s.lookups, Seed: s.ring.Seed, MaxMembers: s.churned.members}
	began := time.Now()
	s.progress.begin("churn", 1000)
	r, err := sim.Churn(ctx, cfg, func(share float64) { s.progress.at(int(1000 * share)) })
	s.progress.end()
	if ctx.Err() != nil {
		return &statusError{statusSignal, errors.New("interrupted")}
	}
	if err != nil {
		return err
	}
	if err := s.printChurn(cfg, r); err != nil {
		return err
	}
	return s.finish(began, r.Formed == 0 || r.Settled == 0)
}

func (s *ringSim) printChurn(cfg sim.ChurnConfig, r sim.ChurnReport) error {
	// A report counts the nodes on the way; hops have the owner, too.
	hops := append(sim.Histogram{0}, r.Hops...)
	var b strings.Builder
	fmt.Fprintf(&b, "%d nodes that start at once, seed %d: %s\n", cfg.Nodes, cfg.Seed, duration("they are one right ring after %s", r.Formed, "they were no right ring within a minute"))
	fmt.Fprintf(&b, "%g minutes of their time: %d came, %d died without a word, %d are left\n", cfg.Minutes, r.Joins, r.Fails, r.Nodes)
	fmt.Fprintf(&b, "%s\n\n", duration("all is right again %s after the last change", r.Settled, "all was not right again within two minutes after the last change"))
	fmt.Fprintf(&b, "%d lookups: %d failed, %d found a wrong owner\n", r.Lookups, r.Failed, r.Wrong)
	fmt.Fprintf(&b, "             mean    1%%   50%%   99%%  most\n")
	spreadLine(&b, "hops", hops)
	spreadLine(&b, "timeouts", r.Timeouts)
	fmt.Fprintf(&b, "each node sends %.1f messages and %.0f bytes a second, %.0f as they go over Ethernet\n", r.Messages, r.Bytes, r.Wire)
	bars(&b, "hops", hops)
	if err := s.out.event("churn", strings.TrimRight(b.String(), "\n"), "nodes", cfg.Nodes, "minutes", cfg.Minutes, "rate", cfg.JoinsPerSecond,
		"seed", cfg.Seed, "joins", r.Joins, "fails", r.Fails, "left", r.Nodes, "formed_s", r.Formed.Seconds(), "settled_s", r.Settled.Seconds(),
		"lookups", r.Lookups, "failed", r.Failed, "wrong", r.Wrong, "hops_mean", hops.Mean(), "hops", counts(hops),
		"timeouts_mean", r.Timeouts.Mean(), "timeouts", counts(r.Timeouts), "messages_per_s", r.Messages, "bytes_per_s", r.Bytes,
		"wire_bytes_per_s", r.Wire, "hash", fmt.Sprintf("%016x", r.Hash)); err != nil {
		return err
	}
	if !s.paper {
		return nil
	}
	return s.paperChurn(r, hops)
}

// duration writes one text of a time and another where there is none.
func duration(format string, d time.Duration, none string) string {
	if d == 0 {
		return none
	}
	return fmt.Sprintf(format, d.Round(10*time.Millisecond))
}

// paperChurn sets the paper's Table III beside what was run.
func (s *ringSim) paperChurn(r sim.ChurnReport, hops sim.Histogram) error {
	if err := s.title("Chord, table III: 1000 nodes that repair every 30 s on average, as many join as fail; failed lookups of 10000\n" +
		"    rate     hops   timeouts   failed"); err != nil {
		return err
	}
	for _, p := range sim.PaperTableIII() {
		text := fmt.Sprintf("    %.2f   %6.2f     %6.2f   %6d", p.Rate, p.Hops, p.Timeouts, p.Failed)
		if err := s.out.event("paper_churn", text, "rate", p.Rate, "hops", p.Hops, "timeouts", p.Timeouts, "failed", p.Failed); err != nil {
			return err
		}
	}
	if s.out.json {
		return nil
	}
	failed := 0.0
	if r.Lookups > 0 {
		failed = 1e4 * float64(r.Failed+r.Wrong) / float64(r.Lookups)
	}
	return s.out.line(fmt.Sprintf("%8.2f   %6.2f     %6.2f   %6.1f   ours", s.churned.rate, hops.Mean(), r.Timeouts.Mean(), failed))
}
