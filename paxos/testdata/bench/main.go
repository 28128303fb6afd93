package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

var discard = stdlog.New(io.Discard, "", 0)

// options are the flags.
type options struct {
	what    string
	systems []string
	clients []int
	rounds  int
	warm    time.Duration
	length  time.Duration
	dir     string
	json    bool
	// election is the election timeout of the failover.
	election time.Duration
	profile  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ExitOnError)
	f.StringVar(&o.what, "what", "write", "`PART`: write, read, load or failover")
	names := f.String("systems", "aether,etcd-async,etcd-sync,hashicorp-wal,hashicorp-bolt", "`NAMES` of: "+strings.Join(systemNames(), ", "))
	clients := f.String("clients", "1,16,64,256,1024", "`COUNTS` of clients")
	f.IntVar(&o.rounds, "rounds", 5, "`N` rounds")
	f.DurationVar(&o.warm, "warm", time.Second, "`TIME` before measuring")
	f.DurationVar(&o.length, "for", 3*time.Second, "`TIME` that each point is measured")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`DIRECTORY` on the disk to measure")
	f.DurationVar(&o.election, "election", time.Second, "`TIME` that a leader may be silent, for failover")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
	f.StringVar(&o.profile, "profile", "", "`FILE` for a CPU profile of the measuring, the last one, and FILE.allocs for the allocations of all")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.systems = strings.Split(*names, ",")
	for _, n := range o.systems {
		if systems[n] == nil {
			return o, fmt.Errorf("no system %q", n)
		}
	}
	for _, s := range strings.Split(*clients, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1<<14 {
			return o, fmt.Errorf("clients %q", s)
		}
		o.clients = append(o.clients, n)
	}
	if o.rounds < 1 || o.length <= 0 {
		return o, fmt.Errorf("%d rounds of %v", o.rounds, o.length)
	}
	return o, nil
}

func run(ctx context.Context, o options, w io.Writer) error {
	rep := &report{w: w, json: o.json}
	defer rep.summary(o)
	if o.what == "failover" {
		return failover(ctx, o, rep)
	}
	names := slices.Clone(o.systems)
	for round := range o.rounds {
		if err := measureFloor(o.dir, rep, round); err != nil {
			return err
		}
		for _, clients := range o.clients {
			for _, name := range names {
				if err := visit(ctx, o, rep, point{Round: round, System: name, Clients: clients}); err != nil {
					return fmt.Errorf("%s: %d clients: %w", name, clients, err)
				}
			}
		}
		slices.Reverse(names)
	}
	return nil
}

// visit starts a system, measures it and ends it.
func visit(ctx context.Context, o options, rep *report, p point) (err error) {
	dir, err := os.MkdirTemp(o.dir, "bench-"+p.System+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sys, err := systems[p.System](ctx, dir)
	if err != nil {
		return err
	}
	defer func() {
		if e := sys.close(); err == nil {
			err = e
		}
	}()
	sessions := make([]*session, p.Clients)
	l := &load{ctx: ctx, sessions: sessions}
	if err := l.begin(sys); err != nil {
		return err
	}
	switch o.what {
	case "write", "read":
		if _, err := l.closed((*session).write, o.warm); err != nil {
			return err
		}
		if err := measure(o, rep, p, "write", sys, func() ([]time.Duration, error) { return l.closed((*session).write, o.length) }); err != nil {
			return err
		}
		if o.what == "read" {
			return measure(o, rep, p, "read", sys, func() ([]time.Duration, error) { return l.closed((*session).read, o.length) })
		}
		return nil
	case "load":
		return paced(o, rep, p, sys, l)
	}
	return fmt.Errorf("no part %q", o.what)
}

// paced finds the peak and measures the latency at 70 % of it.
func paced(o options, rep *report, p point, sys system, l *load) error {
	if _, err := l.closed((*session).write, o.warm); err != nil {
		return err
	}
	var peak float64
	err := measure(o, rep, p, "peak", sys, func() ([]time.Duration, error) {
		took, err := l.closed((*session).write, o.length)
		peak = float64(len(took)) / o.length.Seconds()
		return took, err
	})
	if err != nil {
		return err
	}
	return measure(o, rep, p, "load70", sys, func() ([]time.Duration, error) { return l.open((*session).write, 0.7*peak, o.length) })
}
