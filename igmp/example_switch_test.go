package igmp_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// frameOf is a frame with a message as its sender would send it.
func frameOf(src, dst string, m igmp.Message) []byte {
	ip, err := igmp.NewPacket(netip.MustParseAddr(src), netip.MustParseAddr(dst), m).Append(nil)
	if err != nil {
		panic(err)
	}
	return igmp.EthernetFrame(igmp.HardwareAddr{2, 0, 0, 0, 0, 1}, ip)
}

// A switch with four ports: a querier at port 1, a member at port 3.
func ExampleSnooper() {
	now, ports := time.Unix(0, 0), []int{1, 2, 3, 4}
	group := netip.MustParseAddr("239.1.2.3")
	sw := igmp.NewSnooper(now, igmp.SnooperConfig{})
	query := &igmp.Query{Version: igmp.V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second}
	sw.HandleFrame(now, 1, frameOf("192.0.2.1", "224.0.0.1", query))
	report := frameOf("192.0.2.9", "239.1.2.3", &igmp.Report{Version: igmp.V2, Group: group})
	sw.HandleFrame(now, 3, report)
	fmt.Println("the report goes to", sw.Forward(3, report, ports))

	datagram := []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0, 192, 0, 2, 7, 239, 1, 2, 3, 0, 9, 0, 9, 0, 8, 0, 0}
	frame := igmp.EthernetFrame(igmp.HardwareAddr{2, 0, 0, 0, 0, 7}, datagram)
	fmt.Println("while hosts may still answer, a datagram goes to", sw.Forward(2, frame, ports))
	sw.HandleTimeout(now.Add(10 * time.Second))
	fmt.Println("then to", sw.Forward(2, frame, ports))
	// Output:
	// the report goes to [1]
	// while hosts may still answer, a datagram goes to [1 3 4]
	// then to [1 3]
}

// A capture, or a live link, tells who joined what.
func ExampleMonitor() {
	now := time.Unix(0, 0)
	m := igmp.NewMonitor(now, igmp.MonitorConfig{})
	m.HandleFrame(now, frameOf("192.0.2.1", "224.0.0.1", &igmp.Query{Version: igmp.V2, MaxResponse: 10 * time.Second}))
	m.HandleFrame(now, frameOf("192.0.2.9", "239.1.2.3", &igmp.Report{Version: igmp.V2, Group: netip.MustParseAddr("239.1.2.3")}))
	m.HandleTimeout(now.Add(260 * time.Second))
	for _, e := range m.Events() {
		fmt.Println(e)
	}
	// Output:
	// query general v2 from 192.0.2.1
	// report 239.1.2.3 v2 from 192.0.2.9
	// join 239.1.2.3 v2 from 192.0.2.9
	// expire 239.1.2.3 v2 from 192.0.2.9
}
