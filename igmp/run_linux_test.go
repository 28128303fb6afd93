package igmp_test

import (
	"bufio"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/aether-lan/aether/internal/netlab"
)

// program is a querier or a host in a machine of its own.
type program struct {
	*events
	host *netlab.Host
	cmd  *netlab.Cmd
}

func startProgram(t *testing.T, lab *netlab.Lab, sw *netlab.Switch, name, prefix, role string) *program {
	t.Helper()
	p := &program{events: newEvents(t), host: lab.Host(name)}
	p.host.Attach(sw, "eth0")
	p.host.AddAddr("eth0", netip.MustParsePrefix(prefix))
	p.cmd = p.host.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.in <- s.Text()
		}
	}()
	return p
}

// stop interrupts the program and waits for its end.
func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	p.await("ended: interrupt")
	if err := p.cmd.Wait(); err != nil {
		p.t.Error(err)
	}
}

// setLink switches the interface on or off.
func (p *program) setLink(up bool) {
	p.t.Helper()
	err := p.host.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// A querier, a better one, and a host, each in a machine of its own: what the host
// joins both know; when its link was away it tells again, and when it is
// interrupted it leaves.
func TestJoinAndServe_OnMachinesOfTheirOwn(t *testing.T) {
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{})
	second := startProgram(t, lab, sw, "second", "10.0.0.2/24", "serve")
	second.await("querier 10.0.0.2 (own)")
	first := startProgram(t, lab, sw, "first", "10.0.0.1/24", "serve")
	first.await("querier 10.0.0.1 (own)")
	second.await("querier 10.0.0.1")

	member := startProgram(t, lab, sw, "member", "10.0.0.3/24", "239.1.1.1 239.1.1.2")
	member.await("sent 10.0.0.3 > 224.0.0.22: v3 report to_ex 239.1.1.1")
	first.await("group-joined 239.1.1.1 10.0.0.3")
	first.await("group-joined 239.1.1.2 10.0.0.3")
	second.await("group-joined 239.1.1.1 10.0.0.3")

	member.setLink(false)
	member.setLink(true)
	member.await("sent 10.0.0.3 > 224.0.0.22: v3 report to_ex 239.1.1.1, to_ex 239.1.1.2")

	member.stop()
	first.await("group-expired 239.1.1.1")
	second.await("group-expired 239.1.1.1") // the querier's questions lower its timers too
	first.stop()
	second.stop()
}
