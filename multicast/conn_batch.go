package multicast

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// maxBatch is the most datagrams that one system call reads or writes.
const maxBatch = 64

// batches are the buffers of ReadBatch and WriteBatch, made when first needed.
type batches struct {
	readMu  sync.Mutex
	in      batchReader
	writeMu sync.Mutex
	out     batchWriter
}

// ReadBatch waits for a datagram and returns how many it wrote to the front of ds:
// all that wait already, at most len(ds) and no more than 64. On Linux that is one
// system call and no goroutine, so that datagrams wait in the kernel (see
// Config.ReadBuffer) and not in the queue; a Conn that hears unicast datagrams by a
// socket of their own (see [Conn.Unicast]), or that ReadPacket was called on, reads
// the queue, and other systems read one by one.
//
// The Payload of an element is written into the memory of the Payload that was
// there when its capacity suffices: who keeps one beyond the next call takes it out
// of ds. After [Conn.Close] the error wraps [net.ErrClosed].
func (c *Conn) ReadBatch(ds []Datagram) (n int, err error) {
	if len(ds) == 0 {
		return 0, nil
	}
	if c.queued() {
		return c.readQueue(ds)
	}
	c.batch.readMu.Lock()
	defer c.batch.readMu.Unlock()
	for {
		n, err := c.batch.in.read(c, ds[:min(len(ds), maxBatch)])
		if err != nil {
			if isTransient(err) {
				continue
			}
			c.shut()
			return 0, errClosedRead
		}
		if n > 0 {
			return n, nil
		}
	}
}

// queued reports whether the queue must be read, because somebody reads it already
// or several sockets fill it.
func (c *Conn) queued() bool {
	if len(c.sockets.read) > 1 {
		c.start()
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

func (c *Conn) readQueue(ds []Datagram) (int, error) {
	d, err := c.ReadPacket()
	if err != nil {
		return 0, err
	}
	ds[0] = d
	for n := 1; n < len(ds); n++ {
		select {
		case ds[n] = <-c.in:
		default:
			return n, nil
		}
	}
	return len(ds), nil
}

// deliver puts a datagram that was read into ds[n], if it is wanted, and returns
// the next n. b is copied.
func (c *Conn) deliver(ds []Datagram, n int, d Datagram, b []byte) int {
	if !c.wanted(&d) {
		c.counts.foreign.Add(1)
		return n
	}
	d.Payload = append(ds[n].Payload[:0], b...)
	ds[n] = d
	return n + 1
}

// WriteBatch sends each of bs to one address, or to the group when to is the zero
// value, and returns how many were sent before the error. On Linux up to 64 leave
// by one system call. When the interface's queue is full it waits as SendTo does.
func (c *Conn) WriteBatch(bs [][]byte, to netip.AddrPort) (n int, err error) {
	if !to.IsValid() {
		to = c.cfg.Group
	}
	c.batch.writeMu.Lock()
	defer c.batch.writeMu.Unlock()
	for n < len(bs) && err == nil {
		err = c.patiently(func() error {
			sent, err := c.batch.out.write(c, bs[n:min(len(bs), n+maxBatch)], to)
			n += sent
			return err
		})
	}
	if err != nil {
		return n, fmt.Errorf("multicast: send to %v on %s: %w", to, c.cfg.Interface, err)
	}
	return n, nil
}

// rawConn is a socket below package net.
func rawConn(s socket) *net.UDPConn {
	u, _ := s.conn().(*net.UDPConn)
	return u
}
