package multicast

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr: a message and how long it was.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// controlLen is room for the control messages that a socket of ours gets with a
// datagram: destination and interface (IPv6 the larger), and hop limit.
const controlLen = 128

// batchReader reads with recvmmsg(2), into memory that is used again.
type batchReader struct {
	raw  syscall.RawConn
	msgs []mmsghdr
	slot []readSlot
	b    []byte // maxDatagram bytes a slot; untouched pages cost nothing
}

// readSlot is where one datagram of a batch goes.
type readSlot struct {
	iov     unix.Iovec
	from    unix.RawSockaddrInet6 // or an Inet4, which is shorter
	control [controlLen]byte
}

func (r *batchReader) prepare(s socket) (err error) {
	if r.raw != nil {
		return nil
	}
	if r.raw, err = rawConn(s).SyscallConn(); err != nil {
		return err
	}
	// A kernel that tells no time sends datagrams without it.
	_ = setTimestamps(s.conn(), 1)
	r.msgs, r.slot, r.b = make([]mmsghdr, maxBatch), make([]readSlot, maxBatch), make([]byte, maxBatch*maxDatagram)
	for i := range r.slot {
		s := &r.slot[i]
		s.iov.Base = &r.b[i*maxDatagram]
		s.iov.SetLen(maxDatagram)
		h := &r.msgs[i].hdr
		h.Name, h.Iov, h.Control = (*byte)(unsafe.Pointer(&s.from)), &s.iov, &s.control[0]
		h.SetIovlen(1)
	}
	return nil
}

// read waits for datagrams and gives what is wanted of them to ds, which may be
// nothing.
func (r *batchReader) read(c *Conn, ds []Datagram) (int, error) {
	if err := r.prepare(c.sockets.read[0]); err != nil {
		return 0, err
	}
	for i := range ds {
		h := &r.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlLen)
	}
	var got int
	var errno syscall.Errno
	err := r.raw.Read(func(fd uintptr) bool {
		n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(len(ds)), unix.MSG_DONTWAIT, 0, 0)
		got, errno = int(n), e
		return e != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case errno != 0:
		return 0, errno
	}
	n := 0
	for i := range got {
		d := r.slot[i].describe(c, int(r.msgs[i].hdr.Controllen))
		n = c.deliver(ds, n, d, r.b[i*maxDatagram:][:r.msgs[i].n])
	}
	return n, nil
}

// describe reads what the kernel says about the datagram of a slot.
func (s *readSlot) describe(c *Conn, controlLen int) Datagram {
	d := Datagram{From: s.sender(c.ifi)}
	for b := s.control[:min(controlLen, len(s.control))]; len(b) >= unix.SizeofCmsghdr; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		end := int(h.Len)
		if end < unix.SizeofCmsghdr || end > len(b) {
			break
		}
		d.control(h.Level, h.Type, b[unix.CmsgLen(0):end])
		b = b[min(len(b), unix.CmsgSpace(end-unix.CmsgLen(0))):]
	}
	return d
}

// control takes one control message.
func (d *Datagram) control(level, kind int32, b []byte) {
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(b) >= unix.SizeofInet4Pktinfo:
		p := (*unix.Inet4Pktinfo)(unsafe.Pointer(&b[0]))
		d.To, d.IfIndex = netip.AddrFrom4(p.Addr), int(p.Ifindex)
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(b) >= unix.SizeofInet6Pktinfo:
		p := (*unix.Inet6Pktinfo)(unsafe.Pointer(&b[0]))
		d.To, d.IfIndex = netip.AddrFrom16(p.Addr), int(p.Ifindex)
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL, level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT:
		if len(b) >= 4 {
			d.HopLimit = int(binary.NativeEndian.Uint32(b))
		}
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(b) >= int(unsafe.Sizeof(unix.Timespec{})):
		d.Received = time.Unix((*unix.Timespec)(unsafe.Pointer(&b[0])).Unix())
	}
}

// setTimestamps asks the kernel to tell when it received each datagram, or not to.
func setTimestamps(pc net.PacketConn, on int) error {
	return onDescriptor(pc, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, on) })
}

func noTimestamps(pc net.PacketConn) { _ = setTimestamps(pc, 0) }

