package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/aether-lan/aether/dht/sim"
)

func dhtSimCommand() *cli.Command {
	return &cli.Command{
		Name:  "sim",
		Usage: "what a ring of up to 16 million nodes costs, and what is left of it when many die",
		Description: "Makes a ring from a seed, lets a share of its nodes die at once and looks random points up before anything is\n" +
			"repaired: each step by the rules that real nodes route by. Without any flag, and with --paper, it does what\n" +
			"the Chord paper (Stoica et al., 2003) did and sets the paper's figures beside its own.\n" +
			"With --churn, nodes as they run in life form a ring in made-up time, come, die without a word and look points up.\n" +
			"Hops are the living nodes that a lookup goes to, the owner among them; timeouts are the dead ones that it tries.\n" +
			"JSON events: ring {nodes, alive, bits, list, seed}, lookups {asked, failed, wrong, hops_mean, hops_p1, hops_p50,\n" +
			"hops_p99, hops_max, half_log2_n, expected, hops, timeouts_mean, timeouts_p1, timeouts_p50, timeouts_p99,\n" +
			"timeouts_max, timeouts, messages, bytes, served_mean, served_p99, served_max}, where hops and timeouts are how many\n" +
			"lookups had 0, 1, 2...; load {nodes, virtual, keys, mean, p1, p50, p99, max}; paper_failures, paper_list,\n" +
			"paper_load, paper_hops; plot {file}; churn {nodes, minutes, rate, seed, joins, fails, left, formed_s, settled_s,\n" +
			"lookups, failed, wrong, hops_mean, hops, timeouts_mean, timeouts, messages_per_s, bytes_per_s, wire_bytes_per_s,\n" +
			"hash}, paper_churn; run {seconds, memory_bytes}.\n" +
			"Exit status: 1 when a lookup failed or found a node that is not the owner; with --churn, where that is measured, when\n" +
			"the nodes did not become one right ring at the beginning or at the end." +
			examples(`aether dht sim`, `aether dht sim --nodes 1000000 --lookups 100000 --fail 0.5`, `aether dht sim --nodes 16384 --plot ring.svg`,
				`aether dht sim --churn 0.4 --nodes 1000 --members 1 --paper`),
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "nodes", Value: 1000, Usage: "a ring of `N` nodes"},
			&cli.IntFlag{Name: "lookups", Value: 10_000, Usage: "look `N` points up"},
			&cli.Float64Flag{Name: "fail", Usage: "let the `SHARE` of the nodes die first, 0 to 1"},
			&cli.IntFlag{Name: "list", Usage: "each node knows `N` successors (default: 2 log2 of the nodes)"},
			&cli.IntFlag{Name: "bits", Value: 160, Usage: "IDs of `N` bits, 3 to 160"},
			&cli.IntFlag{Name: "virtual", Value: 1, Usage: "each node has `N` points, where keys are counted"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "the seed `N` decides everything"},
			&cli.Float64Flag{Name: "churn", Usage: "run nodes that come and go, `RATE` joins and as many failures a second"},
			&cli.Float64Flag{Name: "minutes", Value: 10, Usage: "with --churn: for `N` minutes of their time"},
			&cli.IntFlag{Name: "members", Usage: "with --churn: up to `N` nodes each knows all, above it goes by fingers (default: 1024)"},
			&cli.BoolFlag{Name: "paper", Usage: "the paper's figures beside ours"},
			&cli.PathFlag{Name: "plot", Usage: "draw hops, and hops against nodes, into `FILE`.svg"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			s, err := newRingSim(c, out)
			if err != nil {
				return err
			}
			defer s.progress.end()
			if s.churned.rate > 0 {
				return s.churn(c.Context)
			}
			return s.run(c.Context)
		},
	}
}

// ringSim is what dhtSimCommand was asked for.
type ringSim struct {
	ring     sim.StaticConfig
	lookups  int
	fail     float64
	virtual  int
	paper    bool
	plot     string
	churned  ringChurn
	out      *printer
	progress *simProgress
}

