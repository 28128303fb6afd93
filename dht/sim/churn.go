package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// ChurnConfig is a ring whose nodes come and go while keys are looked up.
type ChurnConfig struct {
	Nodes          int     // at the beginning; zero means 100
	Minutes        float64 // of made-up time; zero means 10
	JoinsPerSecond float64 // nodes that start
	FailsPerSecond float64 // nodes that stop without a word, never the last two
	Lookups        int     // spread over the time; zero means 1,000
	Seed           uint64
	MaxMembers     int           // up to how many nodes all know all; zero means dht's default
	Delay          time.Duration // of the network, one way, in the mean; zero means 1 ms
	Refuses        bool          // machines say so when their node does not run, as with a dead process
}

// ChurnReport is what came of it.
type ChurnReport struct {
	Nodes, Joins, Fails int // nodes at the end, and how many came and went
	// Formed is how long the nodes at the beginning, all started at once, took to be one
	// right ring; zero when they never were within a minute.
	Formed  time.Duration
	Lookups int
	Failed  int // ended with an error
	Wrong   int // named who was the owner neither when it was asked nor when it was answered
	// Hops counts nodes on the way to the owner, without it: none with full membership.
	Hops     Histogram
	Timeouts Histogram // nodes a lookup asked that did not answer
	// Messages and Bytes are what a node sends in a second, Wire the same with TLS, TCP,
	// IP and Ethernet (95 bytes a message, and an acknowledgement for every second).
	Messages, Bytes, Wire float64
	// Settled is how long after the last change all was right again, zero when it was
	// not within two minutes.
	Settled time.Duration
	Hash    uint64 // of the whole run: the same for the same configuration
}

func (c ChurnConfig) withDefaults() ChurnConfig {
	if c.Nodes == 0 {
		c.Nodes = 100
	}
	if c.Minutes == 0 {
		c.Minutes = 10
	}
	if c.Lookups == 0 {
		c.Lookups = 1000
	}
	if c.Delay == 0 {
		c.Delay = time.Millisecond
	}
	return c
}

// Churn runs nodes of package dht through joins and failures. It fails on numbers that
// make no sense, and when ctx ends. Progress, if not nil, is told the share that is
// done.
func Churn(ctx context.Context, cfg ChurnConfig, progress func(float64)) (ChurnReport, error) {
	cfg = cfg.withDefaults()
	if cfg.Nodes < 1 || cfg.Nodes > 1<<17 || cfg.Minutes < 0 || cfg.JoinsPerSecond < 0 || cfg.FailsPerSecond < 0 || cfg.Lookups < 0 || cfg.Delay < 0 || cfg.MaxMembers < 0 {
		return ChurnReport{}, fmt.Errorf("sim: churn of %d nodes, %v minutes, %v joins/s, %v fails/s, %d lookups: want none negative, 1 to %d nodes",
			cfg.Nodes, cfg.Minutes, cfg.JoinsPerSecond, cfg.FailsPerSecond, cfg.Lookups, 1<<17)
	}
	c := newChurn(cfg)
	for _, phase := range []func(context.Context, func(float64)) error{c.form, c.live, c.settle} {
		if err := phase(ctx, progress); err != nil {
			return ChurnReport{}, fmt.Errorf("sim: churn: %w", err)
		}
	}
	c.report.Nodes, c.report.Hash = len(c.running), c.w.trace
	return c.report, nil
}

// churn is such a run.
type churn struct {
	cfg     ChurnConfig
	w       *world
	rng     *rand.Rand
	running []*host // by ID
	asked   map[lookupKey]*host
	report  ChurnReport
}

func newChurn(cfg ChurnConfig) *churn {
	c := &churn{cfg: cfg, w: newWorld(cfg.Seed, dht.Config{MaxMembers: cfg.MaxMembers}), asked: map[lookupKey]*host{}}
	c.rng = c.w.rng
	c.w.net.delay, c.w.net.refuses = cfg.Delay, cfg.Refuses
	c.w.watch = func(h *host, e dht.Event) {
		if done, ok := e.(dht.LookupDone); ok {
			c.answered(h, done)
		}
	}
	return c
}

func byPlace(h *host, id dht.ID) int { return h.self.ID.Compare(id) }

// owner is world's, without sorting all nodes for each question.
func (c *churn) owner(key dht.ID) *host {
	i, _ := slices.BinarySearchFunc(c.running, key, byPlace)
	return c.running[i%len(c.running)]
}

