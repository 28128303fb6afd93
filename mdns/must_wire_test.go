package mdns

import (
	"runtime"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

// TestKernel_RFC6762_6_SendsFromPort5353WithHopLimit255 multicasts a message that
// everybody ignores on the loopback interface: all that a Node sends, queries too
// (RFC 6762 sections 5.2, 11), goes by such a wire.
func TestKernel_RFC6762_6_SendsFromPort5353WithHopLimit255(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("joins a group on the loopback interface, which only Linux allows; run on Linux")
	}
	lo, err := netif.ByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	w, err := kernel{}.join(t.Context(), lo, group4)
	if err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(5*time.Second, func() { w.Close() }).Stop()
	defer w.Close()
	message := make([]byte, headerSize)
	message[2] = 0x78 // opcode 15
	if err := w.WritePacket(Packet{Data: message, To: group4, IfIndex: lo.Index}); err != nil {
		t.Fatal(err)
	}
	for {
		d, err := w.(udpWire).c.ReadPacket()
		if err != nil {
			t.Fatalf("it did not come back: %v", err)
		}
		if string(d.Payload) != string(message) {
			continue
		}
		if d.From.Port() != Port || d.HopLimit != 255 || d.To != group4.Addr() {
			t.Errorf("%+v", d)
		}
		return
	}
}
