package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dumpTries bounds how often a listing is asked for again because the kernel's
// tables changed meanwhile (NLM_F_DUMP_INTR).
const dumpTries = 20

func list() ([]Interface, error) {
	k, err := dial()
	if err != nil {
		return nil, err
	}
	defer k.close()
	states, err := k.list()
	if err != nil {
		return nil, err
	}
	list := make([]Interface, len(states))
	for i, s := range states {
		list[i] = s.Interface
	}
	return list, nil
}

// kernel answers questions about one network namespace: the one that the thread
// was in which dialled.
type kernel struct {
	addrs *netlink.Handle
	links *nl.SocketHandle
}

func dial() (*kernel, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &kernel{addrs: h, links: &nl.SocketHandle{Socket: s}}, nil
}

func (k *kernel) close() {
	k.addrs.Close()
	k.links.Close()
}

// list returns all interfaces, sorted by index.
func (k *kernel) list() ([]state, error) {
	links, err := whole(k.dumpLinks)
	if err != nil {
		return nil, err
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return k.addrs.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	byIndex := make(map[int][]netip.Prefix, len(links))
	for _, a := range addrs {
		if p, ok := usable(a); ok {
			byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], p)
		}
	}
	list := make([]state, 0, len(links))
	for _, m := range links {
		s, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		s.Addresses = sortAddresses(byIndex[s.Index])
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b state) int { return a.Index - b.Index })
	return list, nil
}

// dumpLinks returns a message for each interface. The library's own list leaves
// out how often the carrier was lost.
func (k *kernel) dumpLinks() ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.links}
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
}

// parseLink reads an RTM_NEWLINK message (rtnetlink(7)).
func parseLink(m []byte) (state, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return state{}, fmt.Errorf("link message of %d bytes", len(m))
	}
	l, err := netlink.LinkDeserialize(nil, m)
	if err != nil {
		return state{}, err
	}
	s := state{Interface: fromLink(l.Attrs())}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofIfInfomsg:])
	if err != nil {
		return state{}, err
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_CARRIER_DOWN_COUNT && len(a.Value) == 4 {
			s.lost = binary.NativeEndian.Uint32(a.Value)
		}
	}
	return s, nil
}

// whole asks again until the answer is of one piece.
func whole[T any](dump func() ([]T, error)) ([]T, error) {
	for try := 1; ; try++ {
		list, err := dump()
		if err == nil || !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return list, err
		}
	}
}

func fromLink(a *netlink.LinkAttrs) Interface {
	return Interface{
		Index:        a.Index,
		Name:         a.Name,
		HardwareAddr: slices.Clone(a.HardwareAddr),
		MTU:          a.MTU,
		Up:           a.RawFlags&unix.IFF_UP != 0,
		Carrier:      hasCarrier(a.RawFlags),
		Loopback:     a.RawFlags&unix.IFF_LOOPBACK != 0,
		Multicast:    a.RawFlags&unix.IFF_MULTICAST != 0,
		PointToPoint: a.RawFlags&unix.IFF_POINTOPOINT != 0,
	}
}

// hasCarrier wants IFF_LOWER_UP (the driver sees a carrier), which the kernel
// shows only while the interface is up, and IFF_RUNNING (RFC 2863 operational
// state), which waits for 802.1X and the like.
func hasCarrier(flags uint32) bool {
	const both = unix.IFF_LOWER_UP | unix.IFF_RUNNING
	return flags&both == both
}

// usable returns the address unless duplicate address detection (RFC 4862
// section 5.4) runs or failed. An optimistic address (RFC 4429) may be used.
func usable(a netlink.Addr) (netip.Prefix, bool) {
	tentative := a.Flags&unix.IFA_F_TENTATIVE != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0
	if a.IPNet == nil || tentative || a.Flags&unix.IFA_F_DADFAILED != 0 {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), ones), ok
}

// on runs f with a handle and the link called ifname, and gives the kernel's
// refusals their names.
func on(ifname string, f func(h *netlink.Handle, l netlink.Link) error) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(ifname)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return ErrNoInterface
	}
	if err != nil {
		return err
	}
	err = f(h, l)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return ErrNotPermitted
	}
	return err
}

// forever is the lifetime of an address that does not end; on 32-bit machines
// the library's int holds 68 years.
const forever = min(math.MaxInt, math.MaxUint32)

func addAddress(ifname string, a Address) error {
	addr := addrOf(a.Prefix)
	addr.Label = a.Label
	addr.ValidLft, addr.PreferedLft = forever, forever
	if a.Deprecated {
		addr.PreferedLft = 0
	}
	if a.ScopeLink {
		addr.Scope = unix.RT_SCOPE_LINK
	}
	return on(ifname, func(h *netlink.Handle, l netlink.Link) error { return h.AddrReplace(l, addr) })
}

func removeAddress(ifname string, prefix netip.Prefix) error {
	return on(ifname, func(h *netlink.Handle, l netlink.Link) error {
		err := h.AddrDel(l, addrOf(prefix))
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil
		}
		return err
	})
}

// resetConnections destroys the TCP sockets bound to a: the kernel sends the resets
// and tells the programs ECONNABORTED.
func resetConnections(a netip.Addr) error {
	sockets, err := netlink.SocketDiagTCP(unix.AF_INET)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // what was listed is reset
		return err
	}
	err = nil
	for _, s := range sockets {
		local, _ := netip.AddrFromSlice(s.ID.Source)
		if local.Unmap() != a || s.State == tcpListen {
			continue
		}
		gone := netlink.SocketDestroy(
			&net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)},
			&net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)})
		if gone != nil && !errors.Is(gone, unix.ENOENT) { // closed meanwhile
			err = errors.Join(err, gone)
		}
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return ErrNotPermitted
	}
	return err
}

// tcpListen is the kernel's TCP_LISTEN (include/net/tcp_states.h).
const tcpListen = 10

func addrOf(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
}

func addDefaultRoute(ifname string, metric int) error {
	return on(ifname, func(h *netlink.Handle, l netlink.Link) error {
		return h.RouteReplace(defaultRoute(l, metric))
	})
}

func removeDefaultRoute(ifname string, metric int) error {
	return on(ifname, func(h *netlink.Handle, l netlink.Link) error {
		err := h.RouteDel(defaultRoute(l, metric))
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return err
	})
}

func defaultRoute(l netlink.Link, metric int) *netlink.Route {
	return &netlink.Route{
		LinkIndex: l.Attrs().Index,
		Dst:       &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		Scope:     netlink.SCOPE_LINK,
		Priority:  metric,
	}
}

func setUp(ifname string) error {
	return on(ifname, func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetUp(l) })
}
