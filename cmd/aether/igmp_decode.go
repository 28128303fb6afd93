package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/igmp"
)

func igmpDecodeCommand() *cli.Command {
	return &cli.Command{
		Name:      "decode",
		Usage:     "show each field of IGMP and MLD messages, and what is wrong with them",
		ArgsUsage: "FILE|HEX...",
		Description: "FILE is a capture, pcap or pcapng (-: standard input); frames without IGMP or MLD are passed over. HEX is\n" +
			"an Ethernet frame, an IP packet or a bare IGMP message; spaces, colons and 0x do not matter.\n" +
			"Exit status: 0 when all messages are well-formed, 1 when one is not, when there is none, or when FILE cannot\n" +
			"be read." +
			examples("aether igmp decode lan.pcapng --brief", "aether igmp decode 16 00 f8 fa ef 01 02 03", "tcpdump -w - igmp | aether igmp decode -"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "as", Usage: "read HEX as `WHAT`: frame, packet, igmp or mld (default: what it looks like)"},
			&cli.BoolFlag{Name: "brief", Usage: "one line a message, without its fields"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			d := &decoding{out: out, brief: c.Bool("brief"), as: c.String("as")}
			if d.as != "" && layerNames[d.as] == 0 {
				return usage("--as takes frame, packet, igmp or mld, not %q", d.as)
			}
			if err := d.arguments(c); err != nil {
				return err
			}
			if d.wrong > 0 {
				return failed()
			}
			return nil
		},
	}
}

// decodeLayer is what bytes begin with.
type decodeLayer int

const (
	frameLayer decodeLayer = iota + 1
	packetLayer
	messageLayer
	mldLayer
)

var layerNames = map[string]decodeLayer{"frame": frameLayer, "packet": packetLayer, "igmp": messageLayer, "mld": mldLayer}

// decoding prints messages and counts those with mistakes.
type decoding struct {
	out   *printer
	brief bool
	as    string
	wrong int
}

// arguments decodes a capture, or all arguments together as hexadecimal digits.
func (d *decoding) arguments(c *cli.Context) error {
	first := c.Args().First()
	if c.NArg() == 1 {
		f, err := openInput(c.App, first)
		if err == nil {
			defer f.Close()
			return d.capture(f)
		}
		if _, hexErr := parseHex(first); hexErr != nil {
			if errors.Is(err, os.ErrNotExist) {
				return &statusError{statusFailed, fmt.Errorf("%q is neither a file nor hexadecimal: %w", first, hexErr)}
			}
			return err
		}
	}
	b, err := parseHex(strings.Join(c.Args().Slice(), ""))
	if err != nil {
		return usage("not hexadecimal: %w", err)
	}
	at := layerNames[d.as]
	if at == 0 {
		at = looksLike(b)
	}
	return d.message(at, b, time.Time{}, 0, 0)
}

// parseHex reads hexadecimal digits between what people put between them.
func parseHex(s string) ([]byte, error) {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "0x", ""), "0X", "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune(":-.,|", r) {
			return -1
		}
		return r
	}, s)
	b, err := hex.DecodeString(s)
	if err == nil && len(b) == 0 {
		err = errors.New("no digits")
	}
	return b, err
}

// looksLike guesses what b begins with: no message of IGMP begins like an IP
// header, and no header of a frame for a group does.
func looksLike(b []byte) decodeLayer {
	at := 12
	for len(b) >= at+6 && (binary.BigEndian.Uint16(b[at:]) == 0x8100 || binary.BigEndian.Uint16(b[at:]) == 0x88a8) {
		at += 4
	}
	if len(b) >= at+2 {
		if typ := binary.BigEndian.Uint16(b[at:]); typ == 0x0800 || typ == 0x86dd {
			return frameLayer
		}
	}
	switch {
	case b[0]>>4 == 4 || b[0]>>4 == 6:
		return packetLayer
	case b[0] >= 130 && b[0] <= 132 || b[0] == 143 || b[0] >= 151 && b[0] <= 153:
		return mldLayer
	}
	return messageLayer
}

func (d *decoding) capture(r io.Reader) error {
	c, err := igmp.OpenCapture(r)
	if err != nil {
		return &statusError{statusFailed, err}
	}
	found, n := 0, 0
	for {
		f, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &statusError{statusFailed, err}
		}
		n++
		if _, _, err := igmp.ParseFrame(f.Frame); errors.Is(err, igmp.ErrNotGroupProtocol) || unrelated(f.Frame, err) {
			continue
		}
		found++
		if err := d.message(frameLayer, f.Frame, f.At, n, f.Head); err != nil {
			return err
		}
	}
	if found == 0 {
		return &statusError{statusFailed, fmt.Errorf("no IGMP or MLD in %d frames", n)}
	}
	return nil
}

