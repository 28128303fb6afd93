package mdns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

// tap records the questions that are sent on a segment.
type tap struct {
	network
	mu   sync.Mutex
	sent []*Message
}

// messages returns what was sent so far.
func (n *tap) messages() []*Message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.sent)
}

func (n *tap) join(ctx context.Context, ifi netif.Interface, group netip.AddrPort) (wire, error) {
	w, err := n.network.join(ctx, ifi, group)
	return tappedWire{w, n}, err
}

type tappedWire struct {
	wire
	tap *tap
}

func (w tappedWire) WritePacket(p Packet) error {
	if m, err := ParseMessage(p.Data); err == nil {
		w.tap.mu.Lock()
		w.tap.sent = append(w.tap.sent, m)
		w.tap.mu.Unlock()
	}
	return w.wire.WritePacket(p)
}

// quBits returns how many questions were sent, and how many of them as QU.
func (n *tap) quBits() (questions, qu int) {
	for _, m := range n.messages() {
		for _, q := range m.Questions {
			questions++
			if q.Unicast {
				qu++
			}
		}
	}
	return questions, qu
}

func TestNode_RFC6762_15_1_NoQUQuestionsWhereThePortIsShared(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, new(segment), "10.0.0.1/24", "fe80::1/64")
			m.shared = shared
			net := &tap{network: m}
			var log bytes.Buffer
			n, err := open(t.Context(), Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, net)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if _, err := n.ClaimHost(t.Context(), "box"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, _ = n.Resolve(ctx, "absent")
			links, err := n.Links(t.Context())
			if err != nil || len(links) != 1 || links[0].Shared != shared || links[0].Unicast == shared {
				t.Errorf("shared %v: links %+v, %v", shared, links, err)
			}
			n.Close()
			questions, qu := net.quBits()
			if questions == 0 || shared != (qu == 0) {
				t.Errorf("shared %v: %d questions, %d of them QU", shared, questions, qu)
			}
			if said := strings.Count(log.String(), "15.1"); shared != (said == 1) || said > 1 {
				t.Errorf("shared %v: the log says it %d times:\n%s", shared, said, &log)
			}
		})
	}
}

// TestKernel_RFC6762_15_1_FindsTheOtherProgram opens two wires on the loopback
// interface: the second finds the first.
func TestKernel_RFC6762_15_1_FindsTheOtherProgram(t *testing.T) {
	ifi, err := netif.ByName(loopbackName(t))
	if err != nil {
		t.Fatal(err)
	}
	first, err := kernel{}.join(t.Context(), ifi, group4)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := kernel{}.join(t.Context(), ifi, group4)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if got := fmt.Sprint(second.Shared(), second.Unicast()); got != "true false" {
		t.Errorf("the second is shared, unicast: %s", got)
	}
}

func loopbackName(t testing.TB) string {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface in this namespace: run `ip link set lo up`")
	return ""
}