// sender reads the address that the kernel wrote.
func (s *readSlot) sender(ifi *net.Interface) netip.AddrPort {
	port := (*[2]byte)(unsafe.Pointer(&s.from.Port)) // in network byte order
	p := binary.BigEndian.Uint16(port[:])
	if s.from.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&s.from)).Addr), p)
	}
	a := netip.AddrFrom16(s.from.Addr)
	switch s.from.Scope_id {
	case 0:
	case uint32(ifi.Index):
		a = a.WithZone(ifi.Name)
	default:
		a = a.WithZone(strconv.Itoa(int(s.from.Scope_id)))
	}
	return netip.AddrPortFrom(a, p)
}

// batchWriter writes with sendmmsg(2).
type batchWriter struct {
	raw  syscall.RawConn
	msgs []mmsghdr
	iovs []unix.Iovec
	to   unix.RawSockaddrInet6 // or an Inet4
	via  [controlLen]byte      // names the interface
	size int                   // of via
}

// prepare makes the buffers and the control message that names the interface.
func (w *batchWriter) prepare(c *Conn) (err error) {
	if w.raw != nil {
		return nil
	}
	if w.raw, err = rawConn(c.sockets.read[0]).SyscallConn(); err != nil {
		return err
	}
	w.msgs, w.iovs = make([]mmsghdr, maxBatch), make([]unix.Iovec, maxBatch)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&w.via[0]))
	b := w.via[unix.CmsgLen(0):]
	n := unix.SizeofInet6Pktinfo
	if c.cfg.Group.Addr().Is4() {
		n = unix.SizeofInet4Pktinfo
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&b[0])).Ifindex = int32(c.ifi.Index)
	} else {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		(*unix.Inet6Pktinfo)(unsafe.Pointer(&b[0])).Ifindex = uint32(c.ifi.Index)
	}
	h.SetLen(unix.CmsgLen(n))
	w.size = unix.CmsgSpace(n)
	return nil
}

func (w *batchWriter) write(c *Conn, bs [][]byte, to netip.AddrPort) (sent int, err error) {
	if err := w.prepare(c); err != nil {
		return 0, err
	}
	nameLen, err := w.address(c, to)
	if err != nil {
		return 0, err
	}
	for i, b := range bs {
		w.iovs[i] = unix.Iovec{Base: unsafe.SliceData(b)}
		w.iovs[i].SetLen(len(b))
		h := &w.msgs[i].hdr
		h.Name, h.Namelen, h.Iov = (*byte)(unsafe.Pointer(&w.to)), nameLen, &w.iovs[i]
		h.SetIovlen(1)
		h.Control = &w.via[0]
		h.SetControllen(w.size)
	}
	var errno syscall.Errno
	err = w.raw.Write(func(fd uintptr) bool {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.msgs[0])), uintptr(len(bs)), unix.MSG_DONTWAIT, 0, 0)
		if sent, errno = 0, e; e == 0 {
			sent = int(n)
		}
		return e != unix.EAGAIN
	})
	clear(w.iovs[:len(bs)])                              // not to keep the caller's memory
	if err == nil && errno != 0 && errno != unix.EINTR { // an interrupted call sent nothing
		err = errno
	}
	return sent, err
}

// address writes to in the kernel's form and returns its length.
func (w *batchWriter) address(c *Conn, to netip.AddrPort) (uint32, error) {
	var port [2]byte
	binary.BigEndian.PutUint16(port[:], to.Port())
	a := to.Addr().Unmap()
	if a.Is4() != c.cfg.Group.Addr().Is4() {
		return 0, unix.EAFNOSUPPORT
	}
	if a.Is4() {
		s := (*unix.RawSockaddrInet4)(unsafe.Pointer(&w.to))
		*s = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: binary.NativeEndian.Uint16(port[:]), Addr: a.As4()}
		return unix.SizeofSockaddrInet4, nil
	}
	w.to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: binary.NativeEndian.Uint16(port[:]), Addr: a.As16()}
	if a.IsLinkLocalUnicast() || a.IsMulticast() {
		w.to.Scope_id = uint32(c.ifi.Index)
	}
	return unix.SizeofSockaddrInet6, nil
}
