package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

// queryQuiet ends a query this long after the last answer: shared records come up to
// 120 ms after the question, aggregated ones up to half a second (RFC 6762 section 6).
const queryQuiet = 750 * time.Millisecond

func mdnsQueryCommand() *cli.Command {
	return &cli.Command{
		Name:      "query",
		Usage:     "ask for records",
		ArgsUsage: "NAME [TYPE...]",
		Description: "Prints each record of NAME (box.local, _ipp._tcp.local) and TYPE (A, AAAA, PTR, SRV, TXT, ANY;\n" +
			"default ANY). Ends when no more come, or with --watch goes on and prints changes: a record that\n" +
			"is gone has the TTL 0.\n" +
			"Exit status: 0 when there is a record, 1 when nobody answered within --timeout." +
			examples(`aether mdns query _services._dns-sd._udp.local PTR`),
		Flags: zeroconfFlags(
			waitFlag("wait `TIME` for an answer (0: for ever)", 3*time.Second),
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "go on until interrupted or --timeout, print changes too"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			name := dns.Fqdn(c.Args().First())
			if _, ok := dns.IsDomainName(name); !ok {
				return usage("%q is not a domain name", c.Args().First())
			}
			types := []uint16{dns.TypeANY}
			if c.NArg() > 1 {
				if types, err = recordTypes(strings.Join(c.Args().Tail(), ",")); err != nil {
					return usage("%w", err)
				}
			}
			var questions []mdns.Question
			for _, t := range types {
				questions = append(questions, mdns.Question{Name: name, Type: t})
			}
			watch := c.Bool("watch")
			if watch && !c.IsSet("timeout") {
				z.timeout = 0
			}
			return mdnsQuery(c.Context, questions, watch, z)
		},
	}
}

func mdnsQuery(ctx context.Context, questions []mdns.Question, watch bool, z zeroconf) error {
	n, err := mdns.Open(ctx, z.mdns())
	if err != nil {
		return err
	}
	defer n.Close()
	within, cancel := z.within(ctx)
	defer cancel()
	quiet := time.AfterFunc(time.Hour, cancel)
	defer quiet.Stop()
	quiet.Stop()
	found := 0
	for c, err := range n.WatchAll(within, questions...) {
		if err != nil {
			return err
		}
		if c.Op == mdns.Remove {
			if !watch {
				continue
			}
			c.Record.TTL = 0
		}
		found++
		if err := printRecord(z.out, c.Record, c.Interface, c.From); err != nil {
			return err
		}
		if !watch {
			quiet.Reset(queryQuiet)
		}
	}
	if found == 0 && ctx.Err() == nil {
		return fmt.Errorf("%s: %w", questions[0].Name, mdns.ErrNotFound)
	}
	return nil
}
