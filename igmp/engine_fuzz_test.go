package igmp_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// tape turns fuzzed bytes into decisions. At its end all are 0.
type tape []byte

func (t *tape) byte() byte {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return b
}

func (t *tape) n(most int) int { return int(t.byte()) % most }

// group is one of few, so that packets meet, and not always a group.
func (t *tape) group(f igmp.Family) netip.Addr {
	if f == igmp.IPv6 {
		return [...]netip.Addr{addr("ff05::1"), addr("ff02::1"), addr("ff05::2"), addr("ff01::3"), addr("ff02::fb"), {}}[t.n(6)]
	}
	return [...]netip.Addr{addr("239.1.1.1"), addr("224.0.0.1"), addr("232.1.1.2"), addr("239.1.1.3"), addr("10.1.1.1"), {}}[t.n(6)]
}

func (t *tape) unicast(f igmp.Family) netip.Addr {
	n := t.byte()
	if f == igmp.IPv6 {
		b := netip.MustParseAddr("fe80::").As16()
		b[0], b[15] = b[0]|n>>7, n%8
		return netip.AddrFrom16(b)
	}
	return [...]netip.Addr{addr("10.0.0.1"), addr("10.0.0.2"), addr("10.0.0.9"), addr("169.254.1.1"), addr("0.0.0.0"), addr("255.255.255.255"), addr("224.0.0.5"), {}}[n%8]
}

func (t *tape) sources(f igmp.Family) (all []netip.Addr) {
	for range t.n(5) {
		all = append(all, t.unicast(f))
	}
	return all
}

func (t *tape) span() time.Duration {
	return [...]time.Duration{0, time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, 4 * time.Minute, -time.Second, 8 * time.Hour}[t.n(8)]
}

func (t *tape) packet(f igmp.Family) igmp.Packet {
	p := igmp.Packet{Src: t.unicast(f), Dst: t.group(f), TTL: 1 + t.byte()/64, RouterAlert: t.n(4) > 0}
	if t.n(3) > 0 {
		p.Dst = f.AllSystems()
	}
	version := igmp.Version(t.n(5))
	switch t.n(4) {
	case 0:
		p.Message = &igmp.Query{Version: version, Group: t.group(f), MaxResponse: t.span(), Suppress: t.n(2) == 1,
			Robustness: t.byte(), Interval: t.span(), Sources: t.sources(f)}
	case 1:
		r := &igmp.Report{Version: version, Group: t.group(f)}
		for range t.n(4) {
			r.Records = append(r.Records, igmp.Record{Type: igmp.RecordType(t.n(8)), Group: t.group(f), Sources: t.sources(f)})
		}
		p.Message = r
	case 2:
		p.Message = &igmp.Leave{Group: t.group(f)}
	case 3:
		p.Message = &igmp.Unknown{Type: t.byte()}
	}
	return p
}

func fuzzSeeds(f *testing.F) {
	for seed := range uint64(8) {
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte((uint64(i)*2654435761 + seed*40503) >> 7)
		}
		binary.BigEndian.PutUint64(b, seed)
		f.Add(b)
	}
}

