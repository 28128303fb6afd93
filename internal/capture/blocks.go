package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// blocks passes the blocks of a pcapng file on, each only when it is whole and its
// lengths agree: the reader behind it allocates by them. Simple packet blocks are
// left out, since they do not say when.
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
	var head [12]byte
	if _, err := io.ReadFull(b.r, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:]) == section {
		if b.order = binary.BigEndian; head[8] == 0x4d { // 1A2B3C4D in little endian
			b.order = binary.LittleEndian
		}
	}
	if b.order == nil {
		return fmt.Errorf("no section header: %w", ErrFormat)
	}
	length := b.order.Uint32(head[4:])
	if length < 12 || length > maxBlock || length%4 != 0 {
		return fmt.Errorf("block of %d bytes: %w", length, ErrFormat)
	}
	block := make([]byte, length)
	copy(block, head[:])
	if _, err := io.ReadFull(b.r, block[len(head):]); err != nil {
		return fmt.Errorf("block of %d bytes: %w", length, err)
	}
	switch b.order.Uint32(head[:]) {
	case blockSimple:
		return nil
	case blockPacket, blockEnhanced:
		// The captured length is behind the type, the length, the interface and the time.
		if length < 32 || b.order.Uint32(block[20:]) > length-32 {
			return fmt.Errorf("packet longer than its block: %w", ErrFormat)
		}
	}
	b.rest.Reset(block)
	return nil
}
