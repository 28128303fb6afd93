package netlab

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// Snooping is a [Forwarder] that sends the frames of a group only where somebody
// has joined it (RFC 4541), as the switches of offices do. Ports have the numbers
// of [Port.Number]. It serves one switch.
type Snooping struct {
	mu sync.Mutex
	s  *igmp.Snooper
}

// NewSnooping returns the forwarder of a switch of the kind that cfg describes; see
// [SwitchConfig].
func NewSnooping(cfg igmp.SnooperConfig) *Snooping {
	return &Snooping{s: igmp.NewSnooper(time.Now(), cfg)}
}

// Forward implements [Forwarder].
func (f *Snooping) Forward(now time.Time, in *Port, frame []byte, all, out []*Port) []*Port {
	var room [16]int
	numbers := room[:0]
	for _, p := range all {
		numbers = append(numbers, p.number)
	}
	f.mu.Lock()
	f.s.HandleFrame(now, in.number, frame)
	to, own := f.s.Forward(in.number, frame, numbers), f.s.Outgoing()
	f.mu.Unlock()
	speak(own, all)
	for _, p := range all {
		if slices.Contains(to, p.number) {
			out = append(out, p)
		}
	}
	return out
}

// speak sends the switch's own frames.
func speak(own []igmp.PortFrame, all []*Port) {
	for _, o := range own {
		for _, p := range all {
			if o.Port == igmp.AllPorts || o.Port == p.number {
				p.Send(o.Frame)
			}
		}
	}
}

// run lets time pass for the snooper until stop is closed.
func (f *Snooping) run(s *Switch, stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-timer.C:
			f.mu.Lock()
			f.s.HandleTimeout(now)
			next, ok := f.s.NextTimeout()
			own := f.s.Outgoing()
			f.mu.Unlock()
			speak(own, s.Ports())
			wait := time.Second // a frame may have brought the next timeout nearer
			if ok {
				wait = min(wait, max(time.Until(next), time.Millisecond))
			}
			timer.Reset(wait)
		}
	}
}

// portDown forgets what was learnt at a port that is gone.
func (f *Snooping) portDown(port int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.s.PortDown(time.Now(), port)
}

// Table returns which ports want which groups.
func (f *Snooping) Table() []igmp.SnooperEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s.Table()
}

// Ports returns the numbers of the ports where group is wanted, sorted.
func (f *Snooping) Ports(group netip.Addr) (ports []int) {
	for _, e := range f.Table() {
		if e.Group == group {
			ports = append(ports, e.Port)
		}
	}
	return ports
}

// RouterPorts returns the numbers of the ports with queriers of a family.
func (f *Snooping) RouterPorts(six bool) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s.RouterPorts(0, six)
}

// TopologyChanged tells the switch that ports may lead elsewhere now.
func (f *Snooping) TopologyChanged() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.s.TopologyChanged(time.Now())
}

// Stats returns the snooper's counters.
func (f *Snooping) Stats() igmp.SnooperStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.s.Stats()
}
