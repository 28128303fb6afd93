package probe

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
)

// BenchmarkReceiver_Datagram is one datagram of 64 bytes of one of 1,000 streams.
func BenchmarkReceiver_Datagram(b *testing.B) {
	r := NewReceiver(ReceiverConfig{Quiet: true}, netsim.Start)
	var in [1000]Packet
	for i := range in {
		in[i] = Packet{Data: message{kind: kindTest, from: origin{1, uint64(i)}, seq: 1}.append(nil, 64), From: at(i % 10), To: group, HopLimit: 1}
	}
	b.ReportAllocs()
	now := netsim.Start
	for i := range b.N {
		p := &in[i%1000]
		p.Data[30], p.Data[31] = byte(i/1000>>8), byte(i/1000)
		p.Data[29] = 1 + byte(i/1000>>16)
		r.HandlePacket(now, *p)
		if now = now.Add(time.Microsecond); i%64 == 63 {
			r.Events()
		}
	}
}
