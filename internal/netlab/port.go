package netlab

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// wire is the switch's end of a cable. Read and Write carry whole Ethernet
// frames without their checksum, one a call; Close wakes a waiting Read.
type wire interface {
	io.ReadWriteCloser
}

// Counters counts frames. All numbers grow only.
type Counters struct {
	FromHost    uint64 // sent by the host, before any fault
	ToHost      uint64 // delivered to the host
	Lost        uint64 // vanished by Faults.Loss, both directions
	Duplicated  uint64 // doubled by Faults.Duplicate
	Reordered   uint64 // held back by Faults.Reorder
	Partitioned uint64 // kept from the host by a partition
	Overflowed  uint64 // dropped because too many frames were delayed
	Failed      uint64 // refused by the kernel, for instance while the port is down
	Oversized   uint64 // longer than an Ethernet frame should be
}

func (c *Counters) add(d Counters) {
	c.FromHost += d.FromHost
	c.ToHost += d.ToHost
	c.Lost += d.Lost
	c.Duplicated += d.Duplicated
	c.Reordered += d.Reordered
	c.Partitioned += d.Partitioned
	c.Overflowed += d.Overflowed
	c.Failed += d.Failed
	c.Oversized += d.Oversized
}

// Port is the place where a host's interface is plugged into a switch.
type Port struct {
	sw     *Switch
	host   *Host
	number int
	end    string // name of the switch's end of the cable
	mac    net.HardwareAddr
	wire   wire

	fromHost, toHost *dice
	paces            [2]pace      // from the host, to the host
	group            atomic.Int32 // frames pass only between ports of one group
	count            portCounters
	done             chan struct{} // the reader has ended
}

type portCounters struct {
	fromHost, toHost, lost, duplicated, reordered atomic.Uint64
	partitioned, overflowed, failed, oversized    atomic.Uint64
}

// Number returns the port's number in its switch, from 1.
func (p *Port) Number() int { return p.number }

// Host returns the host on the cable.
func (p *Port) Host() *Host { return p.host }

// HardwareAddr returns the MAC address of the host's interface.
func (p *Port) HardwareAddr() net.HardwareAddr { return p.mac }

// SetFaults makes the cable bad in both directions.
func (p *Port) SetFaults(f Faults) {
	p.SetFaultsFromHost(f)
	p.SetFaultsToHost(f)
}

// SetFaultsFromHost makes the cable bad for what the host sends.
func (p *Port) SetFaultsFromHost(f Faults) { p.fromHost.set(f) }

// SetFaultsToHost makes the cable bad for what the host receives.
func (p *Port) SetFaultsToHost(f Faults) { p.toHost.set(f) }

// SetDown pulls the cable, so that the host's interface loses its carrier, or
// plugs it in again. The host may notice a little later.
func (p *Port) SetDown(down bool) {
	p.host.lab.t.Helper()
	if err := p.sw.lab.ns.do(func() error { return setLink(p.end, !down) }); err != nil {
		p.host.lab.fail("port %d: %w", p.number, err)
	}
}

// Detach takes the interface out of the host: it ceases to exist. Further calls
// of the port's methods do nothing useful.
func (p *Port) Detach() {
	p.host.lab.t.Helper()
	p.sw.unplug(p)
	if err := p.sw.lab.ns.do(func() error { return removeLink(p.end) }); err != nil {
		p.host.lab.fail("port %d: %w", p.number, err)
	}
}

// Send delivers a frame to the host as if it came out of the switch, subject to
// the cable's faults. It is how a [Forwarder] speaks for itself.
func (p *Port) Send(b []byte) { p.deliver(b, false) }

// Counters returns what has passed the port.
func (p *Port) Counters() Counters {
	return Counters{
		FromHost:    p.count.fromHost.Load(),
		ToHost:      p.count.toHost.Load(),
		Lost:        p.count.lost.Load(),
		Duplicated:  p.count.duplicated.Load(),
		Reordered:   p.count.reordered.Load(),
		Partitioned: p.count.partitioned.Load(),
		Overflowed:  p.count.overflowed.Load(),
		Failed:      p.count.failed.Load(),
		Oversized:   p.count.oversized.Load(),
	}
}

// read takes what the host sends until the wire is closed.
func (p *Port) read() {
	defer close(p.done)
	var buf [frameSize]byte
	for {
		n, err := p.wire.Read(buf[:])
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			p.count.failed.Add(1) // the interface went down; it may come back
		case n == frameSize:
			p.count.oversized.Add(1)
		case n >= headerSize:
			p.count.fromHost.Add(1)
			p.sw.observe(p, buf[:n])
			p.deliver(buf[:n], true)
		}
	}
}

// deliver carries a frame along the cable, into the switch or to the host.
func (p *Port) deliver(b []byte, entering bool) {
	d, pace := p.toHost, &p.paces[1]
	if entering {
		d, pace = p.fromHost, &p.paces[0]
	}
	now := time.Now()
	behind, ok := pace.pass(now, len(b))
	if !ok {
		p.count.overflowed.Add(1)
		return
	}
	v := d.roll()
	p.tally(v)
	for i := range v.copies {
		v.delay[i] += behind
		if v.delay[i] == 0 {
			p.arrive(b, entering)
			continue
		}
		if !p.sw.delayed.add(p, b, entering, now.Add(v.delay[i])) {
			p.count.overflowed.Add(1)
		}
	}
}

func (p *Port) tally(v verdict) {
	switch v.copies {
	case 0:
		p.count.lost.Add(1)
	case 2:
		p.count.duplicated.Add(1)
	}
	if v.reordered {
		p.count.reordered.Add(1)
	}
}

// arrive ends a frame's way along the cable.
func (p *Port) arrive(b []byte, entering bool) {
	if entering {
		p.sw.forward(p, b)
		return
	}
	if _, err := p.wire.Write(b); err != nil {
		p.count.failed.Add(1)
		return
	}
	p.count.toHost.Add(1)
}
