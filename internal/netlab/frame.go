package netlab

import (
	"container/heap"
	"sync"
	"time"
)

// frameSize holds any frame of an interface with an MTU of 1500 bytes, VLAN
// tags included. A longer one is dropped and counted.
const frameSize = 2048

// queueFrames bounds the frames that are delayed at one time in a switch.
const queueFrames = 16384

// frame is a frame that is under way for a while.
type frame struct {
	n   int
	buf [frameSize]byte

	due      time.Time
	seq      uint64 // equal times keep the order
	port     *Port
	entering bool // from the host into the switch, else from the switch to the host
}

func (f *frame) bytes() []byte { return f.buf[:f.n] }

// delayLine hands frames on at their time. Its goroutine runs until stop.
type delayLine struct {
	mu     sync.Mutex
	heap   frameHeap
	seq    uint64
	wake   chan struct{} // the head has changed
	stop   chan struct{}
	done   chan struct{}
	arrive func(*frame)
	pool   sync.Pool // of *frame, so that none is made anew for each that passes
}

func newDelayLine(arrive func(*frame)) *delayLine {
	d := &delayLine{
		wake:   make(chan struct{}, 1),
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
		arrive: arrive,
		pool:   sync.Pool{New: func() any { return new(frame) }},
	}
	go d.run()
	return d
}

// add puts a copy of a frame on the line; it reports false when the line is full.
func (d *delayLine) add(p *Port, b []byte, entering bool, due time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) >= queueFrames {
		return false
	}
	f := d.pool.Get().(*frame)
	f.n, f.port, f.entering = copy(f.buf[:], b), p, entering
	d.seq++
	f.due, f.seq = due, d.seq
	heap.Push(&d.heap, f)
	if d.heap[0] == f {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// next returns a frame that has arrived, or how long to wait for the first.
func (d *delayLine) next(now time.Time) (f *frame, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) == 0 {
		return nil, time.Hour
	}
	if wait := d.heap[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&d.heap).(*frame), 0
}

func (d *delayLine) run() {
	defer close(d.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		f, wait := d.next(time.Now())
		if f != nil {
			d.arrive(f)
			f.port = nil
			d.pool.Put(f)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-d.wake:
		case <-d.stop:
			return
		}
	}
}

// close ends the line; frames still on it are lost.
func (d *delayLine) close() {
	close(d.stop)
	<-d.done
}

// frameHeap is ordered by due time, then by arrival.
type frameHeap []*frame

func (h frameHeap) Len() int      { return len(h) }
func (h frameHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h frameHeap) Less(i, j int) bool {
	if !h[i].due.Equal(h[j].due) {
		return h[i].due.Before(h[j].due)
	}
	return h[i].seq < h[j].seq
}
func (h *frameHeap) Push(f any) { *h = append(*h, f.(*frame)) }
func (h *frameHeap) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
