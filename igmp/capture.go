package igmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/aether-lan/aether/internal/capture"
)

// ErrCapture reports that a file is no capture, or is damaged.
var ErrCapture = capture.ErrFormat

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
type CaptureReader struct{ frames *capture.Reader }

// OpenCapture reads the header of r. It fails with [ErrCapture] when r is neither
// pcap nor pcapng.
func OpenCapture(r io.Reader) (*CaptureReader, error) {
	frames, err := capture.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("igmp: capture: %w", err)
	}
	return &CaptureReader{frames}, nil
}

// Next returns the next frame of a link that can carry IP. It ends with io.EOF, or
// with [ErrCapture] where the file is damaged.
func (c *CaptureReader) Next() (Captured, error) {
	for {
		f, err := c.frames.Next()
		if errors.Is(err, io.EOF) {
			return Captured{}, io.EOF
		}
		if err != nil {
			return Captured{}, fmt.Errorf("igmp: capture: %w", err)
		}
		if frame, head, ok := asEthernet(f.Bytes, f.Link); ok {
			return Captured{At: f.At, Frame: frame, Head: head, Truncated: f.Truncated}, nil
		}
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
