package netlab

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pipe is a wire of which the test holds the host's end.
type pipe struct {
	out    chan []byte // from the host
	closed chan struct{}
	once   sync.Once

	mu sync.Mutex
	in []string // what reached the host, with the time since the test began
	at time.Time
}

func newPipe() *pipe {
	return &pipe{out: make(chan []byte), closed: make(chan struct{}), at: time.Now()}
}

func (p *pipe) Read(b []byte) (int, error) {
	select {
	case f := <-p.out:
		return copy(b, f), nil
	case <-p.closed:
		return 0, os.ErrClosed
	}
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = append(p.in, fmt.Sprintf("%v %s", time.Since(p.at), b[headerSize:]))
	return len(b), nil
}

func (p *pipe) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (p *pipe) heard() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.in
	p.in = nil
	return got
}

var _ io.ReadWriteCloser = (*pipe)(nil)

// rig is a switch with n ports on pipes.
type rig struct {
	*Switch
	wires []*pipe
	ports []*Port
}

func newRig(n int, cfg SwitchConfig) rig {
	r := rig{Switch: newSwitch(nil, cfg)}
	for range n {
		p, w := r.newPort(nil, net.HardwareAddr{}), newPipe()
		r.plug(p, w)
		r.ports, r.wires = append(r.ports, p), append(r.wires, w)
	}
	return r
}

// send has host from send a frame from station src to station dst, and waits
// until the switch is idle.
func (r rig) send(from int, src, dst byte, text string) {
	f := append([]byte{dst & 1, 0, 0, 0, 0, dst, 0, 0, 0, 0, 0, src, 8, 0}, text...)
	r.wires[from].out <- f
	synctest.Wait()
}

// heard returns what reached each host since the last call.
func (r rig) heard() [][]string {
	var all [][]string
	for _, w := range r.wires {
		all = append(all, w.heard())
	}
	return all
}

func TestSwitch_Forwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(3, SwitchConfig{})
		defer r.close()
		at := func(where ...int) [][]string {
			want := make([][]string, 3)
			for _, w := range where {
				want[w] = []string{"0s x"}
			}
			return want
		}
		// Stations have even numbers, the group odd ones.
		for _, tt := range []struct {
			name     string
			from     int
			src, dst byte
			want     [][]string
			before   func()
		}{
			{name: "unknown floods", from: 0, src: 2, dst: 4, want: at(1, 2)},
			{name: "known goes there", from: 1, src: 4, dst: 2, want: at(0)},
			{name: "group floods", from: 2, src: 6, dst: 1, want: at(0, 1)},
			{name: "to itself goes nowhere", from: 0, src: 2, dst: 2, want: at()},
			{name: "moves house", from: 2, src: 2, dst: 1, want: at(0, 1)},
			{name: "found there", from: 1, src: 4, dst: 2, want: at(2)},
			{name: "partition", from: 1, src: 4, dst: 1, want: at(0),
				before: func() { r.Partition(r.ports[:2]) }},
			{name: "partition, known station", from: 1, src: 4, dst: 6, want: at()},
			{name: "healed", from: 1, src: 4, dst: 6, want: at(2), before: r.Heal},
			{name: "cut one way", from: 0, src: 2, dst: 6, want: at(),
				before: func() { r.Cut(func(from, to *Port) bool { return from == r.ports[0] && to == r.ports[2] }) }},
			{name: "cut one way, back", from: 2, src: 6, dst: 2, want: at(0)},
			{name: "cut one way, group", from: 0, src: 2, dst: 1, want: at(1)},
			{name: "cut healed", from: 0, src: 2, dst: 6, want: at(2), before: r.Heal},
			{name: "forgotten when unplugged", from: 1, src: 4, dst: 6, want: at(0),
				before: func() { r.unplug(r.ports[2]) }},
		} {
			if tt.before != nil {
				tt.before()
			}
			r.send(tt.from, tt.src, tt.dst, "x")
			if d := cmp.Diff(tt.want, r.heard()); d != "" {
				t.Errorf("%s: %s", tt.name, d)
			}
		}
		if c := r.Counters(); c.FromHost != 14 || c.Partitioned != 4 {
			t.Errorf("odd counters: %+v", c)
		}
	})
}

type toPort struct{ number int }

func (f toPort) Forward(_ time.Time, _ *Port, _ []byte, all, out []*Port) []*Port {
	return append(out, all[f.number-1])
}

func TestSwitch_ForwarderDirectsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(3, SwitchConfig{Forwarder: toPort{3}})
		defer r.close()
		r.send(0, 2, 1, "group")
		r.send(0, 2, 8, "unknown")
		r.ports[0].Send([]byte("..............own"))
		want := [][]string{{"0s own"}, {"0s unknown"}, {"0s group", "0s unknown"}}
		if d := cmp.Diff(want, r.heard()); d != "" {
			t.Error(d)
		}
	})
}

func TestSwitch_BadFramesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(2, SwitchConfig{})
		defer r.close()
		r.wires[0].out <- make([]byte, frameSize)
		r.wires[0].out <- make([]byte, headerSize-1)
		r.wires[0].out <- nil
		synctest.Wait()
		if c := r.Counters(); c != (Counters{Oversized: 1}) || r.wires[1].heard() != nil {
			t.Errorf("odd counters: %+v", c)
		}
	})
}

