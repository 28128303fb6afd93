package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/internal/netif"
)

// firstEnd is the interface index of the first cable end in the lab's namespace,
// far from any in a host: while the two ends of a veth pair have equal indexes
// the kernel takes the pair for a lone device and reports its carrier up to a
// second late (linkwatch_urgent_event).
const firstEnd = 1 << 16

// socketBuffer is asked for as the receive buffer of a cable end, in bytes.
const socketBuffer = 8 << 20

// carrierPatience bounds the wait for a new cable's carrier.
const carrierPatience = 5 * time.Second

// newVeth lays a cable from ifname in host to end in lab, switches both ends on
// and returns a socket on the latter.
func newVeth(host, lab *namespace, ifname, end string, index int, mac net.HardwareAddr) (wire, error) {
	var w wire
	err := lab.do(func() error {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: end, Index: firstEnd + index})
		veth.PeerName, veth.PeerHardwareAddr = ifname, mac
		veth.PeerNamespace = netlink.NsFd(host.net)
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		return wholeFrames(end)
	})
	if err != nil {
		return nil, err
	}
	if err := host.do(func() error { return wholeFrames(ifname) }); err != nil {
		return nil, err
	}
	err = lab.do(func() (err error) {
		if err := netif.SetUp(end); err != nil {
			return err
		}
		w, err = newWire(end)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, host.do(func() error { return netif.SetUp(ifname) })
}

// newWire opens a packet socket (packet(7)) on the interface called end in the
// calling thread's namespace.
func newWire(end string) (wire, error) {
	ifi, err := netif.ByName(end)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	if err := setupWire(fd, ifi.Index); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), end), nil
}

// setupWire binds last: until then the socket hears nothing.
func setupWire(fd, index int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return os.NewSyscallError("setsockopt PACKET_IGNORE_OUTGOING", err)
	}
	// In a user namespace only the second works, up to net.core.rmem_max.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	all := uint16(unix.ETH_P_ALL)
	err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index})
	return os.NewSyscallError("bind", err)
}

// wholeFrames makes the kernel put frames on the wire as a cable would carry
// them: checksummed, and no longer than the MTU allows.
func wholeFrames(ifname string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	for _, off := range []uint32{
		unix.ETHTOOL_STXCSUM, unix.ETHTOOL_SRXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO, unix.ETHTOOL_SGRO,
	} {
		if err := ethtoolOff(fd, ifname, off); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("ethtool %#x on %s: %w", off, ifname, err)
		}
	}
	return nil
}

// ethtoolOff sets a feature to 0: a struct ethtool_value in a struct ifreq
// (linux/ethtool.h, netdevice(7)).
func ethtoolOff(fd int, ifname string, command uint32) error {
	value := struct{ cmd, value uint32 }{cmd: command}
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(req.name[:unix.IFNAMSIZ-1], ifname)
	req.data = unsafe.Pointer(&value)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return errno
	}
	return nil
}

// setLink switches an interface of the calling thread's namespace on or off.
func setLink(ifname string, up bool) error {
	if up {
		return netif.SetUp(ifname)
	}
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(l)
}

// removeLink destroys an interface, and with it the other end of the cable.
func removeLink(ifname string) error {
	l, err := netlink.LinkByName(ifname)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}

// awaitCarrier waits until an interface of the calling thread's namespace can
// pass packets; the kernel brings it up in the background.
func awaitCarrier(ifname string) error {
	late := time.After(carrierPatience)
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for {
		i, err := netif.ByName(ifname)
		if err != nil || i.Carrier {
			return err
		}
		select {
		case <-look.C:
		case <-late:
			return fmt.Errorf("no carrier after %v", carrierPatience)
		}
	}
}
