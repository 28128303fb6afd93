package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

const (
	// maxFrame is the largest frame read from a capture, which is what tcpdump
	// writes at most.
	maxFrame = 1 << 18
	// maxBlock is the largest pcapng block: a frame and its options.
	maxBlock = 1 << 20
	// magicSection begins a pcapng file in either byte order.
	magicSection = 0x0a0d0d0a
)

// ErrCapture reports that a file is no capture, or is damaged.
var ErrCapture = errors.New("not a capture file")

// Capture reads multicast DNS from a pcap or pcapng file.
type Capture struct {
	read func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)
	// Frames counts all frames, Truncated those that the file does not hold whole.
	Frames, Truncated int
}

// OpenCapture reads the header of r. It fails with [ErrCapture] when r is neither
// pcap nor pcapng.
func OpenCapture(r io.Reader) (c *Capture, err error) {
	defer recovered(&err)
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("doctor: capture: %w: %w", ErrCapture, err)
	}
	if binary.BigEndian.Uint32(magic) == magicSection {
		return openNg(b)
	}
	p, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("doctor: capture: %w: %w", ErrCapture, err)
	}
	p.SetSnaplen(maxFrame) // the file's own may be 4 GB, and is allocated
	return &Capture{read: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		frame, ci, err := p.ReadPacketData()
		return frame, ci, p.LinkType(), err
	}}, nil
}

func openNg(b *bufio.Reader) (*Capture, error) {
	p, err := pcapgo.NewNgReader(&blocks{r: b}, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, fmt.Errorf("doctor: capture: %w: %w", ErrCapture, err)
	}
	return &Capture{read: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		frame, ci, err := p.ReadPacketData()
		if err != nil {
			return nil, ci, 0, err
		}
		link, _ := ci.AncillaryData[0].(layers.LinkType)
		return frame, ci, link, nil
	}}, nil
}

// ReadPacket returns the next multicast DNS datagram and when it was captured.
// Other frames are passed over. It ends with io.EOF, or with [ErrCapture] where
// the file is damaged.
func (c *Capture) ReadPacket() (at time.Time, p Packet, err error) {
	defer recovered(&err)
	for {
		frame, ci, link, err := c.read()
		if errors.Is(err, io.EOF) {
			return at, p, io.EOF
		}
		if err != nil {
			return at, p, fmt.Errorf("doctor: capture: frame %d: %w: %w", c.Frames+1, ErrCapture, err)
		}
		c.Frames++
		p, ok := datagram(frame, link)
		switch {
		case !ok:
		case ci.CaptureLength < ci.Length:
			c.Truncated++
		default:
			return ci.Timestamp, p, nil
		}
	}
}

// recovered turns a panic of the decoders, which read what anybody wrote, into an
// error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("doctor: capture: %w: %v", ErrCapture, r)
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

// blocks passes the blocks of a pcapng file on, each only when it is whole and its
// lengths agree: the reader behind it allocates by them. Simple packet blocks are
// left out; they do not say when.
type blocks struct {
	r     io.Reader
	order binary.ByteOrder
	rest  bytes.Reader
}

// Block types of pcapng.
const (
	blockPacket   = 2
	blockSimple   = 3
	blockEnhanced = 6
)

// Read implements io.Reader.
func (b *blocks) Read(out []byte) (int, error) {
	for b.rest.Len() == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	return b.rest.Read(out)
}

func (b *blocks) next() error {
	head := make([]byte, 12)
	if _, err := io.ReadFull(b.r, head); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head) == magicSection {
		b.order = binary.ByteOrder(binary.BigEndian)
		if head[8] == 0x4d { // 1A2B3C4D in little endian
			b.order = binary.LittleEndian
		}
	}
	if b.order == nil {
		return fmt.Errorf("no section header: %w", ErrCapture)
	}
	typ, length := b.order.Uint32(head), b.order.Uint32(head[4:])
	if length < 12 || length > maxBlock || length%4 != 0 {
		return fmt.Errorf("block of %d bytes: %w", length, ErrCapture)
	}
	block := make([]byte, length)
	copy(block, head)
	if _, err := io.ReadFull(b.r, block[len(head):]); err != nil {
		return fmt.Errorf("block of %d bytes: %w", length, err)
	}
	switch typ {
	case blockSimple:
		return nil
	case blockPacket, blockEnhanced:
		// The captured length is behind the type, the length, the interface and the time.
		if length < 32 || b.order.Uint32(block[20:]) > length-32 {
			return fmt.Errorf("packet longer than its block: %w", ErrCapture)
		}
	}
	b.rest.Reset(block)
	return nil
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
