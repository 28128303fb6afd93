package netlab

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// headerSize is the length of an Ethernet header: destination, source, type.
const headerSize = 14

// Forwarder decides where frames to a group of stations (the group bit of the
// destination is set: multicast and broadcast) go.
type Forwarder interface {
	// Forward appends to out the ports that shall have the frame, which came in
	// at port in at the instant now, chosen from all. It is called by several
	// goroutines at once and must not keep frame or all.
	Forward(now time.Time, in *Port, frame []byte, all, out []*Port) []*Port
}

// SwitchConfig says what kind of switch to make. Its zero value is a plain
// learning switch.
type SwitchConfig struct {
	// Seed makes the faults repeatable; equal seeds give the frames of a cable
	// equal fates. Zero is a seed like any other.
	Seed uint64
	// Forwarder directs group frames; nil floods them. See [NewSnooping].
	Forwarder Forwarder
}

// Switch is an Ethernet switch: it learns which station is behind which port
// (IEEE 802.1D section 7.8), sends frames to known stations there and all others
// everywhere but back. There is no spanning tree: do not build loops.
//
// The way of a frame: Port.read → faults from the host → forward → faults to
// the host → Port.arrive. All of it runs on the goroutine of the port where the
// frame came in, unless a fault delays it.
type Switch struct {
	lab       *Lab
	cfg       SwitchConfig
	delayed   *delayLine
	observers observers

	// ports is replaced, never changed, so that forwarding needs no lock.
	ports   atomic.Pointer[[]*Port]
	cuts    atomic.Pointer[func(from, to *Port) bool] // nil: none
	changes sync.Mutex                                // held while ports is replaced
	gone    Counters                                  // of unplugged ports, guarded by changes

	snooping sync.WaitGroup // the clock of a snooping forwarder
	stop     chan struct{}  // ends it

	learning sync.RWMutex
	stations map[station]*Port // where a frame with this source came in last
}

// station is a hardware address.
type station [6]byte

// maxStations bounds what is learned; a switch whose table is full floods.
const maxStations = 4096

func newSwitch(l *Lab, cfg SwitchConfig) *Switch {
	s := &Switch{lab: l, cfg: cfg, stations: make(map[station]*Port), stop: make(chan struct{})}
	s.ports.Store(new([]*Port))
	if f, ok := cfg.Forwarder.(*Snooping); ok {
		s.snooping.Go(func() { f.run(s, s.stop) })
	}
	s.delayed = newDelayLine(func(f *frame) { f.port.arrive(f.bytes(), f.entering) })
	return s
}

// Ports returns the switch's ports in order of their numbers.
func (s *Switch) Ports() []*Port { return slices.Clone(*s.ports.Load()) }

// Counters returns the sums of the counters of all ports, unplugged ones included.
func (s *Switch) Counters() Counters {
	s.changes.Lock()
	defer s.changes.Unlock()
	sum := s.gone
	for _, p := range *s.ports.Load() {
		sum.add(p.Counters())
	}
	return sum
}

// Partition lets frames pass only within each group. Ports in no group can reach
// each other but none of the groups. Links keep their carrier.
func (s *Switch) Partition(groups ...[]*Port) {
	for _, p := range *s.ports.Load() {
		p.group.Store(0)
	}
	for i, g := range groups {
		for _, p := range g {
			p.group.Store(int32(i + 1))
		}
	}
}

// Cut keeps frames that came in at port from away from port to, wherever cut says
// so: a network need not fall apart into groups, and may be cut in one direction
// only. cut is called for every frame, by several goroutines at once. It comes on
// top of a partition, and replaces an earlier Cut; nil ends it.
func (s *Switch) Cut(cut func(from, to *Port) bool) {
	if cut == nil {
		s.cuts.Store(nil)
		return
	}
	s.cuts.Store(&cut)
}

// Heal ends a partition and a Cut.
func (s *Switch) Heal() {
	s.Partition()
	s.Cut(nil)
}

// newPort makes a port that is not yet plugged in.
func (s *Switch) newPort(h *Host, mac net.HardwareAddr) *Port {
	s.changes.Lock()
	defer s.changes.Unlock()
	n := 1
	if all := *s.ports.Load(); len(all) > 0 {
		n = all[len(all)-1].number + 1
	}
	return &Port{
		sw:       s,
		host:     h,
		number:   n,
		mac:      mac,
		fromHost: newDice(s.cfg.Seed, uint64(2*n)),
		toHost:   newDice(s.cfg.Seed, uint64(2*n+1)),
		done:     make(chan struct{}),
	}
}

// plug starts to serve a port.
func (s *Switch) plug(p *Port, w wire) {
	p.wire = w
	s.changes.Lock()
	defer s.changes.Unlock()
	all := append(slices.Clone(*s.ports.Load()), p)
	s.ports.Store(&all)
	go p.read()
}

// unplug ends the service of a port and forgets the stations behind it.
func (s *Switch) unplug(p *Port) {
	s.changes.Lock()
	all := slices.DeleteFunc(slices.Clone(*s.ports.Load()), func(q *Port) bool { return q == p })
	s.ports.Store(&all)
	p.wire.Close()
	<-p.done
	s.gone.add(p.Counters())
	s.changes.Unlock()
	if f, ok := s.cfg.Forwarder.(*Snooping); ok {
		f.portDown(p.number)
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	for mac, at := range s.stations {
		if at == p {
			delete(s.stations, mac)
		}
	}
}

// forward sends a frame that came in at port in to where it belongs.
func (s *Switch) forward(in *Port, b []byte) {
	dst, src := station(b[0:6]), station(b[6:12])
	s.learn(src, in)
	all := *s.ports.Load()
	if isGroup(dst) && s.cfg.Forwarder != nil {
		var room [16]*Port
		for _, p := range s.cfg.Forwarder.Forward(time.Now(), in, b, all, room[:0]) {
			in.pass(p, b)
		}
		return
	}
	if p := s.where(dst); p != nil {
		in.pass(p, b)
		return
	}
	for _, p := range all {
		in.pass(p, b)
	}
}

// pass hands a frame to another port unless a partition lies between.
func (in *Port) pass(p *Port, b []byte) {
	switch {
	case p == in:
	case p.group.Load() != in.group.Load(), in.sw.cut(in, p):
		p.count.partitioned.Add(1)
	default:
		p.deliver(b, false)
	}
}

func (s *Switch) cut(from, to *Port) bool {
	cut := s.cuts.Load()
	return cut != nil && (*cut)(from, to)
}

func isGroup(s station) bool { return s[0]&1 != 0 }

func (s *Switch) where(dst station) *Port {
	s.learning.RLock()
	defer s.learning.RUnlock()
	return s.stations[dst]
}

func (s *Switch) learn(src station, at *Port) {
	if isGroup(src) || s.where(src) == at {
		return
	}
	s.learning.Lock()
	defer s.learning.Unlock()
	if _, known := s.stations[src]; known || len(s.stations) < maxStations {
		s.stations[src] = at
	}
}

// close ends all ports; nothing of the switch runs when it returns.
func (s *Switch) close() error {
	close(s.stop)
	s.snooping.Wait()
	for _, p := range *s.ports.Load() {
		p.wire.Close()
	}
	for _, p := range *s.ports.Load() {
		<-p.done
	}
	s.delayed.close()
	return s.observers.close()
}
