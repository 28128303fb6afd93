package bulk

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/internal/wire"
)

// readers has the parser of each control message.
var readers = map[Kind]func(*wire.Reader) Message{
	KindOffer: readOffer, KindRegister: readRegister, KindWelcome: readWelcome, KindSolicit: readSolicit,
	KindPoll: readPoll, KindStatus: readStatus, KindTrain: readTrain, KindProbe: readProbe,
	KindTrainReport: readTrainReport, KindPull: readPull, KindFinished: readFinished, KindReleased: readReleased,
	KindClose: readClose,
}

// AppendMessage appends m: its kind, then its fields, all big endian. It is what
// an envelope carries.
func AppendMessage(b []byte, m Message) []byte { return m.append(append(b, byte(m.kind()))) }

// ParseMessage reads what [AppendMessage] wrote. The message keeps parts of b. It
// fails with [ErrGarbage] on an unknown kind, and with an error of what is short,
// long or out of its limits.
func ParseMessage(b []byte) (Message, error) {
	r := wire.NewReader(b)
	k := Kind(r.Uint8())
	read := readers[k]
	if read == nil {
		return nil, fmt.Errorf("bulk: parse: %w: %v", ErrGarbage, k)
	}
	m := read(r)
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("bulk: parse %v: %w", k, err)
	}
	return m, nil
}

// count reads how many elements of at least size bytes follow, at most limit.
func count(r *wire.Reader, limit, size int) int {
	n := int(r.Uint16())
	if n > limit || n*size > r.Len() {
		r.Fail(fmt.Errorf("%w: %d elements", ErrGarbage, n))
		return 0
	}
	return n
}

func appendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func readBool(r *wire.Reader) bool {
	v := r.Uint8()
	if v > 1 {
		r.Fail(fmt.Errorf("%w: truth value %d", ErrGarbage, v))
	}
	return v == 1
}

func appendHashes(b []byte, hs [][32]byte) []byte {
	b = append(b, byte(len(hs)))
	for i := range hs {
		b = append(b, hs[i][:]...)
	}
	return b
}

func readHashes(r *wire.Reader) (hs [][32]byte) {
	n := int(r.Uint8())
	if n > maxProof || 32*n > r.Len() {
		r.Fail(fmt.Errorf("%w: %d hashes", ErrGarbage, n))
		return nil
	}
	for range n {
		hs = append(hs, [32]byte(r.Bytes(32)))
	}
	return hs
}

// appendAddrPort appends 4 or 16 and as many bytes of the address, then the port.
// Zones are not sent: they mean something to their own machine only.
func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	raw := a.Addr().AsSlice()
	b = append(b, byte(len(raw)))
	b = append(b, raw...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

func readAddrPort(r *wire.Reader) netip.AddrPort {
	var a netip.Addr
	switch n := int(r.Uint8()); n {
	case 0:
	case 4, 16:
		a, _ = netip.AddrFromSlice(r.Bytes(n))
		if a.Is4In6() {
			r.Fail(fmt.Errorf("%w: IPv4 address in IPv6", ErrGarbage))
		}
	default:
		r.Fail(fmt.Errorf("%w: address of %d bytes", ErrGarbage, n))
	}
	return netip.AddrPortFrom(a, r.Uint16())
}