func TestSwitch_ForgetsNoneAndLearnsNoMoreWhenFull(t *testing.T) {
	s := newSwitch(nil, SwitchConfig{})
	defer s.close()
	p, q := &Port{}, &Port{}
	for i := range maxStations + 10 {
		s.learn(station{0, 0, 0, 2, byte(i >> 8), byte(i)}, p)
	}
	first := station{0, 0, 0, 2, 0, 0}
	s.learn(first, q)
	s.learn(station{1}, q)
	if len(s.stations) != maxStations || s.where(first) != q || s.where(station{1}) != nil {
		t.Errorf("%d stations", len(s.stations))
	}
}

// A cable with a rate carries so much and no more, holds back a little, and drops the
// rest.
func TestPort_Rate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(2, SwitchConfig{Seed: 7})
		defer r.close()
		r.ports[0].SetRate(1000)
		for range 20 {
			r.send(0, 2, 4, strings.Repeat("x", 16))
		}
		time.Sleep(time.Second)
		heard := r.wires[1].heard()
		if len(heard) < 3 || len(heard) > 6 || r.ports[0].Counters().Overflowed != uint64(20-len(heard)) {
			t.Fatalf("%d frames of about 30 bytes came at 1000 bytes a second, and %d were dropped: %q", len(heard), r.ports[0].Counters().Overflowed, heard)
		}
		for i, h := range heard[1:] {
			if h == heard[i] {
				t.Errorf("two frames at once: %q", heard)
			}
		}
		r.ports[0].SetRate(0)
		r.send(0, 2, 4, "quick")
		synctest.Wait()
		if all := r.wires[1].heard(); len(all) == 0 || !strings.HasSuffix(all[len(all)-1], "quick") {
			t.Errorf("without a rate: %q", all)
		}
	})
}

func TestPort_FaultsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(2, SwitchConfig{Seed: 7})
		defer r.close()
		r.ports[0].SetFaultsFromHost(Faults{Delay: 100 * time.Millisecond})
		r.ports[1].SetFaultsToHost(Faults{Delay: 20 * time.Millisecond})
		r.send(0, 2, 4, "slow")
		r.send(0, 2, 4, "too")
		r.ports[0].SetFaultsFromHost(Faults{Reorder: 1})
		r.send(0, 2, 4, "held")
		r.ports[0].SetFaultsFromHost(Faults{Loss: 1})
		r.send(0, 2, 4, "lost")
		r.ports[0].SetFaultsFromHost(Faults{Duplicate: 1})
		r.send(0, 2, 4, "two")
		time.Sleep(time.Second)
		want := []string{"20ms two", "20ms two", "30ms held", "120ms slow", "120ms too"}
		if d := cmp.Diff(want, r.wires[1].heard()); d != "" {
			t.Error(d)
		}
		c := r.ports[0].Counters()
		if c.Lost != 1 || c.Duplicated != 1 || c.Reordered != 1 || c.FromHost != 5 {
			t.Errorf("odd counters: %+v", c)
		}
	})
}

func TestDelayLine_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(1, SwitchConfig{})
		defer r.close()
		r.ports[0].SetFaultsToHost(Faults{Delay: time.Second})
		f := bytes.Repeat([]byte{2}, headerSize)
		for range queueFrames + 5 {
			r.ports[0].Send(f)
		}
		time.Sleep(2 * time.Second)
		if c := r.Counters(); c.Overflowed != 5 || c.ToHost != queueFrames {
			t.Errorf("odd counters: %+v", c)
		}
	})
}

func TestDice_RepeatBySeedAndHoldTheirShares(t *testing.T) {
	f := Faults{Loss: 0.2, Duplicate: 0.1, Reorder: 0.05, Delay: time.Second, Jitter: time.Second}
	fates := func(seed, stream uint64) []verdict {
		d := newDice(seed, stream)
		d.set(f)
		var all []verdict
		for range 20000 {
			all = append(all, d.roll())
		}
		return all
	}
	one := fates(1, 1)
	if !slices.Equal(one, fates(1, 1)) {
		t.Error("equal seeds, other fates")
	}
	if slices.Equal(one, fates(1, 2)) || slices.Equal(one, fates(2, 1)) {
		t.Error("other seeds, equal fates")
	}
	var lost, double, reordered float64
	for _, v := range one {
		switch v.copies {
		case 0:
			lost++
			continue
		case 2:
			double++
		}
		if v.reordered {
			reordered++
			v.delay[0] -= ReorderHold
		}
		if v.delay[0] < time.Second || v.delay[0] >= 2*time.Second {
			t.Fatalf("delay %v", v.delay[0])
		}
	}
	n := float64(len(one))
	for what, share := range map[string][2]float64{
		"lost": {lost / n, 0.2}, "double": {double / (n - lost), 0.1}, "reordered": {reordered / (n - lost), 0.05},
	} {
		if math.Abs(share[0]-share[1]) > 0.01 {
			t.Errorf("%s: %v, want %v", what, share[0], share[1])
		}
	}
}

// The way of a frame through the switch makes no garbage.
func TestSwitch_ForwardAllocatesNothing(t *testing.T) {
	s := newSwitch(nil, SwitchConfig{})
	defer s.close()
	var ports []*Port
	for range 2 {
		p := s.newPort(nil, nil)
		p.wire = discard{}
		ports = append(ports, p)
	}
	s.ports.Store(&ports)
	b := []byte{4, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 2, 8, 0}
	n := testing.AllocsPerRun(1000, func() {
		s.observe(ports[0], b)
		ports[0].deliver(b, true)
	})
	for _, p := range ports {
		close(p.done)
	}
	if n != 0 || ports[1].Counters().ToHost == 0 {
		t.Errorf("%v allocations a frame, %d frames", n, ports[1].Counters().ToHost)
	}
}

type discard struct{}

func (discard) Read([]byte) (int, error)    { return 0, os.ErrClosed }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) Close() error                { return nil }