// FuzzQuerier holds that a Querier never panics, never spins, keeps its bounds, and
// sends nothing that cannot be written.
func FuzzQuerier(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := tape(b)
		cfg := igmp.QuerierConfig{Version: igmp.Version(1 + d.n(3)), Strict: d.n(2) == 1,
			Bounds: igmp.QuerierBounds{Groups: 1 + d.n(3), Sources: 1 + d.n(4), Hosts: 1 + d.n(2), Entries: 1 + d.n(8)}}
		cfg.Family = igmp.IPv4
		if d.n(2) == 1 {
			cfg.Family, cfg.Version = igmp.IPv6, max(cfg.Version, 2)
		}
		cfg.Address = d.unicast(cfg.Family)
		if cfg.Family == igmp.IPv6 {
			cfg.Address = addr("fe80::5")
		}
		q, err := igmp.NewQuerier(cfg)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		for len(d) > 0 {
			switch d.n(8) {
			case 0:
				q.Start(now)
			case 1, 2:
				now = turn(t, q, now, now.Add(max(d.span(), 0)))
			default:
				q.HandlePacket(now, d.packet(cfg.Family))
			}
			checkOutgoing(t, q.Outgoing())
			q.Events()
			groups := q.Groups()
			if len(groups) > cfg.Bounds.Groups {
				t.Fatalf("%d groups", len(groups))
			}
			entries := 0
			for _, g := range groups {
				r := g.Reception
				if entries += len(r.Requested) + len(r.Excluded) + len(g.Hosts); entries > cfg.Bounds.Entries {
					t.Fatalf("%d entries", entries)
				}
				if n := len(r.Requested) + len(r.Excluded); n > cfg.Bounds.Sources || len(g.Hosts) > cfg.Bounds.Hosts || len(g.SourceExpires) != len(r.Requested) {
					t.Fatalf("%+v", g)
				}
				if !cfg.Family.Reported(g.Group) || r.Mode == igmp.Include && (len(r.Requested) == 0 || r.Excluded != nil || !g.Expires.IsZero()) {
					t.Fatalf("%+v", g)
				}
				if r.Mode == igmp.Exclude && !g.Expires.After(now) {
					t.Fatalf("%+v has expired at %v", g, now)
				}
			}
		}
	})
}

// FuzzHost is the same for a Host.
func FuzzHost(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := tape(b)
		cfg := igmp.HostConfig{Version: igmp.Version(1 + d.n(3)), Family: igmp.IPv4, MTU: 256, MaxGroups: 1 + d.n(3), MaxSources: 1 + d.n(4), Strict: d.n(2) == 1}
		if d.n(2) == 1 {
			cfg.Family, cfg.Version = igmp.IPv6, max(cfg.Version, 2)
		}
		h, err := igmp.NewHost(cfg)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Unix(1e9, 0)
		for len(d) > 0 {
			switch d.n(8) {
			case 0:
				h.Rejoin(now)
			case 1, 2:
				now = turn(t, h, now, now.Add(max(d.span(), 0)))
			case 3, 4:
				_ = h.SetFilter(now, igmp.SocketID(d.n(3)), d.group(cfg.Family), igmp.FilterMode(d.n(2)), d.sources(cfg.Family)...)
			case 5:
				if d.n(8) == 0 {
					h.Stop(now)
				}
			default:
				h.HandlePacket(now, d.packet(cfg.Family))
			}
			for _, p := range checkOutgoing(t, h.Outgoing()) {
				for _, g := range p.Groups() {
					if !cfg.Family.Reported(g) {
						t.Fatalf("%v is reported", g)
					}
				}
			}
			h.Events()
			for _, fl := range h.Filters() {
				if len(fl.Sources) > cfg.MaxSources {
					t.Fatalf("%+v", fl)
				}
			}
			if len(h.Filters()) > cfg.MaxGroups {
				t.Fatalf("%d groups", len(h.Filters()))
			}
		}
	})
}

// timed is what engines with different events have in common.
type timed interface {
	HandleTimeout(now time.Time)
	NextTimeout() (time.Time, bool)
	Outgoing() []igmp.Packet
}

// turn lets time pass until end.
func turn(t *testing.T, e timed, now, end time.Time) time.Time {
	spins := 0
	for {
		next, ok := e.NextTimeout()
		if !ok || next.After(end) {
			return end
		}
		if next.After(now) {
			now, spins = next, 0
		} else if spins++; spins > 3 {
			t.Fatalf("asks for a timeout at %v again and again", next)
		}
		e.HandleTimeout(now)
		checkOutgoing(t, e.Outgoing())
	}
}

func checkOutgoing(t *testing.T, out []igmp.Packet) []igmp.Packet {
	for _, p := range out {
		b, err := p.Append(nil)
		if err != nil {
			t.Fatalf("%v cannot be written: %v", p, err)
		}
		if len(b) > 1500 {
			t.Fatalf("%d bytes", len(b))
		}
	}
	return out
}
