package igmp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const (
	// maxCaptured is the largest frame read from a capture, which is what tcpdump
	// writes at most.
	maxCaptured = 1 << 18
	// maxCaptureBlock is the largest pcapng block: a frame and its options.
	maxCaptureBlock = 1 << 20
	// captureSection begins a pcapng file in either byte order.
	captureSection = 0x0a0d0d0a
)

// ErrCapture reports that a file is no capture, or is damaged.
var ErrCapture = errors.New("not a capture file")

// Captured is one frame of a capture file.
type Captured struct {
	At time.Time
	// Frame is an Ethernet frame. One that was captured without its Ethernet header
	// has a made-up one, whose source is zero where the capture does not tell.
	Frame []byte
	// Head is the number of bytes at the front of Frame that are made up.
	Head int
	// Truncated says that the file does not hold the whole frame.
	Truncated bool
}

// CaptureReader reads a pcap or pcapng file.
type CaptureReader struct {
	next   func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)
	frames int
}

// OpenCapture reads the header of r. It fails with [ErrCapture] when r is neither
// pcap nor pcapng.
func OpenCapture(r io.Reader) (c *CaptureReader, err error) {
	defer refuse(&err)
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("igmp: capture: %w: %w", ErrCapture, err)
	}
	if binary.BigEndian.Uint32(magic) == captureSection {
		ng, err := pcapgo.NewNgReader(&wholeBlocks{r: b}, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("igmp: capture: %w: %w", ErrCapture, err)
		}
		return &CaptureReader{next: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
			frame, ci, err := ng.ReadPacketData()
			if err != nil {
				return nil, ci, 0, err
			}
			link, _ := ci.AncillaryData[0].(layers.LinkType)
			return frame, ci, link, nil
		}}, nil
	}
	p, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("igmp: capture: %w: %w", ErrCapture, err)
	}
	p.SetSnaplen(maxCaptured) // the file's own may be 4 GB, and is allocated
	return &CaptureReader{next: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		frame, ci, err := p.ReadPacketData()
		return frame, ci, p.LinkType(), err
	}}, nil
}

// Next returns the next frame of a link that can carry IP. It ends with io.EOF, or
// with [ErrCapture] where the file is damaged.
func (c *CaptureReader) Next() (f Captured, err error) {
	defer refuse(&err)
	for {
		b, ci, link, err := c.next()
		if errors.Is(err, io.EOF) {
			return f, io.EOF
		}
		if err != nil {
			return f, fmt.Errorf("igmp: capture: frame %d: %w: %w", c.frames+1, ErrCapture, err)
		}
		c.frames++
		if frame, head, ok := asEthernet(b, link); ok {
			return Captured{At: ci.Timestamp, Frame: frame, Head: head, Truncated: ci.CaptureLength < ci.Length}, nil
		}
	}
}

// refuse turns a panic of a decoder, which reads what anybody wrote, into an error.
func refuse(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("igmp: capture: %w: %v", ErrCapture, r)
	}
}

// linkSLL2 is LINKTYPE_LINUX_SLL2, which tcpdump -i any writes: 276, of which
// gopacket keeps the low eight bits. No other link has those.
const linkSLL2 layers.LinkType = 276 & 0xff

// asEthernet makes an Ethernet frame of what was captured. head is the number of
// bytes that it has put in front.
func asEthernet(b []byte, link layers.LinkType) (frame []byte, head int, ok bool) {
	var src HardwareAddr
	switch link {
	case layers.LinkTypeEthernet:
		return b, 0, true
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6, 12, 14: // 12 and 14: what systems called raw
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		b = b[min(4, len(b)):]
	case layers.LinkTypeLinuxSLL:
		if len(b) < 16 {
			return nil, 0, false
		}
		copy(src[:], b[6:12])
		b = b[16:]
	case linkSLL2:
		if len(b) < 20 {
			return nil, 0, false
		}
		copy(src[:], b[12:18])
		b = b[20:]
	default:
		return nil, 0, false
	}
	return EthernetFrame(src, b), etherLen, len(b) > 0
}

// EthernetFrame puts an Ethernet header from src in front of an IP packet. The
// destination is that of the packet's group; zero when it goes to no group.
func EthernetFrame(src HardwareAddr, ip []byte) []byte {
	var dst HardwareAddr
	typ, to := uint16(etherIPv4), netip.Addr{}
	switch {
	case len(ip) >= ipv6Len && ip[0]>>4 == 6:
		typ, to = etherIPv6, addrAt(ip, 24, 16)
	case len(ip) >= ipv4Len && ip[0]>>4 == 4:
		to = addrAt(ip, 16, 4)
	}
	if to.IsMulticast() {
		dst = groupHardwareAddr(to)
	}
	frame := append(append(make([]byte, 0, etherLen+len(ip)), dst[:]...), src[:]...)
	return append(binary.BigEndian.AppendUint16(frame, typ), ip...)
}

// wholeBlocks passes the blocks of a pcapng file on, each only when it is whole and
// its lengths agree: the reader behind it allocates by them. Simple packet blocks
// are left out, since they do not say when.
type wholeBlocks struct {
	r     io.Reader
	order binary.ByteOrder
	rest  bytes.Reader
}

// Read implements io.Reader.
func (b *wholeBlocks) Read(out []byte) (int, error) {
	for b.rest.Len() == 0 {
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	return b.rest.Read(out)
}

func (b *wholeBlocks) next() error {
	var head [12]byte
	if _, err := io.ReadFull(b.r, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:]) == captureSection {
		if b.order = binary.BigEndian; head[8] == 0x4d { // 1A2B3C4D in little endian
			b.order = binary.LittleEndian
		}
	}
	if b.order == nil {
		return fmt.Errorf("no section header: %w", ErrCapture)
	}
	length := b.order.Uint32(head[4:])
	if length < 12 || length > maxCaptureBlock || length%4 != 0 {
		return fmt.Errorf("block of %d bytes: %w", length, ErrCapture)
	}
	block := make([]byte, length)
	copy(block, head[:])
	if _, err := io.ReadFull(b.r, block[len(head):]); err != nil {
		return fmt.Errorf("block of %d bytes: %w", length, err)
	}
	switch b.order.Uint32(head[:]) {
	case 3: // simple packet
		return nil
	case 2, 6: // packet, enhanced packet: the length captured is behind 20 bytes
		if length < 32 || b.order.Uint32(block[20:]) > length-32 {
			return fmt.Errorf("packet longer than its block: %w", ErrCapture)
		}
	}
	b.rest.Reset(block)
	return nil
}