// ringChurn is what --churn asks for, where rate is not zero.
type ringChurn struct {
	rate    float64 // of joins, and of failures, a second
	minutes float64
	members int // up to how many nodes each knows all
}

func newRingSim(c *cli.Context, out *printer) (*ringSim, error) {
	s := &ringSim{
		ring:    sim.StaticConfig{Nodes: c.Int("nodes"), Bits: c.Int("bits"), List: c.Int("list"), Seed: c.Uint64("seed")},
		lookups: c.Int("lookups"), fail: c.Float64("fail"), virtual: c.Int("virtual"), plot: c.Path("plot"),
		paper: c.Bool("paper"), out: out,
	}
	asked := false
	for _, name := range []string{"nodes", "lookups", "fail", "list", "bits", "virtual"} {
		asked = asked || c.IsSet(name)
	}
	s.paper = s.paper || !asked
	switch {
	case s.ring.Nodes < 1 || s.ring.Nodes > sim.MaxStaticNodes:
		return nil, usage("--nodes is 1 to %d", sim.MaxStaticNodes)
	case s.lookups < 1 || s.lookups > 1e9:
		return nil, usage("--lookups is 1 to 1000000000")
	case !(s.fail >= 0 && s.fail <= 1):
		return nil, usage("--fail is a share, 0 to 1")
	case s.ring.Bits < 3 || s.ring.Bits > 160:
		return nil, usage("--bits is 3 to 160")
	case s.ring.Bits < 62 && s.ring.Nodes > 1<<s.ring.Bits:
		return nil, usage("--bits %d has room for %d nodes", s.ring.Bits, 1<<s.ring.Bits)
	case s.ring.List < 0 || c.IsSet("list") && s.ring.List == 0:
		return nil, usage("--list is at least 1")
	case s.virtual < 1 || s.virtual > maxVirtual(s.ring.Nodes):
		return nil, usage("--virtual is 1 to %d for %d nodes", maxVirtual(s.ring.Nodes), s.ring.Nodes)
	case s.plot != "" && !strings.EqualFold(filepath.Ext(s.plot), ".svg"):
		return nil, usage("--plot writes .svg, not %q", s.plot)
	}
	s.progress = newSimProgress(c)
	return s, s.readChurn(c)
}

// maxChurned bounds the nodes that are simulated one by one.
const maxChurned = 20_000

func (s *ringSim) readChurn(c *cli.Context) error {
	s.churned = ringChurn{rate: c.Float64("churn"), minutes: c.Float64("minutes"), members: c.Int("members")}
	if !c.IsSet("churn") {
		for _, name := range []string{"minutes", "members"} {
			if c.IsSet(name) {
				return usage("--%s needs --churn", name)
			}
		}
		return nil
	}
	if !c.IsSet("nodes") {
		s.ring.Nodes = 100
	}
	s.paper = c.Bool("paper")
	for _, name := range []string{"fail", "list", "bits", "virtual", "plot"} {
		if c.IsSet(name) {
			return usage("--churn runs nodes as they are, without --%s", name)
		}
	}
	switch {
	case !(s.churned.rate > 0 && s.churned.rate <= 1000):
		return usage("--churn is joins, and failures, a second: more than 0, 1000 at most")
	case !(s.churned.minutes > 0 && s.churned.minutes <= 1e6):
		return usage("--minutes is more than 0")
	case s.churned.members < 0:
		return usage("--members is at least 1")
	case s.ring.Nodes > maxChurned:
		return usage("--churn takes %d nodes at most", maxChurned)
	}
	return nil
}

// maxVirtual keeps the memory of counting keys in bounds.
func maxVirtual(nodes int) int { return max(1, 1<<25/nodes) }

