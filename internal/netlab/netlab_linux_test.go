package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netif"
)

func TestMain(m *testing.M) { Main(m) }

const (
	addrA = "192.0.2.1"
	addrB = "192.0.2.2"
)

// pair is two hosts with addresses on one switch.
type pair struct {
	lab    *Lab
	sw     *Switch
	a, b   *Host
	pa, pb *Port
}

func newPair(t *testing.T, seed uint64) pair {
	lab := New(t)
	p := pair{lab: lab, sw: lab.Switch(SwitchConfig{Seed: seed}), a: lab.Host("a"), b: lab.Host("b")}
	p.pa, p.pb = p.a.Attach(p.sw, "eth0"), p.b.Attach(p.sw, "eth0")
	p.a.AddAddr("eth0", netip.MustParsePrefix(addrA+"/24"))
	p.b.AddAddr("eth0", netip.MustParsePrefix(addrB+"/24"))
	return p
}

// listen opens a UDP socket in h.
func listen(t *testing.T, h *Host, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	err := h.Do(func() (err error) {
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sockets returns one UDP socket in each host, and has them meet, so that
// neither needs ARP afterwards.
func (p pair) sockets(t *testing.T) (a, b net.PacketConn) {
	t.Helper()
	a, b = listen(t, p.a, addrA+":7"), listen(t, p.b, addrB+":7")
	send(t, a, b.LocalAddr(), "hello")
	expect(t, b, "hello")
	send(t, b, a.LocalAddr(), "hello too")
	expect(t, a, "hello too")
	return a, b
}

func send(t *testing.T, from net.PacketConn, to net.Addr, text string) {
	t.Helper()
	if _, err := from.WriteTo([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

// receive returns the next datagram, or "" if none comes for the duration.
func receive(t *testing.T, at net.PacketConn, patience time.Duration) string {
	t.Helper()
	var buf [2048]byte
	if err := at.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, _, err := at.ReadFrom(buf[:])
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func expect(t *testing.T, at net.PacketConn, want string) {
	t.Helper()
	if got := receive(t, at, 5*time.Second); got != want {
		t.Fatalf("received %q, want %q", got, want)
	}
}

// quietly is how long a test waits for what must not come.
const quietly = 100 * time.Millisecond

func TestLab_HostsTalkThroughTheSwitch(t *testing.T) {
	p := newPair(t, 1)
	p.sockets(t)
	if i := p.a.Interface("eth0"); !i.Up || !i.Carrier || i.MTU != 1500 || i.HardwareAddr.String() != "02:ae:00:00:01:01" {
		t.Errorf("odd interface: %+v", i)
	}
	if i := p.a.Interface("lo"); !i.Up {
		t.Error("loopback is off")
	}
	// Link-local IPv6 is usable at once.
	a := listen(t, p.a, "[fe80::ae:ff:fe00:101%eth0]:9")
	b := listen(t, p.b, "[fe80::ae:ff:fe00:201%eth0]:9")
	send(t, a, &net.UDPAddr{IP: net.ParseIP("fe80::ae:ff:fe00:201"), Port: 9, Zone: "eth0"}, "six")
	expect(t, b, "six")
	if c := p.sw.Counters(); c.FromHost < 4 || c.Failed+c.Oversized+c.Lost+c.Overflowed > 0 {
		t.Errorf("odd counters: %+v", c)
	}
}

func TestSwitch_LearnsStations(t *testing.T) {
	p := newPair(t, 1)
	third := p.lab.Host("c").Attach(p.sw, "eth0")
	a, b := p.sockets(t)
	before := third.Counters().ToHost
	for i := range 50 {
		send(t, a, b.LocalAddr(), fmt.Sprint(i))
		expect(t, b, fmt.Sprint(i))
	}
	// The third host's own multicast is its affair; unicast must not reach it.
	if n := third.Counters().ToHost - before; n > 10 {
		t.Errorf("a third host saw %d of 50 unicast frames", n)
	}
	if len(p.sw.Ports()) != 3 || third.Number() != 3 || third.Host().Name() != "c" {
		t.Error("odd ports")
	}
}

func TestFaults_LoseTheShareAskedFor(t *testing.T) {
	p := newPair(t, 42)
	a, b := p.sockets(t)
	// Only what a sends is struck, so that the fates are those of the datagrams.
	// They go in batches that fit the receiver's buffer.
	const batches, batch = 10, 100
	lost := 0
	for range batches {
		p.pa.SetFaultsFromHost(Faults{Loss: 0.3})
		before := p.pa.Counters().FromHost
		for range batch {
			send(t, a, b.LocalAddr(), "one")
		}
		p.pa.awaitFromHost(t, before+batch)
		p.pa.SetFaultsFromHost(Faults{})
		send(t, a, b.LocalAddr(), "last")
		lost += batch - countUntil(t, b, "last")
	}
	if lost < 250 || lost > 350 {
		t.Errorf("lost %d of 1000, asked for 300 (seed 42)", lost)
	}
	// A few frames more may be lost that are none of the datagrams.
	if c := int(p.pa.Counters().Lost); c < lost || c > lost+10 {
		t.Errorf("counted %d, missed %d", c, lost)
	}
}

// countUntil returns how many datagrams come before last.
func countUntil(t *testing.T, at net.PacketConn, last string) (n int) {
	t.Helper()
	for {
		switch receive(t, at, 5*time.Second) {
		case last:
			return n
		case "":
			t.Fatalf("%q did not come after %d datagrams", last, n)
		}
		n++
	}
}

// awaitFromHost waits until the switch has taken n frames from the host.
func (p *Port) awaitFromHost(t *testing.T, n uint64) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for late := time.After(5 * time.Second); p.Counters().FromHost < n; {
		select {
		case <-look.C:
		case <-late:
			t.Fatalf("%d frames came from the host, want %d", p.Counters().FromHost, n)
		}
	}
}

func TestFaults_Delay(t *testing.T) {
	p := newPair(t, 1)
	a, b := p.sockets(t)
	const delay = 30 * time.Millisecond
	p.pb.SetFaultsToHost(Faults{Delay: delay})
	start := time.Now()
	for i := range 20 {
		send(t, a, b.LocalAddr(), fmt.Sprint(i))
	}
	for i := range 20 { // in order, although delayed
		expect(t, b, fmt.Sprint(i))
	}
	if d := time.Since(start); d < delay || d > time.Second {
		t.Errorf("took %v, want %v and little more", d, delay)
	}
}

func TestFaults_DuplicateAndReorder(t *testing.T) {
	p := newPair(t, 1)
	a, b := p.sockets(t)
	p.pa.SetFaultsFromHost(Faults{Duplicate: 1})
	send(t, a, b.LocalAddr(), "twice")
	expect(t, b, "twice")
	expect(t, b, "twice")
	p.pa.SetFaultsFromHost(Faults{Reorder: 1})
	before := p.pa.Counters().FromHost
	send(t, a, b.LocalAddr(), "first")
	p.pa.awaitFromHost(t, before+1)
	if got := receive(t, b, 5*time.Second); got != "first" { // held back, not lost
		t.Errorf("got %q", got)
	}
	if c := p.pa.Counters(); c.Duplicated == 0 || c.Reordered == 0 {
		t.Errorf("odd counters: %+v", c)
	}
}

func TestSwitch_PartitionAndHeal(t *testing.T) {
	p := newPair(t, 1)
	a, b := p.sockets(t)
	p.sw.Partition([]*Port{p.pa}, []*Port{p.pb})
	send(t, a, b.LocalAddr(), "lost")
	if got := receive(t, b, quietly); got != "" {
		t.Errorf("%q crossed the partition", got)
	}
	if p.sw.Counters().Partitioned == 0 {
		t.Error("not counted")
	}
	p.sw.Heal()
	send(t, a, b.LocalAddr(), "found")
	expect(t, b, "found")
}

func TestPort_SetDownIsSeenByTheHost(t *testing.T) {
	p := newPair(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	events := make(chan netif.Event, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- p.a.Do(func() error { return netif.Watch(ctx, func(e netif.Event) { events <- e }) })
	}()
	await := func(kind netif.Kind) netif.Interface {
		t.Helper()
		late := time.After(5 * time.Second)
		for {
			select {
			case e := <-events:
				if e.Kind == kind && e.Interface.Name == "eth0" {
					return e.Interface
				}
			case <-late:
				t.Fatalf("no event %v", kind)
			}
		}
	}
	if i := await(netif.Added); !i.Carrier {
		t.Errorf("no carrier at first: %+v", i)
	}
	for range 5 { // a flap shorter than any poll is heard
		p.pa.SetDown(true)
		p.pa.SetDown(false)
		await(netif.CarrierDown)
		await(netif.CarrierUp)
	}
	p.pa.SetDown(true)
	if i := await(netif.CarrierDown); !i.Up || i.Carrier {
		t.Errorf("after the cable was pulled: %+v", i)
	}
	p.pa.SetDown(false)
	if i := await(netif.CarrierUp); !i.Carrier {
		t.Errorf("after the cable was plugged in: %+v", i)
	}
	p.a.AddAddr("eth0", netip.MustParsePrefix("169.254.7.7/16"))
	if i := await(netif.Changed); !strings.Contains(fmt.Sprint(i.Addresses), "169.254.7.7/16") {
		t.Errorf("no new address: %+v", i)
	}
	p.sockets(t) // the cable works again
	p.pa.Detach()
	await(netif.Removed)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestSwitch_CaptureParses(t *testing.T) {
	p := newPair(t, 1)
	path := filepath.Join(t.TempDir(), "net.pcap")
	c := p.sw.Capture(path)
	a, b := p.sockets(t)
	send(t, a, b.LocalAddr(), "for the record")
	expect(t, b, "for the record")
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	arps, found := 0, 0
	for pk := range gopacket.NewPacketSource(r, r.LinkType()).Packets() {
		if pk.ErrorLayer() != nil {
			t.Error(pk.ErrorLayer().Error())
		}
		if pk.Layer(layers.LayerTypeARP) != nil {
			arps++
		}
		udp, ok := pk.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || string(udp.Payload) != "for the record" {
			continue
		}
		found++
		checkSum(t, pk, udp)
	}
	if arps == 0 || found != 1 {
		t.Errorf("%d ARP packets, %d of the datagram", arps, found)
	}
}

// checkSum fails if the checksum in the packet is not the one it should have,
// which would mean that the kernel left it to a card that is not there.
func checkSum(t *testing.T, pk gopacket.Packet, udp *layers.UDP) {
	t.Helper()
	seen := udp.Checksum
	if err := udp.SetNetworkLayerForChecksum(pk.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, udp, gopacket.Payload(udp.Payload)); err != nil {
		t.Fatal(err)
	}
	if seen == 0 || udp.Checksum != seen {
		t.Errorf("checksum %#x on the wire, should be %#x", seen, udp.Checksum)
	}
}

func TestHost_CommandRunsInTheHost(t *testing.T) {
	p := newPair(t, 1)
	out, err := p.a.Command("cat", "/proc/net/dev", "/proc/sys/kernel/hostname").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "eth0:") || !strings.HasSuffix(string(out), "\na\n") {
		t.Errorf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "outside"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = p.a.Command("ls", "/sys/class/net").PrivateDirs("/sys").Output()
	if err != nil || !strings.Contains(string(out), "eth0") {
		t.Errorf("%v\n%s", err, out)
	}
	c := p.a.Command("sh", "-c", `touch "$0/inside" && ls "$0"`, dir).PrivateDirs(dir)
	if out, err = c.Output(); err != nil || string(out) != "inside\n" {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != "outside" {
		t.Errorf("the private directory leaked: %v %v", left, err)
	}
	if err := p.a.Command("/nonexistent").Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestHost_ConfiguresThroughNetif(t *testing.T) {
	p := newPair(t, 1)
	ll := netip.MustParsePrefix("169.254.1.2/16")
	err := p.a.Do(func() error {
		for range 2 { // idempotent
			err := errors.Join(
				netif.AddAddress("eth0", netif.Address{Prefix: ll, Label: "eth0:ll", ScopeLink: true}),
				netif.AddDefaultRoute("eth0", 1002))
			if err != nil {
				return err
			}
		}
		return netif.AddAddress("eth0", netif.Address{Prefix: ll, Label: "eth0:ll", ScopeLink: true, Deprecated: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	out, _ := p.a.Command("ip", "address", "show", "dev", "eth0").Output()
	for _, want := range []string{"inet 169.254.1.2/16 brd 169.254.255.255 scope link deprecated", "eth0:ll"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	out, _ = p.a.Command("ip", "route").Output()
	for _, want := range []string{"default dev eth0 scope link metric 1002", "169.254.0.0/16 dev eth0"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	err = p.a.Do(func() error {
		for range 2 {
			err := errors.Join(netif.RemoveAddress("eth0", ll), netif.RemoveDefaultRoute("eth0", 1002))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, _ = p.a.Command("ip", "address", "show", "dev", "eth0").Output(); strings.Contains(string(out), "169.254") {
		t.Errorf("still there:\n%s", out)
	}
	p.a.Sysctl("net.ipv4.conf.eth0.force_igmp_version", "2")
}

// Without CAP_NET_ADMIN the answer names it.
func TestNetif_SaysWhichRightIsMissing(t *testing.T) {
	p := newPair(t, 1)
	err := p.a.Do(func() error {
		if err := dropNetAdmin(); err != nil {
			t.Error(err)
		}
		return netif.AddAddress("eth0", netif.Address{Prefix: netip.MustParsePrefix("192.0.2.9/24")})
	})
	if !errors.Is(err, netif.ErrNotPermitted) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
}

// dropNetAdmin gives up CAP_NET_ADMIN on this thread, which Do throws away.
func dropNetAdmin() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return err
	}
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&hdr, &caps[0])
}

func TestHost_DoReturnsWhatBecameOfTheFunction(t *testing.T) {
	h := New(t).Host("a")
	if err := h.Do(func() error { return nil }); err != nil {
		t.Error(err)
	}
	want := errors.New("mine")
	if err := h.Do(func() error { return want }); err != want {
		t.Errorf("got %v", err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error from a function that ended its goroutine")
	}
	if err := h.Do(func() error { _, err := netif.ByName("eth0"); return err }); !errors.Is(err, netif.ErrNoInterface) {
		t.Errorf("got %v", err)
	}
}

func TestLab_LeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("lab", func(t *testing.T) {
		p := newPair(t, 1)
		p.pa.SetFaults(Faults{Delay: time.Hour})
		p.sw.Capture(filepath.Join(t.TempDir(), "x.pcap"))
		if err := p.a.Command("sleep", "1000").Start(); err != nil {
			t.Fatal(err)
		}
	})
	goleak.VerifyNone(t, before)
}

// A program that still writes is ended before the test's directories are removed.
func TestLab_ProgramsEndBeforeTheDirectoriesOfTheTestGo(t *testing.T) {
	h := New(t).Host("writer")
	c := h.Command("sh", "-c", `cd "$1" && i=0 && while :; do i=$((i+1)); mkdir -p d$((i%50)); : >d$((i%50))/$i; done`, "sh", t.TempDir())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond)
}
