package igmp_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netlab"
)

// open attaches a new host to sw and opens a Conn there.
func open(t *testing.T, lab *netlab.Lab, sw *netlab.Switch, name, prefix string, family igmp.Family) (*netlab.Host, *igmp.Conn) {
	t.Helper()
	h := lab.Host(name)
	h.Attach(sw, "eth0")
	h.AddAddr("eth0", netip.MustParsePrefix(prefix))
	var c *igmp.Conn
	if err := h.Do(func() (err error) {
		c, err = igmp.Open(context.Background(), "eth0", family)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return h, c
}

// background runs something until the test ends or stop is called.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// events collects what engines tell.
type events struct {
	t  *testing.T
	in chan string
}

func newEvents(t *testing.T) *events { return &events{t, make(chan string, 1000)} }

func (e *events) await(want string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var heard []string
	for {
		select {
		case s := <-e.in:
			if heard = append(heard, s); strings.HasPrefix(s, want) {
				return
			}
		case <-ctx.Done():
			e.t.Fatalf("no %q within a minute; heard %q", want, heard)
		}
	}
}

// The kernel is the host: our querier learns what it joins and leaves, in each
// version, and turns it from one to the other.
func TestQuerier_AgainstTheKernelAsHost(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	for _, v := range []struct {
		version igmp.Version
		family  igmp.Family
		prefix  string
		group   string
	}{
		{3, igmp.IPv4, "10.0.3.0/24", "239.1.1.3"}, {2, igmp.IPv4, "10.0.2.0/24", "239.1.1.2"},
		{3, igmp.IPv6, "2001:db8:3::/64", "ff05::3"}, {2, igmp.IPv6, "2001:db8:2::/64", "ff05::2"},
	} {
		t.Run(v.family.String()+v.version.String(), func(t *testing.T) {
			net := netip.MustParsePrefix(v.prefix)
			a, b := net.Addr().Next(), net.Addr().Next().Next()
			name := "q" + v.version.String() + v.family.String()
			_, conn := open(t, lab, sw, name, netip.PrefixFrom(a, net.Bits()).String(), v.family)
			m := newMachine(t, lab, sw, "k"+name, netip.PrefixFrom(b, net.Bits()).String(), v.family)
			defer m.join("239.99.0.1")() // noise of the other protocol, or another group
			leave := m.join(v.group)

			q, err := igmp.NewQuerier(igmp.QuerierConfig{Family: v.family, Version: v.version, Address: conn.Addr(v.family),
				Timing: igmp.Timing{QueryResponse: 500 * time.Millisecond}, LastMemberInterval: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			e := newEvents(t)
			stop := background(t, func(ctx context.Context) error {
				return igmp.RunQuerier(ctx, q, conn, igmp.RunConfig[igmp.QuerierEvent]{Event: func(ev igmp.QuerierEvent) { e.in <- ev.String() }})
			})
			defer stop()
			e.await("group-joined " + v.group) // from the answer to the first query
			leave()
			e.await("group-expired " + v.group)
		})
	}
}

// The kernel is the switch: its bridge's table lists what our host joins, and
// forgets what it leaves.
func TestHost_AgainstTheKernelsSnooping(t *testing.T) {
	if _, err := exec.LookPath("bridge"); err != nil {
		t.Skip("bridge is missing, which lists the kernel's table: apt-get install iproute2")
	}
	lab := netlab.New(t)
	h := lab.Host("sw")
	var conn *igmp.Conn
	err := h.Do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}, MulticastSnooping: new(true)}
		if err := netlink.LinkAdd(br); err != nil {
			return err
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "port"}, PeerName: "eth0"}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(veth, br); err != nil {
			return err
		}
		for _, name := range []string{"br0", "port", "eth0"} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(link); err != nil {
				return err
			}
		}
		var err error
		conn, err = igmp.Open(context.Background(), "eth0", igmp.IPv4)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, settings := range []string{"mcast_igmp_version 3", "mcast_querier 1", "mcast_last_member_interval 10"} {
		args := append(strings.Fields("link set br0 type bridge"), strings.Fields(settings)...)
		if out, err := h.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", settings, err, out)
		}
	}
	host, err := igmp.NewHost(igmp.HostConfig{Address: addr("10.0.0.7")})
	if err != nil {
		t.Fatal(err)
	}
	do := make(chan func(time.Time))
	ended := make(chan struct{})
	stop := background(t, func(ctx context.Context) error {
		defer close(ended)
		return igmp.RunHost(ctx, host, conn, igmp.RunConfig[igmp.HostEvent]{Do: do})
	})
	call := func(f func(now time.Time) error) {
		t.Helper()
		var err error
		if callErr := loop.Call(t.Context(), do, ended, func(now time.Time) { err = f(now) }); callErr != nil || err != nil {
			t.Fatal(callErr, err)
		}
	}
	table := func(group, want string, there bool) {
		t.Helper()
		var out []byte
		deadline := time.Now().Add(time.Minute)
		for time.Now().Before(deadline) {
			var err error
			if out, err = h.Command("bridge", "-d", "mdb", "show").Output(); err != nil {
				t.Fatal(err)
			}
			if found := strings.Contains(string(out), group) && strings.Contains(string(out), want); found == there {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
		t.Fatalf("%s %s there = %t is not what the table shows:\n%s", group, want, there, out)
	}
	call(func(now time.Time) error { return host.Join(now, addr("239.5.5.5")) })
	table("grp 239.5.5.5", "", true)
	call(func(now time.Time) error {
		return host.SetFilter(now, 1, addr("232.5.5.6"), igmp.Include, addr("10.9.0.1"))
	})
	table("grp 232.5.5.6", "src 10.9.0.1", true)
	stop()
	table("grp 239.5.5.5", "", false)
	table("grp 232.5.5.6", "", false)
}
