package tasks_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/tasks"
)

// cloud is a store of records that the engines of several nodes share, each record led
// by one of them, in virtual time.
type cloud struct {
	t       testing.TB
	rand    *rand.Rand
	now     time.Time
	cfg     tasks.Config
	nodes   []*tasks.Engine
	leader  map[string]int
	records map[string]records.Record
	done    map[records.RequestID]records.Response
	queue   []happening
	seq     int
	hash    interface{ Sum64() uint64 }
	write   func(string)
	work    func(node int, r tasks.Run) // what a worker does

	loss   float64 // of requests and of answers
	begun  map[string][]uint64
	worked map[string]int
	events []tasks.Event
}

// happening is something that will happen.
type happening struct {
	at  time.Time
	seq int
	do  func()
}

func newCloud(t testing.TB, seed uint64, nodes int, cfg tasks.Config) *cloud {
	h := fnv.New64a()
	c := &cloud{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(0, 0), cfg: cfg,
		leader: map[string]int{}, records: map[string]records.Record{}, done: map[records.RequestID]records.Response{},
		hash: h, write: func(s string) { _, _ = h.Write([]byte(s)) },
		begun: map[string][]uint64{}, worked: map[string]int{},
	}
	for range nodes {
		c.nodes = append(c.nodes, c.engine())
	}
	c.work = func(node int, r tasks.Run) {
		c.after(time.Duration(c.rand.Int64N(int64(time.Second))), func() {
			c.worked[r.Task.Name()]++
			c.outcome(node, r, nil, nil)
		})
	}
	return c
}

func (c *cloud) engine() *tasks.Engine {
	cfg := c.cfg
	cfg.Seed = c.rand.Uint64()
	return tasks.New(cfg)
}

func (c *cloud) after(d time.Duration, f func()) {
	c.seq++
	c.queue = append(c.queue, happening{c.now.Add(d), c.seq, f})
}

func (c *cloud) outcome(node int, r tasks.Run, result []byte, err error) {
	c.nodes[node].HandleOutcome(c.now, r.Task.Name(), r.Task.Attempt, result, err)
}

// drain carries away what a node has to say.
func (c *cloud) drain(node int) {
	e := c.nodes[node]
	for {
		requests, events := e.Requests(), e.Events()
		if len(requests)+len(events) == 0 {
			return
		}
		for _, q := range requests {
			if c.rand.Float64() >= c.loss {
				c.after(time.Duration(c.rand.Int64N(int64(20*time.Millisecond))), func() { c.serve(node, e, q) })
			}
		}
		for _, ev := range events {
			c.events = append(c.events, ev)
			c.write(fmt.Sprint(c.now.UnixNano(), node, ev))
			if r, ok := ev.(tasks.Run); ok {
				c.begun[r.Task.Name()] = append(c.begun[r.Task.Name()], r.Task.Attempt)
				c.work(node, r)
			}
		}
	}
}

// serve does a request as the record's leader does, and tells it who asked and who
// leads the record.
func (c *cloud) serve(from int, e *tasks.Engine, q records.Request) {
	r, again := c.done[q.ID]
	if !again {
		rec := c.records[q.Name]
		r = records.Response{ID: q.ID, Status: records.OK}
		switch {
		case q.Version == rec.Version && q.Op == records.Swap:
			rec = records.Record{Name: q.Name, Version: rec.Version + 1, Value: slices.Clone(q.Value), TTL: q.TTL}
			c.records[q.Name] = rec
			l, led := c.leader[q.Name]
			if !led {
				l = c.rand.IntN(len(c.nodes))
				c.leader[q.Name] = l
			}
			c.nodes[l].HandleRecord(c.now, rec)
		default:
			r.Status = records.Conflict
		}
		r.Record = rec
		c.done[q.ID] = r
	}
	c.write(fmt.Sprint(c.now.UnixNano(), from, r))
	if from >= 0 && c.rand.Float64() >= c.loss {
		c.after(time.Duration(c.rand.Int64N(int64(20*time.Millisecond))), func() {
			if c.nodes[from] == e {
				e.HandleResponse(c.now, r)
			}
		})
	}
}

// add adds a task; it reports whether there was none of its name.
func (c *cloud) add(t tasks.Task) bool {
	q, err := tasks.Add(records.RequestID{byte(c.seq), byte(c.seq >> 8), byte(c.seq >> 16), 1}, t)
	if err != nil {
		c.t.Fatal(err)
	}
	c.seq++
	c.serve(-1, nil, q)
	return c.done[q.ID].Status == records.OK
}

