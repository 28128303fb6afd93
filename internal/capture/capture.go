// Package capture reads pcap and pcapng files that anybody may have written: what
// gopacket's readers allocate by is checked before they see it, and a panic of
// theirs is an error.
package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

const (
	// maxFrame is the largest frame read, which is what tcpdump writes at most.
	maxFrame = 1 << 18
	// maxBlock is the largest pcapng block: a frame and its options.
	maxBlock = 1 << 20
	// section begins a pcapng file in either byte order.
	section = 0x0a0d0d0a
)

// ErrFormat reports that a file is no capture, or is damaged.
var ErrFormat = errors.New("not a capture file")

// Frame is one frame of a capture file, of the link that Link names.
type Frame struct {
	At    time.Time
	Bytes []byte
	Link  layers.LinkType
	// Truncated says that the file does not hold the whole frame.
	Truncated bool
}

// Reader reads the frames of a file in their order.
type Reader struct {
	read   func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)
	frames int
}

// NewReader reads the header of r. It fails with [ErrFormat] when r is neither pcap
// nor pcapng.
func NewReader(r io.Reader) (c *Reader, err error) {
	defer Recover(&err)
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if binary.BigEndian.Uint32(magic) == section {
		return newNgReader(b)
	}
	p, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	p.SetSnaplen(maxFrame) // the file's own may be 4 GB, and is allocated
	return &Reader{read: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		frame, ci, err := p.ReadPacketData()
		return frame, ci, p.LinkType(), err
	}}, nil
}

func newNgReader(b *bufio.Reader) (*Reader, error) {
	p, err := pcapgo.NewNgReader(&blocks{r: b}, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return &Reader{read: func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		frame, ci, err := p.ReadPacketData()
		if err != nil {
			return nil, ci, 0, err
		}
		link, _ := ci.AncillaryData[0].(layers.LinkType)
		return frame, ci, link, nil
	}}, nil
}

// Next returns the next frame. It ends with io.EOF, or with [ErrFormat] where the
// file is damaged.
func (c *Reader) Next() (f Frame, err error) {
	defer Recover(&err)
	b, ci, link, err := c.read()
	if errors.Is(err, io.EOF) {
		return f, io.EOF
	}
	if err != nil {
		return f, fmt.Errorf("frame %d: %w: %w", c.frames+1, ErrFormat, err)
	}
	c.frames++
	return Frame{At: ci.Timestamp, Bytes: b, Link: link, Truncated: ci.CaptureLength < ci.Length}, nil
}

// Recover turns a panic of a decoder into an [ErrFormat]; it is deferred.
func Recover(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrFormat, r)
	}
}
