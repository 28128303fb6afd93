package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht"
)

func dhtExampleCommand() *cli.Command {
	return &cli.Command{
		Name:  "example",
		Usage: "tell the textbook's ring: finger tables, two lookups and an insertion",
		Description: "A circle of 32 points with the nodes 1 4 9 11 14 18 20 21 28. All finger tables are shown; 1 looks 26 up and 28\n" +
			"looks 12 up, hop by hop, each with the fingers it chooses from; then 7 comes, and it is told which tables change.\n" +
			"JSON events: fingers {node, fingers} for all nodes, then of each lookup hop {key, from, node} and\n" +
			"owner {key, from, node, hops}, then join {node, asked, successor, fingers}, change {node, finger, was, is},\n" +
			"fingers again.\n" +
			"Exit status: 0." +
			examples(`aether dht example`, `aether dht example --json`),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			if out.json {
				return dhtExampleEvents(out, dht.NewExample())
			}
			return dhtExample(out, dht.NewExample())
		},
	}
}

func dhtExample(out *printer, e *dht.Example) error {
	var nodes []ringNode
	for _, n := range e.Nodes() {
		nodes = append(nodes, ringNode{at: float64(n) / 32, label: fmt.Sprint(n)})
	}
	if err := out.line(drawRing(nodes, nil, 60, 15)); err != nil {
		return err
	}
	return out.line("\n" + strings.TrimRight(e.Text(), "\n"))
}

// dhtExampleEvents tells programs what [dht.Example.Text] tells people.
func dhtExampleEvents(out *printer, e *dht.Example) error {
	tables := func() error {
		for _, n := range e.Nodes() {
			if err := out.event("fingers", "", "node", n, "fingers", e.Fingers(n)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := tables(); err != nil {
		return err
	}
	for _, l := range dht.ExampleLookups() {
		hops, owner := e.Lookup(l.Key, l.From)
		at := l.From
		for _, hop := range hops {
			if err := out.event("hop", "", "key", l.Key, "from", at, "node", hop); err != nil {
				return err
			}
			at = hop
		}
		if err := out.event("owner", "", "key", l.Key, "from", l.From, "node", owner, "hops", len(hops)); err != nil {
			return err
		}
	}
	asked, successor, changes := e.Insert(dht.ExampleNewcomer)
	if err := out.event("join", "", "node", dht.ExampleNewcomer, "asked", asked, "successor", successor,
		"fingers", e.Fingers(dht.ExampleNewcomer)); err != nil {
		return err
	}
	for _, ch := range changes {
		if err := out.event("change", "", "node", ch.Node, "finger", ch.Finger, "was", ch.From, "is", ch.To); err != nil {
			return err
		}
	}
	return tables()
}
