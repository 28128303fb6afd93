package doctor

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/internal/wire"
)

// Port is the UDP port of the peer of a proof.
const Port = 4329

// probePort is the port of its probes: another one, because groups are joined on
// ports that may be shared, and questions are not.
const probePort = Port + 1

// The messages between the two machines of a proof. All begin alike:
//
//	0      4     5      6        22       38      54     56       58       60
//	┌──────┬─────┬──────┬────────┬────────┬───────┬──────┬────────┬────────┬───────┐
//	│"aIGd"│kind │step  │nonce   │cookie  │group  │port  │count   │apart ms│padding│
//	└──────┴─────┴──────┴────────┴────────┴───────┴──────┴────────┴────────┴───────┘
//
// The nonce is the asking machine's, and marks all that belongs to its proof. The
// cookie is the answering machine's: it is given in answer to a hello and wanted
// with every request after that, so that nobody can have it send to a group in
// another's name. An IPv4 group is in the IPv4-mapped form.
type control struct {
	Kind   kind
	Step   Step
	Nonce  [16]byte
	Cookie [16]byte
	Group  netip.Addr
	Port   uint16 // where the probes go
	Count  uint16
	Apart  uint16 // milliseconds between probes
}

type kind uint8

const (
	hello   kind = iota + 1 // who is there?
	welcome                 // here is your cookie
	join                    // join the group
	joined                  // done
	send                    // send Count probes for Step to the group
	sent                    // Count were sent
	bye                     // leave the group
	refused                 // no: busy, or the group is none for tests
)

const (
	controlMagic = "aIGd"
	// controlLen is the length of all control messages: an answer is no longer than
	// what asks for it.
	controlLen = 64
	probeMagic = "aIGp"
	probeLen   = 4 + 16 + 1 + 2
)

var errNotControl = errors.New("doctor: no message of a proof")

// append appends m to b.
func (m control) append(b []byte) []byte {
	start := len(b)
	b = append(append(b, controlMagic...), byte(m.Kind), byte(m.Step))
	b = append(append(b, m.Nonce[:]...), m.Cookie[:]...)
	var g [16]byte
	if m.Group.IsValid() {
		g = m.Group.As16()
	}
	b = append(b, g[:]...)
	for _, v := range []uint16{m.Port, m.Count, m.Apart} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return append(b, make([]byte, controlLen-(len(b)-start))...)
}

func parseControl(b []byte) (m control, err error) {
	r := wire.NewReader(b)
	if string(r.Bytes(len(controlMagic))) != controlMagic || len(b) != controlLen {
		return m, errNotControl
	}
	m.Kind, m.Step = kind(r.Uint8()), Step(r.Uint8())
	copy(m.Nonce[:], r.Bytes(16))
	copy(m.Cookie[:], r.Bytes(16))
	g := netip.AddrFrom16([16]byte(r.Bytes(16))).Unmap()
	if !g.IsUnspecified() {
		m.Group = g
	}
	m.Port, m.Count, m.Apart = r.Uint16(), r.Uint16(), r.Uint16()
	if err := r.Err(); err != nil {
		return m, fmt.Errorf("doctor: message of a proof: %w", err)
	}
	return m, nil
}

// probe is one datagram to the group.
type probe struct {
	Nonce [16]byte
	Step  Step
	Seq   uint16
}

func (p probe) append(b []byte) []byte {
	b = append(append(append(b, probeMagic...), p.Nonce[:]...), byte(p.Step))
	return binary.BigEndian.AppendUint16(b, p.Seq)
}

func parseProbe(b []byte) (p probe, ok bool) {
	if len(b) < probeLen || string(b[:4]) != probeMagic {
		return p, false
	}
	copy(p.Nonce[:], b[4:])
	p.Step, p.Seq = Step(b[20]), binary.BigEndian.Uint16(b[21:])
	return p, true
}

// probeIn returns the probe that an Ethernet frame to group and port carries.
func probeIn(frame []byte, group netip.Addr, port uint16) (p probe, ok bool) {
	at := 14
	switch {
	case len(frame) >= at+20 && frame[at]>>4 == 4 && group.Is4():
		if frame[at+9] != 17 || netip.AddrFrom4([4]byte(frame[at+16:])) != group {
			return p, false
		}
		at += 4 * int(frame[at]&15)
	case len(frame) >= at+40 && frame[at]>>4 == 6 && group.Is6():
		if frame[at+6] != 17 || netip.AddrFrom16([16]byte(frame[at+24:])) != group {
			return p, false
		}
		at += 40
	default:
		return p, false
	}
	if len(frame) < at+8 || binary.BigEndian.Uint16(frame[at+2:]) != port {
		return p, false
	}
	return parseProbe(frame[at+8:])
}

// cookie is what a machine with secret gives to the one at from that sent nonce.
func cookie(secret [32]byte, from netip.AddrPort, nonce [16]byte) (c [16]byte) {
	h := hmac.New(sha256.New, secret[:])
	b, _ := from.MarshalBinary() // it never fails
	h.Write(b)
	h.Write(nonce[:])
	copy(c[:], h.Sum(nil))
	return c
}

// forTests reports whether group is one that a proof may use: of a scope that stays
// here, transient in IPv6, and not one that is flooded anyway.
func forTests(group netip.Addr) bool {
	if group.Is4() {
		b := group.As4()
		return b[0] == 239 && b[1] == 255 && b[2] != 0
	}
	b := group.As16()
	return group.Is6() && b[0] == 0xff && b[1] == 0x15
}