func (c *churn) start() {
	h := c.w.add()
	var contacts []*host
	for range min(2, len(c.running)) {
		contacts = append(contacts, c.running[c.rng.IntN(len(c.running))])
	}
	i, _ := slices.BinarySearchFunc(c.running, h.self.ID, byPlace)
	c.running = slices.Insert(c.running, i, h)
	c.w.start(h, contacts...)
}

// form starts the first nodes.
func (c *churn) form(ctx context.Context, progress func(float64)) error {
	for range c.cfg.Nodes {
		c.start()
	}
	for c.w.now < time.Minute {
		c.w.run(c.w.now + 250*time.Millisecond)
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.w.whole() == nil {
			c.report.Formed = c.w.now
			break
		}
	}
	tellProgress(progress, 0.1)
	return nil
}

func tellProgress(progress func(float64), share float64) {
	if progress != nil {
		progress(share)
	}
}

// live lets nodes come and go, and looks keys up.
func (c *churn) live(ctx context.Context, progress func(float64)) error {
	begin := c.w.now
	length := time.Duration(c.cfg.Minutes * float64(time.Minute))
	joins, fails := c.schedule(length, c.cfg.JoinsPerSecond), c.schedule(length, c.cfg.FailsPerSecond)
	before, seconds := c.w.traffic, 0.0
	const step = 100 * time.Millisecond
	for at := time.Duration(0); at < length; at += step {
		c.w.run(begin + at)
		for ; len(joins) > 0 && joins[0] <= at; joins = joins[1:] {
			c.start()
			c.report.Joins++
		}
		for ; len(fails) > 0 && fails[0] <= at; fails = fails[1:] {
			c.fail()
		}
		for c.report.Lookups < int(float64(c.cfg.Lookups)*float64(at+step)/float64(length)) {
			c.look()
		}
		seconds += step.Seconds() * float64(len(c.running))
		if err := ctx.Err(); err != nil {
			return err
		}
		tellProgress(progress, 0.1+0.8*float64(at)/float64(length))
	}
	c.w.run(begin + length)
	sent, bytes := c.w.traffic.messages-before.messages, c.w.traffic.bytes-before.bytes
	c.report.Messages, c.report.Bytes = float64(sent)/seconds, float64(bytes)/seconds
	c.report.Wire = c.report.Bytes + c.report.Messages*(overhead+66/2)
	return nil
}

// schedule draws the instants of a Poisson process.
func (c *churn) schedule(length time.Duration, perSecond float64) (list []time.Duration) {
	if perSecond <= 0 {
		return nil
	}
	for at := 0.0; ; {
		at += c.rng.ExpFloat64() / perSecond
		if at >= length.Seconds() {
			return list
		}
		list = append(list, time.Duration(at*float64(time.Second)))
	}
}

func (c *churn) fail() {
	if len(c.running) <= 2 {
		return
	}
	i := c.rng.IntN(len(c.running))
	c.w.stop(c.running[i])
	c.running = slices.Delete(c.running, i, i+1)
	c.report.Fails++
}

func (c *churn) look() {
	h := c.running[c.rng.IntN(len(c.running))]
	key := c.w.point()
	c.report.Lookups++
	owner := c.owner(key)
	id := h.node.Lookup(c.w.local(h), key)
	c.asked[lookupKey{h.at, id}] = owner
	c.w.drain(h)
}

func (c *churn) answered(h *host, done dht.LookupDone) {
	k := lookupKey{h.at, done.ID}
	owner := c.asked[k]
	delete(c.asked, k)
	c.report.Timeouts.Add(done.Timeouts)
	switch {
	case done.Err != nil:
		c.report.Failed++
	case !done.Owner.Is(owner.self) && !done.Owner.Is(c.owner(done.Key).self):
		c.report.Wrong++
	default:
		c.report.Hops.Add(len(done.Hops))
	}
}

// settle waits until all is right again.
func (c *churn) settle(ctx context.Context, progress func(float64)) error {
	begin := c.w.now
	for c.w.now-begin < 2*time.Minute {
		c.w.run(c.w.now + 250*time.Millisecond)
		if err := ctx.Err(); err != nil {
			return err
		}
		if c.w.whole() == nil {
			c.report.Settled = c.w.now - begin
			break
		}
	}
	c.w.run(max(c.w.now, begin+15*time.Second)) // lookups end within ten
	tellProgress(progress, 1)
	return nil
}
