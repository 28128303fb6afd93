package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/aether-lan/aether/internal/netif"
)

// Host is one machine of a [Lab]: a network namespace and a hostname. Its
// methods end the test when they fail, except where they return an error; those
// that do not return one must be called from the test's own goroutine.
type Host struct {
	lab    *Lab
	name   string
	number int // in the lab, from 1
	ns     *namespace

	mu    sync.Mutex
	ports int
	cmds  []*Cmd
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Attach gives the host an interface called ifname and plugs it into sw. The
// interface is up when Attach returns, has an IPv6 link-local address that is
// usable at once (duplicate address detection is off) and no IPv4 address. Its
// hardware address is 02:ae:00:00:HH:PP with HH the number of the host in the
// lab and PP that of the interface in the host, both from 1. Its MTU is 1500.
func (h *Host) Attach(sw *Switch, ifname string) *Port {
	h.lab.t.Helper()
	h.mu.Lock()
	h.ports++
	mac := net.HardwareAddr{0x02, 0xae, 0, 0, byte(h.number), byte(h.ports)}
	h.mu.Unlock()
	p := sw.newPort(h, mac)
	cable := h.lab.cable()
	p.end = "p" + strconv.Itoa(cable)
	wire, err := newVeth(h.ns, h.lab.ns, ifname, p.end, cable, mac)
	if err != nil {
		h.lab.fail("attach %s of %s: %w", ifname, h.name, err)
	}
	sw.plug(p, wire)
	if err := h.Do(func() error { return awaitCarrier(ifname) }); err != nil {
		h.lab.fail("attach %s of %s: %w", ifname, h.name, err)
	}
	return p
}

// Do runs f on an OS thread of its own inside the host and returns f's error.
// Several calls may run at once. Sockets opened by f stay in the host for good;
// goroutines started by f run outside. f must not end its goroutine (t.FailNow).
func (h *Host) Do(f func() error) error { return h.ns.enter(f) }

// AddAddr puts an address on the interface called ifname.
func (h *Host) AddAddr(ifname string, p netip.Prefix) {
	h.lab.t.Helper()
	err := h.Do(func() error { return netif.AddAddress(ifname, netif.Address{Prefix: p}) })
	if err != nil {
		h.lab.fail("host %s: %w", h.name, err)
	}
}

// Interface returns the state of the host's interface called ifname.
func (h *Host) Interface(ifname string) netif.Interface {
	h.lab.t.Helper()
	var i netif.Interface
	err := h.Do(func() (err error) {
		i, err = netif.ByName(ifname)
		return err
	})
	if err != nil {
		h.lab.fail("host %s: %w", h.name, err)
	}
	return i
}

// Sysctl sets a kernel parameter below net, for instance
// "net.ipv4.conf.eth0.force_igmp_version" to "2".
func (h *Host) Sysctl(name, value string) {
	h.lab.t.Helper()
	if err := h.Do(func() error { return setSysctl(name, value) }); err != nil {
		h.lab.fail("host %s: %w", h.name, err)
	}
}

// setSysctl sets a parameter in the namespace of the calling thread.
func setSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

// quiet keeps the kernel from sending anything of its own out of the interfaces
// that will appear in the calling thread's namespace: they are only wires.
func quiet() error {
	err := setSysctl("net.ipv6.conf.default.disable_ipv6", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without IPv6 has nothing to keep quiet
	}
	return err
}
