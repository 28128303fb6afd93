package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/aether-lan/aether/internal/capture"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

// ErrCapture reports that a file is no capture, or is damaged.
var ErrCapture = capture.ErrFormat

// Capture reads multicast DNS from a pcap or pcapng file.
type Capture struct {
	file *capture.Reader
	// Frames counts all frames, Truncated those that the file does not hold whole.
	Frames, Truncated int
}

// OpenCapture reads the header of r. It fails with [ErrCapture] when r is neither
// pcap nor pcapng.
func OpenCapture(r io.Reader) (*Capture, error) {
	file, err := capture.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("doctor: capture: %w", err)
	}
	return &Capture{file: file}, nil
}

// ReadPacket returns the next multicast DNS datagram and when it was captured.
// Other frames are passed over. It ends with io.EOF, or with [ErrCapture] where
// the file is damaged.
func (c *Capture) ReadPacket() (at time.Time, p Packet, err error) {
	defer capture.Recover(&err) // of the layers' decoders
	for {
		f, err := c.file.Next()
		if errors.Is(err, io.EOF) {
			return at, p, io.EOF
		}
		if err != nil {
			return at, p, fmt.Errorf("doctor: capture: %w", err)
		}
		c.Frames++
		p, ok := datagram(f.Bytes, f.Link)
		switch {
		case !ok:
		case f.Truncated:
			c.Truncated++
		default:
			return f.At, p, nil
		}
	}
}

// datagram returns the UDP datagram in frame when it is of multicast DNS.
func datagram(frame []byte, link layers.LinkType) (p Packet, ok bool) {
	pk := gopacket.NewPacket(frame, link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	udp, ok := pk.TransportLayer().(*layers.UDP)
	if !ok || udp.SrcPort != mdns.Port && udp.DstPort != mdns.Port {
		return p, false
	}
	var from, to netip.Addr
	switch ip := pk.NetworkLayer().(type) {
	case *layers.IPv4:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		to, _ = netip.AddrFromSlice(ip.DstIP)
		p.HopLimit = int(ip.TTL)
	case *layers.IPv6:
		from, _ = netip.AddrFromSlice(ip.SrcIP)
		to, _ = netip.AddrFromSlice(ip.DstIP)
		p.HopLimit = int(ip.HopLimit)
	}
	if !from.IsValid() || !to.IsValid() {
		return p, false
	}
	if eth, ok := pk.LinkLayer().(*layers.Ethernet); ok {
		p.HardwareAddr = multicast.HardwareAddr(eth.SrcMAC)
	}
	p.From = netip.AddrPortFrom(from, uint16(udp.SrcPort))
	p.To = netip.AddrPortFrom(to, uint16(udp.DstPort))
	p.Payload = udp.Payload
	return p, true
}

// Replay lets d hear all of c on the capture's own clock, and a last while in which
// nothing comes. It returns the error that ended the reading, nil at the end of the file.
func Replay(ctx context.Context, d *Doctor, c *Capture) error {
	var now time.Time
	for ctx.Err() == nil {
		at, p, err := c.ReadPacket()
		if err != nil {
			d.advance(now.Add(textWait))
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if at.After(now) {
			d.advance(at)
			now = at
		}
		d.HandlePacket(now, p)
	}
	return ctx.Err()
}

// advance handles the timeouts until now. A long silence is one step.
func (d *Doctor) advance(now time.Time) {
	if t, ok := d.NextTimeout(); ok && !t.After(now) {
		d.HandleTimeout(now)
	}
}
