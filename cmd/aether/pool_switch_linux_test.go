package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netlab"
	"github.com/aether-lan/aether/store/node"
)

// A pool works over a switch that loses, doubles or reorders frames: what five real
// processes write is whole everywhere, nobody is taken for dead, and nobody complains.
func TestPool_BadSwitch(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a pool on a bad switch takes ten seconds for each fault: run without -short")
	}
	for name, f := range map[string]netlab.Faults{
		"loses":      {Loss: .1},
		"duplicates": {Duplicate: .3},
		"reorders":   {Reorder: .2, Delay: time.Millisecond, Jitter: time.Millisecond},
		"all":        {Loss: .05, Duplicate: .1, Reorder: .1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := []string{"alice", "bob", "carol", "dave", "erin"}
			o := newParty(t, names, "--copies", "3")
			for _, n := range names {
				o.machines[n].port.SetFaultsFromHost(f)
			}
			want := o.everybodyWrites("one", names)
			o.whole(40 * time.Second)
			o.mustHave(want, names)
			for _, n := range names {
				if s := o.status(n); s.State != node.UpToDate || len(s.Alarms) > 0 || connected(s) != len(names) {
					t.Errorf("%s says\n%s", n, statusText(s))
				}
				if log := o.machines[n].node.out.String(); strings.Contains(log, `"event":"disconnected"`) {
					t.Errorf("%s took somebody for dead: %s", n, log)
				}
			}
			c := o.sw.Counters()
			if c.Lost+c.Duplicated+c.Reordered == 0 {
				t.Errorf("the switch did nothing wrong: %+v", c)
			}
		})
	}
}

// A switch falls in three, while it loses frames. Each part goes on, and says who is away;
// when it is one again, all have everything, and a conflict copy of what two parts have
// changed.
func TestPool_SwitchInThree(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes 10 s until machines are taken for dead: run without -short")
	}
	names := []string{"alice", "bob", "carol", "dave", "erin"}
	parts := [][]string{{"alice", "bob"}, {"carol", "dave"}, {"erin"}}
	o := newParty(t, names, "--copies", "2")
	o.put("alice", "/", map[string][]byte{"shared": []byte("at first\n")})
	want := o.everybodyWrites("before", names)
	o.whole(30 * time.Second)
	for _, n := range names {
		o.machines[n].port.SetFaultsFromHost(netlab.Faults{Loss: .02, Duplicate: .05, Reorder: .05})
	}
	o.apart(parts...)
	cut := time.Now()
	for i, p := range parts {
		o.put(p[0], "/", map[string][]byte{"shared": fmt.Appendf(nil, "by part %d\n", i)})
	}
	maps.Copy(want, o.everybodyWrites("apart", names))
	for _, p := range parts {
		for _, n := range p {
			o.await(n+" knows who is away", 15*time.Second, func() bool { return connected(o.status(n)) == len(p) })
		}
	}
	t.Logf("all knew after %v", time.Since(cut))
	for _, p := range parts {
		s := o.status(p[0])
		for _, m := range s.Machines {
			if away := !slices.Contains(p, m.Name); away != (m.State == node.Offline) {
				t.Errorf("%s says of %s: %s", p[0], m.Name, m.State)
			}
		}
		if s.State == node.UpToDate || len(p) == 1 && s.State != node.Offline {
			t.Errorf("%s says %s: %s", p[0], s.State, s.Reason)
		}
	}
	o.sw.Heal()
	healed := time.Now()
	o.await("all show the same", 40*time.Second, func() bool { return o.same(names...) })
	o.whole(40 * time.Second)
	t.Logf("all was whole %v after the switch was", time.Since(healed))
	o.mustHave(want, names)
	// Files need no connection between every two; those that were cut are dialled again
	// after a pause that has grown.
	for _, n := range names {
		o.await(n+" hears all", 90*time.Second, func() bool { return connected(o.status(n)) == len(names) })
	}
	for _, n := range names {
		if s := o.status(n); s.Conflicts != 2 || len(s.Alarms) > 0 || connected(s) != len(names) {
			t.Errorf("%s says\n%s", n, statusText(s))
		}
	}
}

// everybodyWrites has each machine write a small and a larger file, and returns what they
// should be.
func (o *party) everybodyWrites(round string, names []string) map[string][sha256.Size]byte {
	o.Helper()
	want := map[string][sha256.Size]byte{}
	r := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", round))))
	for i, n := range names {
		files := map[string][]byte{"small": bytes.Repeat([]byte{byte(i)}, 700), "large": noise(r, 100<<10)}
		o.put(n, "/"+round+"-"+n+"/", files)
		for f, b := range files {
			want["/"+round+"-"+n+"/"+f] = sha256.Sum256(b)
		}
	}
	return want
}

// mustHave checks what each machine reads, of whatever lies where.
func (o *party) mustHave(want map[string][sha256.Size]byte, names []string) {
	o.Helper()
	for _, n := range names {
		got := o.sums(n)
		for p, sum := range want {
			if got[p] != sum {
				o.Errorf("%s has other bytes in %s, or has it no more", n, p)
			}
		}
	}
}
