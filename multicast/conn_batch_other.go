//go:build !linux

package multicast

import (
	"net"
	"net/netip"
)

// batchReader reads one datagram at a time.
type batchReader struct{ b []byte }

func (r *batchReader) read(c *Conn, ds []Datagram) (int, error) {
	if r.b == nil {
		r.b = make([]byte, maxDatagram)
	}
	n, d, err := c.sockets.read[0].read(r.b)
	if err != nil {
		return 0, err
	}
	return c.deliver(ds, 0, d, r.b[:n]), nil
}

// batchWriter writes one datagram at a time.
type batchWriter struct{}

func (*batchWriter) write(c *Conn, bs [][]byte, to netip.AddrPort) (n int, err error) {
	for ; n < len(bs) && err == nil; n++ {
		if err = c.sockets.read[0].write(bs[n], to, c.ifi); err != nil {
			return n, err
		}
	}
	return n, nil
}

func noTimestamps(net.PacketConn) {}
