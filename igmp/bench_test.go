package igmp_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
)

func BenchmarkParsePacket(b *testing.B) {
	wire := unhex(b, packets[0].wire)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := igmp.ParsePacket(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPacketAppend(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = packets[0].want.Append(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuerier_Reports is a router that knows 4000 groups and hears them
// refreshed, one a packet.
func BenchmarkQuerier_Reports(b *testing.B) {
	q := newQuerier(b, igmp.QuerierConfig{Address: addr("10.0.0.1")})
	var list []igmp.Packet
	for i := range 4000 {
		list = append(list, igmp.NewPacket(addr("10.0.0.7"), igmp.IPv4.AllReports(), &igmp.Report{Version: 3, Records: []igmp.Record{
			{Type: igmp.ModeIsExclude, Group: netip.AddrFrom4([4]byte{239, 1, byte(i >> 8), byte(i)})}}}))
	}
	now := time.Unix(1e9, 0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Microsecond)
		q.HandlePacket(now, list[i%len(list)])
		q.NextTimeout()
		if i%1000 == 0 {
			q.Events()
		}
	}
}