func (s *ringSim) run(ctx context.Context) error {
	began := time.Now()
	l, err := s.look(ctx)
	if err == nil && s.paper {
		err = s.paperTables(ctx)
	}
	if err == nil && s.plot != "" {
		err = s.draw(ctx, l)
	}
	if ctx.Err() != nil {
		return &statusError{statusSignal, errors.New("interrupted")}
	}
	if err != nil {
		return err
	}
	return s.finish(began, l.Failed+l.Wrong > 0)
}

// finish tells what it took, and whether all was well.
func (s *ringSim) finish(began time.Time, bad bool) error {
	s.progress.end()
	took, used := time.Since(began), memoryUsed()
	s.progress.say("%.1f s, %s of memory", took.Seconds(), formatBytes(int64(used)))
	if s.out.json {
		if err := s.out.event("run", "", "seconds", took.Seconds(), "memory_bytes", used); err != nil {
			return err
		}
	}
	if bad {
		return failed()
	}
	return nil
}

// look makes the ring that was asked for and looks points up.
func (s *ringSim) look(ctx context.Context) (sim.Lookups, error) {
	s.progress.begin("nodes", 0)
	ring, err := sim.NewStatic(s.ring)
	if err != nil {
		return sim.Lookups{}, err
	}
	s.ring = ring.Config()
	l, err := s.lookUp(ctx, ring, s.fail, s.lookups)
	if err != nil {
		return l, err
	}
	if err := s.printRing(ring.Alive()); err != nil {
		return l, err
	}
	if err := s.printLookups(l); err != nil {
		return l, err
	}
	s.progress.begin("keys", 0)
	load := sim.LoadConfig{Nodes: s.ring.Nodes, Virtual: s.virtual, Keys: min(50*s.ring.Nodes, 10_000_000), Seed: s.ring.Seed}
	keys, err := sim.Load(load)
	if err != nil {
		return l, err
	}
	return l, s.printLoad(load, keys)
}

// lookUp lets some nodes of a ring die and looks points up.
func (s *ringSim) lookUp(ctx context.Context, ring *sim.Static, share float64, n int) (sim.Lookups, error) {
	if err := ring.Kill(share); err != nil {
		return sim.Lookups{}, err
	}
	s.progress.begin("lookups", n)
	return ring.Lookups(ctx, n, s.progress.at)
}

// memoryUsed returns how many bytes the program has had from the system.
func memoryUsed() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// simProgress shows on a terminal how far a simulation is. On anything else it shows
// nothing.
type simProgress struct {
	to   *os.File // nil where nothing is shown
	bars *mpb.Progress
	bar  *mpb.Bar
}

func newSimProgress(c *cli.Context) *simProgress {
	p := &simProgress{}
	if f, ok := c.App.ErrWriter.(*os.File); ok && isTerminal(f) && !c.Bool("json") {
		p.to = f
	}
	return p
}

// begin starts something that has n steps, 0 where that is not known.
func (p *simProgress) begin(what string, n int) {
	p.end()
	if p.to == nil {
		return
	}
	p.bars = mpb.New(mpb.WithOutput(p.to), mpb.WithWidth(40))
	if n == 0 {
		p.bar = p.bars.New(0, mpb.SpinnerStyle(), mpb.PrependDecorators(decor.Name(what+" ")))
		return
	}
	p.bar = p.bars.New(int64(n), mpb.BarStyle(), mpb.PrependDecorators(decor.Name(what+" "), decor.CountersNoUnit("%d of %d ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left")))
}

func (p *simProgress) at(done int) {
	if p.bar != nil {
		p.bar.SetCurrent(int64(done))
	}
}

// end takes the bar away.
func (p *simProgress) end() {
	if p.bar != nil {
		p.bar.Abort(true)
		p.bars.Wait()
		p.bar = nil
	}
}

// say tells what is no result.
func (p *simProgress) say(format string, args ...any) {
	if p.to != nil {
		fmt.Fprintf(p.to, format+"\n", args...)
	}
}