// unrelated reports whether a frame that could not be parsed is not even one with
// IGMP or MLD: too short to tell.
func unrelated(frame []byte, err error) bool { return err != nil && len(frame) < 14+20 }

// message prints one message that begins at a layer of b.
func (d *decoding) message(at decodeLayer, b []byte, captured time.Time, number, head int) error {
	var fields []igmp.Field
	var p igmp.Packet
	var src igmp.HardwareAddr
	var err error
	switch at {
	case frameLayer:
		fields = igmp.DissectFrame(b)
		src, p, err = igmp.ParseFrame(b)
	case packetLayer:
		fields = igmp.DissectPacket(b)
		p, err = igmp.ParsePacket(b)
	case messageLayer:
		fields = igmp.DissectMessage(b)
		p.Message, err = igmp.ParseMessage(b)
	case mldLayer:
		// Without addresses there is no pseudo-header, so the checksum stays unjudged.
		fields = igmp.DissectMLD(b, netip.Addr{}, netip.Addr{})
	}
	wrong := err != nil
	for _, f := range fields {
		wrong = wrong || f.Wrong != ""
	}
	if wrong {
		d.wrong++
	}
	if d.out.json {
		return d.json(decodedMessage{captured, number, src, p, err, fields})
	}
	if err := d.out.line(strings.TrimSpace(decodeSummary(captured, at, p, err))); err != nil || d.brief {
		return err
	}
	for _, f := range fields {
		if f.Offset+f.Length <= head && head > 0 {
			continue
		}
		if err := d.out.line(fieldText(f, b, head)); err != nil {
			return err
		}
	}
	return nil
}

// decodedMessage is a message and what became of it.
type decodedMessage struct {
	captured time.Time
	number   int
	src      igmp.HardwareAddr
	p        igmp.Packet
	err      error
	fields   []igmp.Field
}

func decodeSummary(captured time.Time, at decodeLayer, p igmp.Packet, err error) string {
	text := ""
	if !captured.IsZero() {
		text = captured.Format("15:04:05.000000") + " "
	}
	switch {
	case err != nil:
		return text + "malformed: " + strings.TrimPrefix(err.Error(), "igmp: ")
	case at == mldLayer:
		return text + "MLD message (its checksum cannot be judged without the addresses)"
	case at == messageLayer:
		return text + fmt.Sprint(p.Message)
	}
	return text + p.String()
}

// fieldText is one line: offset, bytes, name, value.
func fieldText(f igmp.Field, b []byte, head int) string {
	raw := hex.EncodeToString(b[f.Offset : f.Offset+f.Length])
	if len(raw) > 32 {
		raw = raw[:30] + ".."
	}
	text := fmt.Sprintf("  %4d  %-32s  %s%s: %s", f.Offset-head, raw, strings.Repeat("  ", f.Depth), f.Name, f.Value)
	if f.Wrong != "" {
		text += "  <- " + f.Wrong
	}
	return text
}

func (d *decoding) json(m decodedMessage) error {
	type field struct {
		Offset int    `json:"offset"`
		Length int    `json:"length"`
		Name   string `json:"name"`
		Value  string `json:"value"`
		Wrong  string `json:"wrong,omitempty"`
	}
	fields := make([]field, 0, len(m.fields))
	for _, f := range m.fields {
		fields = append(fields, field{f.Offset, f.Length, f.Name, f.Value, f.Wrong})
	}
	kind, version, text, offset, group := "", igmp.Version(0), "", -1, netip.Addr{}
	switch x := m.p.Message.(type) {
	case *igmp.Query:
		kind, version, group = x.Kind(), x.Version, x.Group
	case *igmp.Report:
		kind, version, group = x.Kind(), x.Version, x.Group
	case *igmp.Leave:
		kind, version, group = x.Kind(), igmp.V2, x.Group
	case *igmp.Unknown:
		kind = x.Kind()
	}
	if m.err != nil {
		text = m.err.Error()
		if e, ok := errors.AsType[*igmp.ParseError](m.err); ok {
			offset, text = e.Offset, e.Reason
		}
	}
	kv := []any{
		"kind", kind, "version", version, "group", addressText(group), "groups", addressTexts(m.p.Groups()),
		"src", addressText(m.p.Src), "dst", addressText(m.p.Dst), "hardware_addr", igmpHardware(m.src),
		"ttl", m.p.TTL, "router_alert", m.p.RouterAlert,
		"frame", m.number, "captured", stamp(m.captured), "error", text, "error_offset", offset,
	}
	if !d.brief {
		kv = append(kv, "fields", fields)
	}
	return d.out.event("message", "", kv...)
}
