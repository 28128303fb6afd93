package linklocal_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/internal/netlab"
	"github.com/aether-lan/aether/linklocal"
)

// program is a claim running in a host of its own.
type program struct {
	t     *testing.T
	host  *netlab.Host
	port  *netlab.Port
	cmd   *netlab.Cmd
	lines chan string
}

// claim attaches a new host and starts a claim there.
func claim(t *testing.T, lab *netlab.Lab, sw *netlab.Switch, name string, o claimOptions) *program {
	t.Helper()
	h := lab.Host(name)
	p := &program{t: t, host: h, port: h.Attach(sw, "eth0"), lines: make(chan string, 1000)}
	p.start(o)
	return p
}

func (p *program) start(o claimOptions) {
	o.Interface = "eth0"
	arg, err := json.Marshal(o)
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = p.host.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), claimVariable+"="+string(arg))
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
}

// wait returns the first event line from now on that begins with the word, and
// the address in it.
func (p *program) wait(word string) (string, netip.Addr) {
	p.t.Helper()
	var heard []string
	end := time.After(20 * time.Second)
	for {
		select {
		case line := <-p.lines:
			heard = append(heard, line)
			f := strings.Fields(line)
			if len(f) == 0 || f[0] != word {
				continue
			}
			var addr netip.Addr
			if len(f) > 1 {
				addr, _ = netip.ParseAddr(f[1])
			}
			return line, addr
		case <-end:
			p.t.Fatalf("%s: no %q within 20 s; heard %q", p.host.Name(), word, heard)
		}
	}
}

// stop interrupts the claim and waits for its end.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
	p.wait("released")
	p.wait("ended:")
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s: %v", p.host.Name(), err)
	}
}

// has reports whether the kernel has the address on the host's interface.
func (p *program) has(a netip.Addr) bool {
	return slices.Contains(p.host.Interface("eth0").Addresses, netip.PrefixFrom(a, 16))
}

// send puts an ARP packet on the link from the host's own interface.
func send(h *netlab.Host, p linklocal.Packet) error {
	return h.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		p.Source = linklocal.HardwareAddr(ifi.HardwareAddr)
		p.SenderHardwareAddr = p.Source
		b, err := p.Append(nil)
		if err != nil {
			return err
		}
		c, err := packet.Listen(ifi, packet.Raw, 0x0806, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WriteTo(b, &packet.Addr{HardwareAddr: p.Destination[:]})
		return err
	})
}

// Two hosts claim addresses of the real kernel and reach each other by them; a
// third then takes the address of the first.
func TestClaim_TwoKernelHostsAndAnImpostor(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 1})
	dir := t.TempDir()
	told := filepath.Join(dir, "told")
	hook := filepath.Join(dir, "hook")
	script := "#!/bin/sh\necho \"$1 $2 $3 $AETHER_EVENT $AETHER_ADDRESS\" >>" + told + "\n"
	if err := os.WriteFile(hook, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	a := claim(t, lab, sw, "a", claimOptions{StateDir: dir, Hook: hook, DefaultRoute: true})
	b := claim(t, lab, sw, "b", claimOptions{})
	c := lab.Host("c")
	c.Attach(sw, "eth0")

	_, addrA := a.wait("claimed")
	_, addrB := b.wait("claimed")
	if addrA == addrB || !a.has(addrA) || !b.has(addrB) {
		t.Fatalf("claimed %v (%t) and %v (%t)", addrA, a.has(addrA), addrB, b.has(addrB))
	}
	if got := talk(t, b.host, a.host, addrA); got.Addr() != addrB {
		t.Errorf("a was called by %v, want %v", got, addrB)
	}
	hw := linklocal.HardwareAddr(a.port.HardwareAddr())
	if got, err := linklocal.Remembered(dir, hw); err != nil || got != addrA {
		t.Errorf("remembered %v, %v; want %v", got, err, addrA)
	}
	var res linklocal.Result
	if err := c.Do(func() (err error) {
		res, err = linklocal.Probe(t.Context(), "eth0", addrA, nil)
		return err
	}); err != nil || !res.InUse || res.HardwareAddr != hw {
		t.Errorf("probe for %v: %+v, %v", addrA, res, err)
	}

	impostor := linklocal.Packet{Destination: linklocal.Broadcast, Operation: linklocal.Request, SenderIP: addrA, TargetIP: addrA}
	if err := send(c, impostor); err != nil {
		t.Fatal(err)
	}
	a.wait("conflict")
	a.wait("defended")
	if !a.has(addrA) {
		t.Error("the defended address is gone")
	}
	here, there := connect(t, b.host, a.host, addrA)
	if err := send(c, impostor); err != nil {
		t.Fatal(err)
	}
	a.wait("lost")
	for end, conn := range map[string]net.Conn{"the host that lost its address": here, "its peer": there} {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("RFC 3927 section 2.5: the connection of %s is not reset: %v", end, err)
		}
	}
	_, second := a.wait("claimed")
	if second == addrA || a.has(addrA) || !a.has(second) {
		t.Errorf("after the loss of %v: claimed %v, on the interface %v", addrA, second, a.host.Interface("eth0").Addresses)
	}
	a.stop()
	b.stop()
	if a.has(second) || b.has(addrB) {
		t.Error("an address was left behind")
	}
	want := strings.NewReplacer("1st", addrA.String(), "2nd", second.String()).Replace(
		"BIND eth0 1st BIND 1st\nCONFLICT eth0 1st CONFLICT 1st\nBIND eth0 2nd BIND 2nd\nUNBIND eth0 2nd UNBIND 2nd\nSTOP eth0  STOP \n")
	if got, err := os.ReadFile(told); err != nil || string(got) != want {
		t.Errorf("the hook was told\n%swant\n%s%v", got, want, err)
	}
}