// lead makes a node the leader of a record.
func (c *cloud) lead(name string, node int) {
	old := c.leader[name]
	if old == node {
		return
	}
	c.leader[name] = node
	// The new leader is told first, or the old one: both happen.
	if c.rand.IntN(2) == 0 {
		c.nodes[old].HandleLost(c.now, name)
		c.nodes[node].HandleRecord(c.now, c.records[name])
	} else {
		c.nodes[node].HandleRecord(c.now, c.records[name])
		c.nodes[old].HandleLost(c.now, name)
	}
}

// crash ends a node's life; the others lead its records, and it begins anew.
func (c *cloud) crash(node int) {
	c.nodes[node] = c.engine()
	for _, name := range slices.Sorted(maps.Keys(c.leader)) {
		if c.leader[name] == node && len(c.nodes) > 1 {
			to := (node + 1 + c.rand.IntN(len(c.nodes)-1)) % len(c.nodes)
			c.leader[name] = to
			c.nodes[to].HandleRecord(c.now, c.records[name])
		}
	}
}

// run lets d pass.
func (c *cloud) run(d time.Duration) {
	end := c.now.Add(d)
	for {
		for i := range c.nodes {
			c.drain(i)
		}
		next, what := end, -1
		var node int
		for i, h := range c.queue {
			if h.at.Before(next) || what >= 0 && h.at.Equal(next) && h.seq < c.queue[what].seq {
				next, what = h.at, i
			}
		}
		timeout := false
		for i, e := range c.nodes {
			if t, ok := e.NextTimeout(); ok && t.Before(next) {
				next, node, timeout = t, i, true
			}
		}
		if !timeout && what < 0 {
			c.now = end
			return
		}
		if next.After(c.now) {
			c.now = next
		}
		if timeout {
			c.nodes[node].HandleTimeout(c.now)
			continue
		}
		f := c.queue[what].do
		c.queue = slices.Delete(c.queue, what, what+1)
		f()
	}
}

func (c *cloud) task(queue, id string) tasks.Task {
	name := tasks.Task{Queue: queue, ID: id}.Name()
	t, err := tasks.ParseTask(name, c.records[name].Value)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// Whatever dies, moves or gets lost: each task is run at least once and ends, and no
// attempt begins twice.
func TestSim_EachTaskIsRunAtLeastOnce(t *testing.T) {
	for seed := range uint64(300) {
		a, b := scene(t, seed), scene(t, seed)
		if a.hash.Sum64() != b.hash.Sum64() {
			t.Errorf("two runs differ")
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func scene(t *testing.T, seed uint64) *cloud {
	c := newCloud(t, seed, 3, tasks.Config{Timeout: 5 * time.Second, MaxAttempts: 30, MaxRunning: 4})
	c.loss = 0.1
	free := true
	c.work = func(node int, r tasks.Run) {
		e := c.nodes[node]
		tell := func(err error) {
			c.after(time.Duration(c.rand.Int64N(int64(2*time.Second))), func() {
				if err == nil {
					c.worked[r.Task.Name()]++
				}
				if c.nodes[node] == e {
					c.outcome(node, r, []byte("ok"), err)
				}
			})
		}
		switch k := c.rand.IntN(10); {
		case !free:
			tell(tasks.ErrNotTaken)
		case k < 5:
			tell(nil)
		case k < 7:
			tell(errors.New("it failed"))
		case k < 8: // the worker died
		default:
			c.worked[r.Task.Name()]++ // the outcome is lost
		}
	}
	n := 20
	for i := range n {
		c.add(tasks.Task{Queue: fmt.Sprint("q", i%3), ID: fmt.Sprint(i), Payload: []byte{byte(i)}})
	}
	for range 40 {
		c.run(time.Duration(c.rand.Int64N(int64(time.Second))))
		switch c.rand.IntN(6) {
		case 0:
			c.crash(c.rand.IntN(3))
		case 1, 2:
			names := slices.Sorted(maps.Keys(c.leader))
			c.lead(names[c.rand.IntN(len(names))], c.rand.IntN(3))
		case 3:
			free = !free
		}
	}
	free, c.loss = true, 0
	c.run(3 * time.Hour)
	for i := range n {
		tk := c.task(fmt.Sprint("q", i%3), fmt.Sprint(i))
		name := tk.Name()
		if tk.State != tasks.Done || c.worked[name] == 0 || string(tk.Result) != "ok" {
			t.Errorf("%v, worked %d times", tk, c.worked[name])
		}
	}
	for i, e := range c.nodes {
		if st := e.Status(); st.Tasks != 0 || st.Running != 0 || st.Writing != 0 {
			t.Errorf("node %d is not done: %+v", i, st)
		}
		if at, ok := e.NextTimeout(); ok {
			t.Errorf("node %d has something to do at %v", i, at)
		}
	}
	return c
}
