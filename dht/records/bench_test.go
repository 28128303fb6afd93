package records

import (
	"fmt"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

// benchRing is n engines whose messages arrive at once and whose disks are instant.
type benchRing struct {
	list []*Engine
	now  time.Time
}

func newBenchRing(n int) *benchRing {
	r := &benchRing{now: start}
	var peers []dht.Peer
	for i := range n {
		peers = append(peers, dht.Peer{ID: dht.ID{byte(i * 250 / n), 19: 1}, Incarnation: 1})
	}
	for i := range peers {
		r.list = append(r.list, New(Config{Self: peers[i], Seed: uint64(i)}))
		v := dht.View{Self: peers[i], Predecessor: peers[(i+n-1)%n]}
		for k := range max(n-1, 1) {
			v.Successors = append(v.Successors, peers[(i+1+k)%n])
		}
		r.list[i].HandleView(r.now, v)
	}
	for i := range 200 {
		if i == 1 {
			r.list[0].Do(r.now, Request{ID: RequestID{1}, Op: Put, Name: "a", Value: make([]byte, 100)})
		}
		r.now = r.now.Add(50 * time.Millisecond)
		for _, e := range r.list {
			e.HandleTimeout(r.now)
		}
		r.settle()
	}
	return r
}

// settle carries messages until none is left, and returns how many requests were
// answered.
func (r *benchRing) settle() (answered int) {
	for busy := true; busy; {
		busy = false
		for _, e := range r.list {
			if _, seq, ok := e.Unsaved(); ok {
				e.Saved(r.now, seq)
				busy = true
			}
			for _, p := range e.Outgoing() {
				busy = true
				for _, to := range r.list {
					if to.cfg.Self.ID == p.To.ID {
						to.HandleMessage(r.now, e.cfg.Self, p.Message)
					}
				}
			}
			for _, v := range e.Events() {
				if a, ok := v.(Answered); ok && a.Response.Status == OK {
					answered++
				}
			}
		}
	}
	return answered
}

func (r *benchRing) leader(name string) *Engine {
	for _, e := range r.list {
		if e.leadAt(e.key(name)) != nil {
			return e
		}
	}
	return nil
}

// Gets through one node: alone, and of a group of five, with as many at a time as
// arrive while a message is on its way. ns/op is for one get.
func BenchmarkGet(b *testing.B) {
	for _, nodes := range []int{1, 5} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("nodes=%d/together=%d", nodes, batch), func(b *testing.B) {
				r := newBenchRing(nodes)
				e := r.leader("a")
				q := Request{ID: RequestID{9}, Op: Get, Name: "a"}
				b.ReportAllocs()
				for n := 0; n < b.N; n += batch {
					for range batch {
						e.Do(r.now, q)
					}
					if got := r.settle(); got != batch {
						b.Fatalf("%d answers", got)
					}
				}
			})
		}
	}
}

// Puts of 100 bytes to one name, on a disk that takes no time.
func BenchmarkPut(b *testing.B) {
	for _, nodes := range []int{1, 5} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			r := newBenchRing(nodes)
			e := r.leader("a")
			value := make([]byte, 100)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				q := Request{ID: RequestID{8, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, Op: Put, Name: "a", Value: value}
				e.Do(r.now, q)
				if got := r.settle(); got != 1 {
					b.Fatalf("%d answers", got)
				}
			}
		})
	}
}
