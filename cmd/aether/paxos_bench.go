package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosBenchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure how fast the cluster writes and reads, from here",
		Description: "Each client has one request under way at a time. Writes go to keys bench/0, bench/1 and so on, which are deleted\n" +
			"at the end. JSON: bench {what, clients, seconds, requests, per_second, p50_ms, p99_ms, max_ms, errors}.\n" +
			"Exit status: 1 when a request failed." +
			examples(`aether paxos bench`, `aether paxos bench --clients 256 --size 16 --for 10s`),
		Flags: clientFlags(
			&cli.IntFlag{Name: "clients", Value: 32, Usage: "`N` clients at once"},
			&cli.IntFlag{Name: "size", Value: 256, Usage: "values of `N` bytes"},
			&cli.DurationFlag{Name: "for", Value: 5 * time.Second, Usage: "each part takes this `TIME`"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			n, size, d := c.Int("clients"), c.Int("size"), c.Duration("for")
			if n < 1 || n > 4096 || size < 0 || size > kv.MaxValue || d <= 0 {
				return usage("--clients is 1 to 4096, --size 0 to %d, --for more than nothing", kv.MaxValue)
			}
			if !c.IsSet("timeout") {
				if err := c.Set("timeout", "0"); err != nil {
					return err
				}
			}
			return withCluster(c, func(ctx context.Context, _ *replica.Client, list []netip.AddrPort, out *printer) error {
				secret, err := clusterSecret(c)
				if err != nil {
					return err
				}
				return paxosBench(ctx, replica.ClientConfig{Endpoints: list, Cluster: c.String("cluster"), Secret: secret}, n, size, d, out)
			})
		},
	}
}

func paxosBench(ctx context.Context, cfg replica.ClientConfig, n, size int, d time.Duration, out *printer) error {
	clients := make([]*replica.Client, n)
	for i := range clients {
		clients[i] = replica.NewClient(cfg)
		defer clients[i].Close()
	}
	key := func(i int) []byte { return fmt.Appendf(nil, "bench/%d", i) }
	value := make([]byte, size)
	defer func() {
		ctx := context.WithoutCancel(ctx)
		for i := range clients {
			_, _ = clients[0].Do(ctx, kv.Command{Op: kv.Delete, Key: key(i)})
		}
	}()
	parts := []struct {
		what string
		do   func(ctx context.Context, i int) error
	}{
		{"write", func(ctx context.Context, i int) error {
			_, err := clients[i].Do(ctx, kv.Command{Op: kv.Put, Key: key(i), Value: value})
			return err
		}},
		{"read", func(ctx context.Context, i int) error {
			_, _, err := clients[i].Get(ctx, key(i), false)
			return err
		}},
	}
	for _, p := range parts {
		for i := range clients { // connections and sessions do not count
			if err := p.do(ctx, i); err != nil {
				return err
			}
		}
		if err := benchPart(ctx, p.what, n, d, p.do, out); err != nil {
			return err
		}
	}
	return nil
}

func benchPart(ctx context.Context, what string, n int, d time.Duration, do func(ctx context.Context, i int) error, out *printer) error {
	var mu sync.Mutex
	var took []time.Duration
	var failures []error
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for i := range n {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for at := time.Now(); err == nil && at.Before(end) && ctx.Err() == nil; {
				err = do(ctx, i)
				now := time.Now()
				mine = append(mine, now.Sub(at))
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if err != nil {
				failures = append(failures, err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	slices.Sort(took)
	at := func(part float64) time.Duration { return took[min(len(took)-1, int(part*float64(len(took))))] }
	ms := func(t time.Duration) float64 { return t.Seconds() * 1000 }
	rate := float64(len(took)) / d.Seconds()
	err := out.event("bench", fmt.Sprintf("%-5s  %d clients  %.0f a second  p50 %v  p99 %v  max %v",
		what, n, rate, at(0.5).Round(time.Microsecond), at(0.99).Round(time.Microsecond), at(1).Round(time.Microsecond)),
		"what", what, "clients", n, "seconds", d.Seconds(), "requests", len(took), "per_second", rate,
		"p50_ms", ms(at(0.5)), "p99_ms", ms(at(0.99)), "max_ms", ms(at(1)), "errors", len(failures))
	return errors.Join(append(failures, err)...)
}
