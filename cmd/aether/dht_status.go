package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
)

func dhtStatusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "how a node stands: its neighbours, whom it knows, what it keeps",
		Description: "JSON: status {self, listens, ring_size, full, predecessor, successors, members, records, ring, topics, traffic,\n" +
			"refused}; nodes are {id, incarnation, address}, members have a state (unmet, alive, suspect, dead, left) and since (ns).\n" +
			"Exit status: 1 when the node does not answer." +
			examples(`aether dht status`, `aether dht status --node 10.0.0.1:7400 --json`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				s, err := cl.Status(ctx)
				if err != nil {
					return err
				}
				return printRingStatus(out, s)
			})
		},
	}
}

func printRingStatus(out *printer, s peer.Status) error {
	return out.event("status", ringStatusText(s), "id", s.Self.ID, "self", s.Self, "listens", s.Listens, "ring_size", s.Size, "full", s.Full,
		"predecessor", s.Predecessor, "successors", s.Successors, "members", s.Members, "records", s.Records, "ring", s.Ring,
		"topics", s.Topics, "traffic", s.Traffic, "refused", s.Refused)
}

func ringStatusText(s peer.Status) string {
	var b strings.Builder
	knows := "all of them known: lookups are one hop"
	if !s.Full {
		knows = "not all of them known"
	}
	fmt.Fprintf(&b, "node        %s at %v, life %d\n", s.Self.ID, s.Self.Address, s.Self.Incarnation)
	fmt.Fprintf(&b, "ring        %d nodes, %s\n", s.Size, knows)
	fmt.Fprintf(&b, "before it   %s at %v\n", s.Predecessor.ID, s.Predecessor.Address)
	for i, p := range s.Successors {
		label := ""
		if i == 0 {
			label = "after it"
		}
		fmt.Fprintf(&b, "%-11s %s at %v\n", label, p.ID, p.Address)
	}
	fmt.Fprintf(&b, "%s", recordsText(s.Records))
	t := s.Traffic
	fmt.Fprintf(&b, "traffic     %d connections; %d messages out (%d bytes), %d in (%d bytes), %d dropped\n",
		t.Connections, t.Sent, t.SentBytes, t.Received, t.ReceivedBytes, t.Dropped)
	if r := s.Refused; r != (peer.Refused{}) {
		fmt.Fprintf(&b, "refused     %d malformed, %d from strangers, %d of the wrong node, %d not believed\n",
			r.Ring+r.Records+r.Topics+r.Batches, r.NotAdmitted+r.Garbage+r.OverLimit, r.WrongNode, r.Believed)
	}
	fmt.Fprintf(&b, "members     %d\n", len(s.Members))
	for _, m := range s.Members {
		fmt.Fprintf(&b, "            %s  %-7s  %-21v  %v\n", m.ID, m.State, m.Address, m.Since.Round(time.Second))
	}
	return strings.TrimRight(b.String(), "\n")
}

// recordsText says what a node keeps and leads.
func recordsText(r peer.RecordsStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "records     %d, %d bytes, of %d arcs; %d requests wait\n", r.Records, r.Bytes, r.Member, r.Waiting)
	for _, a := range r.Leads {
		var members []string
		for _, m := range a.Members {
			members = append(members, shortID(m.ID))
		}
		fmt.Fprintf(&b, "leads       (%s, %s] in epoch %d with %s\n", shortID(a.From), shortID(a.To), a.Epoch, strings.Join(members, " "))
	}
	return b.String()
}
