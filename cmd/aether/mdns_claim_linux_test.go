package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/aether-lan/aether/internal/netlab"
)

// claimUntil runs mdns claim on h until it says "claimed", and returns the events
// up to there, the name, and what ends the program.
func claimUntil(t *testing.T, h *netlab.Host, bin string, args ...string) (events []string, name string, end func()) {
	t.Helper()
	cmd := h.Command(bin, append([]string{"mdns", "claim", "-i", "eth0", "--json"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for name == "" && lines.Scan() {
		var line struct{ Event, Name string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		events = append(events, line.Event)
		if line.Event == "claimed" {
			name = line.Name
		}
	}
	return events, name, func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("claim %v: %v", args, err)
		}
	}
}

// A machine that had to rename itself has its name again at the next start, and
// says when another program shares the port.
func TestMDNSClaim_RemembersARenameAndTellsOfASharedPort(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 9})
	var hosts []*netlab.Host
	for i, name := range []string{"alice", "bob"} {
		h := lab.Host(name)
		h.Attach(sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		hosts = append(hosts, h)
	}
	bin, state := buildAether(t), filepath.Join(t.TempDir(), "name.json")

	_, name, endAlice := claimUntil(t, hosts[0], bin, "box")
	if name != "box.local" {
		t.Errorf("alice claimed %q", name)
	}
	events, name, end := claimUntil(t, hosts[1], bin, "box", "--state", state)
	if name != "box-2.local" || !slices.Contains(events, "renamed") || slices.Contains(events, "shared") {
		t.Errorf("bob claimed %q: %v", name, events)
	}
	events, _, endOther := claimUntil(t, hosts[1], bin, "other")
	if !slices.Contains(events, "shared") {
		t.Errorf("a second program beside the first: %v", events)
	}
	endOther()
	end()
	endAlice()
	events, name, end = claimUntil(t, hosts[1], bin, "box", "--state", state)
	if name != "box-2.local" || slices.Contains(events, "renamed") {
		t.Errorf("bob claimed %q at the next start: %v", name, events)
	}
	end()
}
