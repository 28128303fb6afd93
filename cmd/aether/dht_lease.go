package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
	"github.com/aether-lan/aether/dht/records"
)

func dhtLeaseCommand() *cli.Command {
	return &cli.Command{
		Name:      "lease",
		Usage:     "hold the lease NAME until interrupted, or while CMD runs",
		ArgsUsage: "NAME [-- CMD...]",
		Description: "One holder at a time: whoever comes second hears who holds it, and waits for it with --wait. Each acquisition has\n" +
			"a fencing number, which grows for ever; CMD has it as AETHER_LEASE_FENCE, and what the lease protects can refuse\n" +
			"smaller ones. The lease is renewed until the end and then given back; a holder that dies loses it after --ttl.\n" +
			"CMD is ended when the lease is lost. With --show it is only told who holds it.\n" +
			"JSON: held {name, holder, fence, ttl_ms}, busy {name, holder, fence, ttl_ms}, free {name}, lost {name, fence},\n" +
			"released {name, fence}.\n" +
			"Exit status: that of CMD; 1 when another holds the lease, it was lost, or --show finds it free." +
			examples(`aether dht lease printer`, `aether dht lease --wait --ttl 30s backup -- ./backup.sh`, `aether dht lease --show printer`),
		Flags: ringClientFlags(
			&cli.DurationFlag{Name: "ttl", Value: 10 * time.Second, Usage: "how long the lease outlives its holder: `TIME`"},
			&cli.StringFlag{Name: "holder", Usage: "hold it as `NAME`", DefaultText: "host name and process"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until it is free"},
			&cli.BoolFlag{Name: "show", Usage: "tell who holds it"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			if c.Duration("ttl") < 100*time.Millisecond {
				return usage("--ttl is at least 100ms")
			}
			if c.Bool("show") {
				return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
					return dhtLeaseShow(ctx, cl, c.Args().First(), out)
				})
			}
			if !c.IsSet("timeout") && c.Bool("wait") {
				if err := c.Set("timeout", "0"); err != nil {
					return err
				}
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				return dhtLease(ctx, c, cl, out)
			})
		},
	}
}

func leaseHolder(c *cli.Context) string {
	if h := c.String("holder"); h != "" {
		return h
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s/%d", host, os.Getpid())
}

func leaseEvent(out *printer, event string, r peer.Record) error {
	text := fmt.Sprintf("%s is held by %s, fence %d, for %v more", r.Name, r.Holder, r.Fence, r.TTL.Round(time.Millisecond))
	return out.event(event, text, "name", r.Name, "holder", r.Holder, "fence", r.Fence, "ttl_ms", r.TTL.Milliseconds())
}

func dhtLeaseShow(ctx context.Context, cl *peer.Client, name string, out *printer) error {
	r, err := cl.Get(ctx, name)
	if errors.Is(err, peer.ErrNotFound) || err == nil && r.Holder == "" {
		return errors.Join(out.event("free", name+" is free", "name", name), failed())
	}
	if err != nil {
		return err
	}
	r.Name = name
	return leaseEvent(out, "held", r)
}

// lease is one that this command holds.
type lease struct {
	cl    *peer.Client
	name  string
	ttl   time.Duration
	held  peer.Record
	until time.Time // counted from before it was asked for
}

// dhtLease acquires the lease and holds it.
func dhtLease(ctx context.Context, c *cli.Context, cl *peer.Client, out *printer) error {
	l := &lease{cl: cl, name: c.Args().First(), ttl: c.Duration("ttl")}
	if err := l.acquire(ctx, leaseHolder(c), c.Bool("wait"), out); err != nil {
		return err
	}
	// From here on the command runs until it is interrupted, whatever --timeout said.
	hold, stop := context.WithCancelCause(c.Context)
	defer stop(nil)
	defer l.release(out)
	if out.json || c.NArg() == 1 { // what CMD prints is the result
		if err := leaseEvent(out, "held", l.held); err != nil {
			return err
		}
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		l.renew(hold)
		stop(errLeaseLost)
	}()
	var err error
	if cmd := c.Args().Tail(); len(cmd) > 0 {
		err = leaseRun(hold, c, l.held.Fence, cmd)
	} else {
		<-hold.Done()
	}
	interrupted := c.Context.Err() != nil
	stop(nil)
	<-lost
	if errors.Is(context.Cause(hold), errLeaseLost) && !interrupted {
		l.held.Fence = 0
		return errors.Join(out.event("lost", l.name+" was lost", "name", l.name), failed())
	}
	if interrupted && len(c.Args().Tail()) == 0 {
		return nil
	}
	return err
}

var errLeaseLost = errors.New("the lease was lost")

// acquire asks for the lease until it has it; without wait once.
func (l *lease) acquire(ctx context.Context, holder string, wait bool, out *printer) error {
	told := uint64(0)
	for {
		began := time.Now()
		r, err := l.cl.Do(ctx, records.Request{Op: records.Acquire, Name: l.name, Holder: holder, TTL: l.ttl})
		if err == nil {
			l.held, l.until = r, began.Add(l.ttl)
			l.held.Name = l.name
			return nil
		}
		if !errors.Is(err, peer.ErrConflict) {
			return err
		}
		r.Name = l.name
		if !wait {
			if out.json {
				return errors.Join(leaseEvent(out, "busy", r), failed())
			}
			return fmt.Errorf("%s is held by %s, fence %d", r.Name, r.Holder, r.Fence)
		}
		if r.Fence != told {
			told = r.Fence
			if err := leaseEvent(out, "busy", r); err != nil {
				return err
			}
		}
		if err := pauseFor(ctx, min(max(r.TTL, 50*time.Millisecond), time.Second)); err != nil {
			return err
		}
	}
}

// pauseFor waits, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// renew renews the lease until ctx ends, or until it is lost.
func (l *lease) renew(ctx context.Context) {
	for pauseFor(ctx, l.ttl/3) == nil {
		began := time.Now()
		try, cancel := context.WithDeadline(ctx, l.until)
		_, err := l.cl.Do(try, records.Request{Op: records.Renew, Name: l.name, Version: l.held.Fence, Holder: l.held.Holder, TTL: l.ttl})
		cancel()
		if err != nil {
			return
		}
		l.until = began.Add(l.ttl)
	}
}

// release gives the lease back, as far as that is possible.
func (l *lease) release(out *printer) {
	if l.held.Fence == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := l.cl.Do(ctx, records.Request{Op: records.Release, Name: l.name, Version: l.held.Fence, Holder: l.held.Holder})
	if err == nil {
		_ = out.event("released", "", "name", l.name, "fence", l.held.Fence)
	}
}

// leaseRun runs a command until it ends or ctx does.
func leaseRun(ctx context.Context, c *cli.Context, fence uint64, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.App.Reader, c.App.Writer, c.App.ErrWriter
	cmd.Env = append(os.Environ(), fmt.Sprintf("AETHER_LEASE_FENCE=%d", fence))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &statusError{exit.ExitCode(), errQuiet}
	}
	return err
}
