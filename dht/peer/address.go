package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aether-lan/aether/dht"
)

// addressFile says where the node of a directory listens, for commands on this machine.
const addressFile = "node.json"

// savedAddress is what addressFile holds.
type savedAddress struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// LocalAddress returns where the node of dir listens or did last.
func LocalAddress(dir string) (netip.AddrPort, error) {
	b, err := os.ReadFile(filepath.Join(dir, addressFile))
	if err != nil {
		return netip.AddrPort{}, err
	}
	var s savedAddress
	if err := json.Unmarshal(b, &s); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%s: %w", filepath.Join(dir, addressFile), err)
	}
	a, ok := parseAddress(s.Address)
	if !ok {
		return a, fmt.Errorf("%s: %q is no address", filepath.Join(dir, addressFile), s.Address)
	}
	return a, nil
}

// saveAddress writes addressFile.
func saveAddress(dir string, self dht.Peer, listen netip.AddrPort) error {
	b, err := json.Marshal(savedAddress{Space().Format(self.ID), reachable(listen).String()})
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, addressFile), append(b, '\n'))
}

// reachable returns where a listener is reached from its own machine.
func reachable(a netip.AddrPort) netip.AddrPort {
	switch {
	case !a.Addr().IsUnspecified():
		return a
	case a.Addr().Is4():
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
}

// listen opens the listener of cfg.
func listen(ctx context.Context, cfg Config) (net.Listener, error) {
	if cfg.Listener != nil {
		return cfg.Listener, nil
	}
	lc := net.ListenConfig{KeepAlive: -1} // the engines notice who is gone
	host := ""
	if a := cfg.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		host = a.String()
	}
	if cfg.Listen.Port() == 0 {
		if last, err := LocalAddress(cfg.Dir); err == nil {
			if ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(last.Port())))); err == nil {
				return ln, nil
			}
		}
	}
	return lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(int(cfg.Listen.Port()))))
}

// listensAt returns the address of ln.
func listensAt(ln net.Listener) netip.AddrPort {
	t, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := t.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// advertised returns where others reach a node that listens at at.
func advertised(cfg Config, at netip.AddrPort) netip.AddrPort {
	switch {
	case cfg.Advertise.IsValid():
		return netip.AddrPortFrom(cfg.Advertise, at.Port())
	case !at.Addr().IsUnspecified():
		return at
	}
	for _, j := range cfg.Join {
		if a, ok := sourceFor(j); ok {
			return netip.AddrPortFrom(a, at.Port())
		}
	}
	return netip.AddrPortFrom(ownAddress(), at.Port())
}

// sourceFor returns the address from which this machine sends to a. Nothing is sent.
func sourceFor(a netip.AddrPort) (netip.Addr, bool) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.Dial("udp", a.String())
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	u, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return u.AddrPort().Addr().Unmap(), true
}

// ownAddress returns the address of this machine that others most likely reach: a
// routable one, else a link-local one (RFC 3927), else that of the machine itself.
func ownAddress() netip.Addr {
	best, rank := netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0
	list, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, x := range list {
		n, ok := x.(*net.IPNet)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		if r := rankOf(a.Unmap()); r > rank {
			best, rank = a.Unmap(), r
		}
	}
	return best
}

// rankOf says how useful an address is to others; IPv6 addresses of a link need a zone
// that others do not know.
func rankOf(a netip.Addr) int {
	switch {
	case a.IsLoopback() || a.IsMulticast() || a.Is6() && a.IsLinkLocalUnicast():
		return 0
	case a.Is4() && !a.IsLinkLocalUnicast():
		return 3
	case a.Is6():
		return 2
	}
	return 1
}
