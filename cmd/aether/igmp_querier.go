package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netif"
)

func igmpQuerierCommand() *cli.Command {
	return &cli.Command{
		Name:  "querier",
		Usage: "be a querier until interrupted, so that switches do not forget members",
		Description: "Takes part in the election: asks while no other router with a lower address does, and listens otherwise. Prints\n" +
			"who asks, which groups have members, and with -v each query that it sends. Without an address on the interface\n" +
			"it asks from 0.0.0.0 and wins against nobody. Needs CAP_NET_RAW.\n" +
			"Exit status: 0 when interrupted." +
			examples("aether igmp querier -i eth0", "aether igmp querier -i eth0 --version 2 --interval 30s --json", "aether igmp querier -6 -i eth0"),
		Flags: append(igmpFamilyFlags(),
			interfaceFlag("ask on `IF` (repeatable; default: all that can multicast)"),
			&cli.IntFlag{Name: "version", Usage: "ask in IGMP `VERSION` 1, 2 or 3 (MLDv1 is 2, MLDv2 is 3)", Value: 3},
			&cli.DurationFlag{Name: "interval", Usage: "ask every `TIME`", Value: igmp.DefaultQueryInterval},
			&cli.DurationFlag{Name: "max-response", Usage: "have hosts answer within `TIME`", Value: igmp.DefaultQueryResponse},
			&cli.IntFlag{Name: "robustness", Usage: "bear the loss of `N`-1 messages in a row", Value: igmp.DefaultRobustness},
			&cli.DurationFlag{Name: "last-member-interval", Usage: "have hosts answer within `TIME` after a leave", Value: igmp.DefaultLastMemberInterval},
			waitFlag("end after `TIME` (0: never)", 0)),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			q, err := igmpQuerierOf(c)
			if err != nil {
				return err
			}
			list, err := igmpInterfaces(c)
			if err != nil {
				return err
			}
			ctx := c.Context
			if t := c.Duration("timeout"); t > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, t)
				defer cancel()
			}
			return q.serve(ctx, list)
		},
	}
}

// igmpQuerying is a run of queriers.
type igmpQuerying struct {
	out      *printer
	verbose  bool
	families []igmp.Family
	cfg      igmp.QuerierConfig
}

func igmpQuerierOf(c *cli.Context) (q *igmpQuerying, err error) {
	q = &igmpQuerying{verbose: c.Bool("verbose"), families: []igmp.Family{igmp.IPv4}}
	if q.out, err = newPrinter(c); err != nil {
		return nil, err
	}
	switch {
	case c.Bool("4") && c.Bool("6"):
		q.families = []igmp.Family{igmp.IPv4, igmp.IPv6}
	case c.Bool("6"):
		q.families = []igmp.Family{igmp.IPv6}
	}
	v, interval, response, robustness := c.Int("version"), c.Duration("interval"), c.Duration("max-response"), c.Int("robustness")
	switch {
	case v < 1 || v > 3 || v == 1 && c.Bool("6"):
		return nil, usage("there is no version %d; MLDv1 is 2, MLDv2 is 3", v)
	case interval < time.Second || interval > 31744*time.Second:
		return nil, usage("--interval must be from 1s to 8h49m4s")
	case response < 100*time.Millisecond || response >= interval:
		return nil, usage("--max-response must be from 100ms to less than --interval (RFC 9776 section 8.3)")
	case robustness < 1 || robustness > 255:
		return nil, usage("--robustness must be from 1 to 255")
	case c.Duration("last-member-interval") < 100*time.Millisecond:
		return nil, usage("--last-member-interval must be 100ms at least")
	case c.Duration("timeout") < 0:
		return nil, usage("--timeout must not be negative")
	}
	q.cfg = igmp.QuerierConfig{
		Version: igmp.Version(v), LastMemberInterval: c.Duration("last-member-interval"),
		Timing: igmp.Timing{Robustness: uint8(robustness), QueryInterval: interval, QueryResponse: response},
	}
	return q, nil
}

func (q *igmpQuerying) serve(ctx context.Context, list []netif.Interface) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g, gctx := errgroup.WithContext(ctx)
	for _, i := range list {
		for _, f := range q.families {
			g.Go(func() error {
				err := igmp.Serve(gctx, q.config(i.Name, f, cancel))
				if gctx.Err() != nil {
					return nil //nolint:nilerr // the end that was asked for
				}
				return err
			})
		}
	}
	return errors.Join(g.Wait(), q.out.failure())
}

// config is the querier of one interface and family. Output that fails ends all.
func (q *igmpQuerying) config(ifi string, family igmp.Family, end context.CancelCauseFunc) igmp.ServeConfig {
	cfg := igmp.ServeConfig{Interface: ifi, Querier: q.cfg}
	cfg.Querier.Family = family
	var engine *igmp.Querier
	cfg.Ready = func(e *igmp.Querier) { engine = e }
	cfg.Run.Event = func(e igmp.QuerierEvent) {
		if err := q.tell(ifi, family, engine, e); err != nil {
			end(err)
		}
	}
	if q.verbose || q.out.json {
		cfg.Run.Sent = func(p igmp.Packet) {
			if err := printIgmpSent(q.out, ifi, p); err != nil {
				end(err)
			}
		}
	}
	return cfg
}

func (q *igmpQuerying) tell(ifi string, family igmp.Family, engine *igmp.Querier, e igmp.QuerierEvent) error {
	kv := []any{"group", addressText(e.Group), "host", addressText(e.Host), "interface", ifi, "family", strings.ToLower(family.String())}
	text := e.String()
	if e.Version != 0 {
		kv = append(kv, "version", e.Version)
	}
	if e.Querier.IsValid() || e.Kind == igmp.QuerierChanged {
		kv = append(kv, "querier", addressText(e.Querier), "own", e.Own)
	}
	if e.Kind == igmp.QuerierChanged {
		t := engine.Timing()
		kv = append(kv, "interval", t.QueryInterval.Seconds(), "max_response", t.QueryResponse.Seconds(), "robustness", t.Robustness)
		switch {
		case e.Own:
			text = fmt.Sprintf("we ask, from %v, every %v", e.Querier, t.QueryInterval)
		case e.Querier.IsValid():
			text = fmt.Sprintf("%v asks; we listen", e.Querier)
		default:
			text = "nobody asks"
		}
	}
	if e.Kind == igmp.GroupSources {
		kv = append(kv, "reception", e.Reception.String())
	}
	return q.out.event(strings.ReplaceAll(e.Kind.String(), "-", "_"), fmt.Sprintf("%s %s on %s", time.Now().Format(time.TimeOnly), text, ifi), kv...)
}
