package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/peer"
)

func dhtRingCommand() *cli.Command {
	return &cli.Command{
		Name:  "ring",
		Usage: "draw the circle with the nodes that a node knows, and what each owns",
		Description: "The node that is asked is marked, and the arc that it owns; dead nodes are hollow.\n" +
			"JSON: node {id, address, state, self, share} for each node in the order of the circle; share is of the circle, 0 to 1.\n" +
			"Exit status: 1 when the node does not answer." +
			examples(`aether dht ring`, `aether dht ring --node 10.0.0.1:7400 --width 120`),
		Flags: ringClientFlags(
			&cli.IntFlag{Name: "width", Usage: "draw at most `N` columns", DefaultText: "those of the terminal, else 80"},
			&cli.IntFlag{Name: "height", Usage: "draw at most `N` lines", DefaultText: "those of the terminal, else 24"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				s, err := cl.Status(ctx)
				if err != nil {
					return err
				}
				nodes := placesOf(s)
				if out.json {
					return printPlaces(out, nodes)
				}
				width, height := drawingSize(c, out)
				middle := []string{fmt.Sprintf("%d nodes", s.Size), "asked: " + shortID(s.Self.ID)}
				return out.line(drawRing(drawn(nodes), middle, width, height))
			})
		},
	}
}

// place is a node on the circle.
type place struct {
	peer.MemberStatus
	id   dht.ID
	self bool
}

// placesOf returns the nodes that a node knows and itself, in the order of the circle.
// Those that it only heard of, or that have left, are none.
func placesOf(s peer.Status) (list []place) {
	for _, m := range s.Members {
		id, err := peer.Space().Parse(m.ID)
		if err != nil || m.State == dht.Unmet.String() || m.State == dht.Left.String() {
			continue
		}
		list = append(list, place{m, id, m.ID == s.Self.ID})
	}
	if !slices.ContainsFunc(list, func(p place) bool { return p.self }) {
		id, err := peer.Space().Parse(s.Self.ID)
		if err == nil {
			list = append(list, place{peer.MemberStatus{NodeStatus: s.Self, State: dht.Alive.String()}, id, true})
		}
	}
	slices.SortFunc(list, func(a, b place) int { return a.id.Compare(b.id) })
	return list
}

func (p place) dead() bool { return p.State == dht.Dead.String() }

func drawn(list []place) (nodes []ringNode) {
	for _, p := range list {
		label := shortID(p.ID) + " " + p.Address.String()
		nodes = append(nodes, ringNode{at: placeOnRing(peer.Space(), p.id), label: label, self: p.self, dead: p.dead()})
	}
	return nodes
}

// printPlaces prints the nodes for programs.
func printPlaces(out *printer, list []place) error {
	space := peer.Space()
	var alive []place
	for _, p := range list {
		if !p.dead() {
			alive = append(alive, p)
		}
	}
	for _, p := range list {
		share := 0.0
		if i := slices.IndexFunc(alive, func(q place) bool { return q.id == p.id }); i >= 0 {
			before := alive[(i+len(alive)-1)%len(alive)]
			if share = placeOnRing(space, space.Distance(before.id, p.id)); len(alive) == 1 {
				share = 1
			}
		}
		if err := out.event("node", "", "id", p.ID, "address", p.Address, "state", p.State, "self", p.self, "share", share); err != nil {
			return err
		}
	}
	return nil
}

// drawingSize returns how large a drawing may be.
func drawingSize(c *cli.Context, out *printer) (width, height int) {
	width, height = 80, 24
	if f, ok := out.out.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil {
			width, height = w, h-1
		}
	}
	return cmp.Or(c.Int("width"), width), cmp.Or(c.Int("height"), height)
}