// connect makes a TCP connection from one host to addr in another and returns both
// ends, that in to first.
func connect(t *testing.T, from, to *netlab.Host, addr netip.Addr) (server, client net.Conn) {
	t.Helper()
	var l net.Listener
	if err := to.Do(func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(addr, 0).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := from.Do(func() (err error) {
		client, err = net.DialTimeout("tcp4", l.Addr().String(), 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// talk sends one datagram from one host to addr in another, and returns who it
// came from.
func talk(t *testing.T, from, to *netlab.Host, addr netip.Addr) netip.AddrPort {
	t.Helper()
	var server *net.UDPConn
	if err := to.Do(func() (err error) {
		server, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := from.Do(func() error {
		c, err := net.DialUDP("udp4", nil, server.LocalAddr().(*net.UDPAddr))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, peer, err := server.ReadFromUDPAddrPort(make([]byte, 16))
	if err != nil {
		t.Fatalf("datagram to %v: %v", addr, err)
	}
	return peer
}

// The life of one claim: every answer is broadcast, the cable is pulled, the
// address deleted, and a routable address comes and goes.
func TestClaim_KernelLinkDeletionAndHandOff(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 2})
	var broadcast, unicast atomic.Int32
	sw.Observe(func(_ time.Time, _ *netlab.Port, frame []byte) {
		p, err := linklocal.ParsePacket(frame)
		switch {
		case err != nil || p.Operation != linklocal.Reply:
		case p.Destination == linklocal.Broadcast:
			broadcast.Add(1)
		default:
			unicast.Add(1)
		}
	})
	a := claim(t, lab, sw, "a", claimOptions{BroadcastOnly: true})
	b := lab.Host("b")
	b.Attach(sw, "eth0")
	b.AddAddr("eth0", netip.MustParsePrefix("169.254.0.9/16"))

	_, addr := a.wait("claimed")
	talk(t, b, a.host, addr)
	if broadcast.Load() == 0 || unicast.Load() != 0 {
		t.Errorf("RFC 3927 section 2.5: %d replies broadcast, %d not", broadcast.Load(), unicast.Load())
	}

	a.port.SetDown(true)
	if line, _ := a.wait("lost"); !strings.Contains(line, "no link") || a.has(addr) {
		t.Errorf("cable pulled: %q, still there: %t", line, a.has(addr))
	}
	a.port.SetDown(false)
	if _, again := a.wait("claimed"); again != addr {
		t.Errorf("after the cable came back: %v, want %v", again, addr)
	}

	prefix := netip.PrefixFrom(addr, 16)
	a.eventually("the address is seen", func() bool { return a.has(addr) })
	if err := a.host.Do(func() error { return netif.RemoveAddress("eth0", prefix) }); err != nil {
		t.Fatal(err)
	}
	if line, _ := a.wait("lost"); !strings.Contains(line, "deleted") {
		t.Errorf("address deleted: %q", line)
	}
	if _, again := a.wait("claimed"); again != addr {
		t.Errorf("after the deletion: %v, want %v", again, addr)
	}

	routable := netip.MustParsePrefix("192.0.2.7/24")
	a.host.AddAddr("eth0", routable)
	a.wait("deprecated")
	if !a.has(addr) {
		t.Error("a deprecated address must stay for existing connections (RFC 3927 section 1.9)")
	}
	unicast.Store(0)
	b.AddAddr("eth0", netip.MustParsePrefix("192.0.2.8/24"))
	talk(t, b, a.host, routable.Addr())
	if unicast.Load() == 0 {
		t.Error("the kernel does not answer for the routable address")
	}
	if err := a.host.Do(func() error { return netif.RemoveAddress("eth0", routable) }); err != nil {
		t.Fatal(err)
	}
	a.wait("restored")
	a.stop()
	out, err := a.host.Command("cat", "/proc/sys/net/ipv4/conf/eth0/arp_ignore").Output()
	if err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("arp_ignore is left at %q, %v", out, err)
	}
}

// eventually waits up to two seconds for the kernel.
func (p *program) eventually(what string, ok func() bool) {
	p.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if ok() {
			return
		}
		<-tick.C
	}
	p.t.Fatalf("%s: not within 2 s: %s", p.host.Name(), what)
}

func TestProbe_FreeAndRefused(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	h := lab.Host("h")
	h.Attach(lab.Switch(netlab.SwitchConfig{}), "eth0")
	err := h.Do(func() error {
		if _, err := linklocal.Probe(t.Context(), "eth9", netip.MustParseAddr("192.0.2.1"), nil); !errors.Is(err, linklocal.ErrNoInterface) {
			t.Errorf("missing interface: %v", err)
		}
		if _, err := linklocal.Probe(t.Context(), "lo", netip.MustParseAddr("192.0.2.1"), nil); !errors.Is(err, linklocal.ErrInterface) {
			t.Errorf("loopback: %v", err)
		}
		began := time.Now()
		res, err := linklocal.Probe(t.Context(), "eth0", netip.MustParseAddr("192.0.2.1"), nil)
		if took := time.Since(began); err != nil || res.InUse || took < 4*time.Second || took > 8*time.Second {
			t.Errorf("free address: %+v, %v after %v", res, err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := linklocal.Probe(ctx, "eth0", netip.MustParseAddr("192.0.2.1"), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("probe cut short: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
