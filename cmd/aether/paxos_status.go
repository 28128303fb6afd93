package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosStatusCommand() *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "who leads, how far each node is, and why there is no progress if there is none",
		Description: "Asks every node that is known. JSON: status {id, address, role, leader, ballot, chosen, applied, snapshot, lag, peers,\n" +
			"members, fsyncs, fsync_median_ms, fsync_p99_ms, keys, bytes, hash, full, lease_ms, stuck}, or unreachable {address, error}.\n" +
			"Exit status: 0 when there is a leader that makes progress, else 1." +
			examples(`aether paxos status`, `aether paxos status --endpoints 10.0.0.1:7001 --json`),
		Flags: clientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, list []netip.AddrPort, out *printer) error {
				all := askAll(ctx, cl, list)
				if err := printStatuses(out, all); err != nil {
					return err
				}
				if !leaderProgresses(all) {
					return failed()
				}
				return nil
			})
		},
	}
}

// standing is what a node said of itself, or why it said nothing.
type standing struct {
	at  netip.AddrPort
	s   replica.Status
	err error
}

// statusWait is how long a node may take to say how it stands.
const statusWait = 2 * time.Second

// askAll asks all nodes at once, those too that the first ones tell of.
func askAll(ctx context.Context, cl *replica.Client, list []netip.AddrPort) (all []standing) {
	asked := map[netip.AddrPort]bool{}
	for len(list) > 0 {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var more []netip.AddrPort
		for _, a := range list {
			if asked[a] {
				continue
			}
			asked[a] = true
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, statusWait)
				defer cancel()
				s, err := cl.Status(ctx, a)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, standing{a, s, err})
				for id, b := range s.Addresses {
					if id != s.ID && b.Addr().IsValid() && !b.Addr().IsUnspecified() {
						more = append(more, b)
					}
				}
			})
		}
		wg.Wait()
		list = more
	}
	slices.SortFunc(all, func(a, b standing) int {
		if (a.err == nil) != (b.err == nil) {
			if a.err == nil {
				return -1
			}
			return 1
		}
		if a.s.ID != b.s.ID {
			return int(a.s.ID) - int(b.s.ID)
		}
		return a.at.Compare(b.at)
	})
	// A node that was asked at two addresses is one.
	return slices.CompactFunc(all, func(a, b standing) bool {
		return a.err == nil && b.err == nil && a.s.ID == b.s.ID && a.s.Incarnation == b.s.Incarnation
	})
}

// leaderProgresses reports whether a leader makes progress.
func leaderProgresses(all []standing) bool {
	return slices.ContainsFunc(all, func(t standing) bool { return t.err == nil && t.s.Role == paxos.Leading && t.s.Stuck == "" })
}

func printStatuses(out *printer, all []standing) error {
	highest := paxos.Slot(0)
	for _, t := range all {
		highest = max(highest, t.s.Slots.Chosen)
	}
	if out.json {
		for _, t := range all {
			if err := printStatusJSON(out, t, highest); err != nil {
				return err
			}
		}
		return nil
	}
	if err := out.line(headline(all)); err != nil {
		return err
	}
	rows := [][]string{{"node", "address", "role", "ballot", "chosen", "applied", "lag", "fsync p99", "keys", ""}}
	for _, t := range all {
		if t.err != nil {
			rows = append(rows, []string{"-", t.at.String(), "unreachable", "", "", "", "", "", "", ""})
			continue
		}
		s := t.s
		rows = append(rows, []string{
			s.ID.String(), t.at.String(), roleOf(s), s.Ballot.String(), s.Slots.Chosen.String(), s.Slots.Applied.String(),
			(highest - s.Slots.Applied).String(), s.Disk.P99.Round(10 * time.Microsecond).String(), fmt.Sprint(s.Map.Keys), s.Stuck,
		})
	}
	return out.line(strings.TrimSuffix(columns(rows), "\n"))
}

func roleOf(s replica.Status) string {
	if m, ok := s.Members.Find(s.ID); ok && m.Learner {
		return s.Role.String() + ", learner"
	}
	return s.Role.String()
}

// headline says in a line how the cluster stands.
func headline(all []standing) string {
	reached := 0
	why := "no node answers"
	for _, t := range all {
		if t.err != nil {
			continue
		}
		reached++
		if t.s.Role == paxos.Leading {
			if t.s.Stuck == "" {
				return fmt.Sprintf("node %v leads; %d of %d members answer it", t.s.ID, answering(t.s), len(t.s.Members.Members))
			}
			return fmt.Sprintf("node %v leads, without progress: %s", t.s.ID, t.s.Stuck)
		}
		if t.s.Stuck != "" {
			why = t.s.Stuck
		} else if reached == 1 {
			why = "the leader cannot be reached from here"
		}
	}
	return "no leader: " + why
}

// answering counts the members that a leader hears, itself too.
func answering(s replica.Status) int {
	n := 1
	for _, p := range s.Peers {
		if p.Live {
			n++
		}
	}
	return n
}

func printStatusJSON(out *printer, t standing, highest paxos.Slot) error {
	if t.err != nil {
		return out.event("unreachable", "", "address", t.at.String(), "error", t.err.Error())
	}
	s := t.s
	type peer struct {
		ID      uint64  `json:"id"`
		Live    bool    `json:"live"`
		Votes   bool    `json:"votes"`
		Lag     uint64  `json:"lag"`
		Applied uint64  `json:"applied"`
		Silent  float64 `json:"silent_ms"`
	}
	peers := []peer{}
	for _, p := range s.Peers {
		peers = append(peers, peer{uint64(p.ID), p.Live, p.Counts, uint64(p.Lag), uint64(p.Applied), p.Silent.Seconds() * 1000})
	}
	type member struct {
		ID      uint64 `json:"id"`
		Address string `json:"address"`
		Learner bool   `json:"learner"`
	}
	members := []member{}
	for _, m := range s.Members.Members {
		members = append(members, member{uint64(m.ID), m.Addr, m.Learner})
	}
	return out.event("status", "", "id", uint64(s.ID), "address", t.at.String(), "role", s.Role.String(), "leader", uint64(s.Leader),
		"ballot", s.Ballot.String(), "chosen", uint64(s.Slots.Chosen), "applied", uint64(s.Slots.Applied), "snapshot", uint64(s.Slots.Snapshot),
		"lag", uint64(highest-s.Slots.Applied), "peers", peers, "members", members, "fsyncs", s.Disk.Syncs,
		"fsync_median_ms", s.Disk.Median.Seconds()*1000, "fsync_p99_ms", s.Disk.P99.Seconds()*1000,
		"keys", s.Map.Keys, "bytes", s.Map.Bytes, "hash", fmt.Sprintf("%016x", s.Map.Hash), "full", s.Disk.Full, "lease_ms", s.Lease.Seconds()*1000, "stuck", s.Stuck)
}
