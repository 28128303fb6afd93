package topics_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/topics"
	"github.com/aether-lan/aether/internal/netsim"
)

// chaos says what goes wrong in a simulated world.
type chaos struct {
	nodes      int
	loss       float64
	crash      bool // nodes die, one at a time, and come back knowing nothing
	partition  bool // the ring parts in two and merges
	subscribes bool // subscriptions come and go
	mutation   topics.Mutation
}

// life is one subscription of one node: what it must get, and what it got.
type life struct {
	node  int
	since time.Duration // when it had a place
	first int           // index of its first delivery
	gaps  bool
}

// scene runs a chaotic world and keeps what is needed to judge it.
type scene struct {
	*world
	c         chaos
	lives     map[int]*life
	published map[string]time.Duration // text: when it was begun, for those told as Published
	begun     map[uint64]string        // by node<<32|number
	when      map[string]time.Duration
	texts     int
	log       func(format string, a ...any)
}

const sceneTopic = "scene"

func newScene(t testing.TB, seed uint64, c chaos) *scene {
	w := &world{t: t, mutation: c.mutation}
	w.make(seed, c.nodes, topics.Config{MaxChildren: 3, Renew: 2 * time.Second})
	s := &scene{
		world: w, c: c, lives: map[int]*life{}, published: map[string]time.Duration{},
		begun: map[uint64]string{}, when: map[string]time.Duration{},
	}
	w.sim.Segment("lan").Faults = netsim.Faults{Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Loss: c.loss}
	w.sim.Event = s.event
	return s
}

func (s *scene) event(id netsim.ID, _ time.Time, ev topics.Event) {
	i := int(id)
	if _, ok := ev.(topics.Delivered); !ok && s.log != nil {
		s.log("node %d: %T%+v", i, ev, ev)
	}
	switch ev := ev.(type) {
	case topics.Published:
		// One that only its root had, and told so, may die with it.
		if text := s.begun[uint64(i)<<32|ev.Number]; text != "" && (ev.Copies > 1 || !s.c.crash) {
			s.published[text] = s.when[text]
		}
	case topics.Subscribed:
		if l := s.lives[i]; l != nil && l.since < 0 {
			l.since = s.sim.Elapsed()
		}
	case topics.Gap:
		if l := s.lives[i]; l != nil {
			l.gaps = true
		}
	}
}

func (s *scene) live(r *rand.Rand) int {
	for {
		if i := r.IntN(len(s.nodes)); s.alive[i] {
			return i
		}
	}
}

func (s *scene) publishOne(i int) {
	s.texts++
	s.note("publish m%d at %d (group %d; root %d)", s.texts, i, s.group[i], s.rootOf(sceneTopic))
	text := fmt.Sprint("m", s.texts)
	s.when[text] = s.sim.Elapsed()
	s.do(i, func(m *member, now time.Time) {
		n := m.Publish(now, sceneTopic, []byte(text))
		s.begun[uint64(i)<<32|n] = text
		if p, ok := m.outcome(n).(topics.Published); ok {
			s.event(number(m.self), now, p)
		}
	})
}

// begin begins a subscription.
func (s *scene) begin(i int) {
	s.lives[i] = &life{node: i, since: -1, first: len(s.nodes[i].got[sceneTopic])}
	s.subscribe(sceneTopic, i)
}

// end judges a subscription that ends.
func (s *scene) end(i int) {
	s.judge(s.lives[i], false)
	delete(s.lives, i)
}

func (s *scene) judge(l *life, whole bool) {
	if l == nil {
		return
	}
	got := texts(s.nodes[l.node].got[sceneTopic][l.first:])
	had := map[string]bool{}
	for _, text := range got {
		if had[text] {
			s.t.Errorf("node %d got %s twice", l.node, text)
		}
		had[text] = true
	}
	if !whole || l.gaps || l.since < 0 {
		return
	}
	var missed []string
	for text, at := range s.published {
		if at > l.since && !had[text] {
			missed = append(missed, fmt.Sprint(text, " of ", at))
		}
	}
	if slices.Sort(missed); len(missed) > 0 {
		s.t.Errorf("node %d, subscribed since %v, did not get %d messages: %q", l.node, l.since, len(missed), missed[:min(3, len(missed))])
	}
}

func (s *scene) run() {
	r := s.sim.Rand()
	for i := range s.nodes {
		if i%4 != 3 {
			s.begin(i)
		}
	}
	s.sim.RunFor(5 * time.Second)
	dead, parted := -1, false
	for range 60 {
		s.sim.RunFor(time.Duration(r.Int64N(int64(500 * time.Millisecond))))
		for range r.IntN(4) {
			s.publishOne(s.live(r))
		}
		switch k := r.IntN(12); {
		case k == 0 && s.c.crash && dead < 0 && !parted:
			dead = s.live(r)
			if r.IntN(2) == 0 {
				dead = s.rootOf(sceneTopic)
			}
			delete(s.lives, dead) // died: nothing more is owed
			s.crash(dead)
			s.note("crash %d", dead)
			s.spread(1500 * time.Millisecond)
		case k == 1 && dead >= 0:
			s.sim.RunFor(3 * time.Second)
			s.restart(dead)
			maps.DeleteFunc(s.begun, func(k uint64, _ string) bool { return k>>32 == uint64(dead) })
			s.note("restart %d", dead)
			s.spread(1500 * time.Millisecond)
			s.sim.RunFor(3 * time.Second)
			s.begin(dead)
			dead = -1
		case k == 2 && s.c.partition && !parted && dead < 0:
			s.part(r)
			s.note("part %v", s.group)
			parted = true
		case k == 3 && parted:
			s.note("merge")
			s.merge()
			parted = false
			// What was published on one side is handed over now; that survives the death of
			// any node afterwards.
			s.sim.RunFor(15 * time.Second)
		case k == 4 && s.c.subscribes:
			if i := s.live(r); s.lives[i] != nil {
				s.note("unsubscribe %d", i)
				s.end(i)
				s.do(i, func(m *member, now time.Time) { m.Unsubscribe(now, sceneTopic) })
			} else {
				s.note("subscribe %d", i)
				s.begin(i)
			}
		}
	}
	s.merge()
	s.sim.Segment("lan").Faults.Loss = 0
	s.sim.RunFor(40 * time.Second)
	for range 5 {
		s.publishOne(s.live(r))
		s.sim.RunFor(time.Second)
	}
	s.sim.RunFor(20 * time.Second)
	for _, l := range s.lives {
		s.judge(l, true)
	}
	s.whole()
}

// note tells what happens, for whoever looks for a fault.
func (s *scene) note(format string, a ...any) {
	if s.log != nil {
		s.log(format, a...)
	}
}

func (s *scene) part(r *rand.Rand) {
	var sides [2][]netsim.ID
	for i := range s.nodes {
		s.group[i] = r.IntN(2)
		sides[s.group[i]] = append(sides[s.group[i]], netsim.ID(i))
	}
	s.sim.Partition(sides[0], sides[1])
	s.spread(1500 * time.Millisecond)
}

func (s *scene) merge() {
	clear(s.group)
	s.sim.Heal()
	s.spread(1500 * time.Millisecond)
}

// whole checks that the tree is one: all who have a part hang below the root.
func (s *scene) whole() {
	root := s.rootOf(sceneTopic)
	for i, m := range s.nodes {
		if !s.alive[i] || s.lives[i] == nil {
			continue
		}
		at := i
		for steps := 0; at != root; steps++ {
			st := s.nodes[at].State().Topics
			if len(st) == 0 || steps > len(s.nodes) {
				s.t.Errorf("node %d does not hang below the root %d", i, root)
				break
			}
			next := slices.IndexFunc(s.nodes, func(n *member) bool { return n.self.ID == st[0].Parent })
			if next < 0 {
				s.t.Errorf("node %d: above it %d has no parent (root is %d)", i, at, root)
				break
			}
			at = next
		}
		if st := m.State(); len(st.Topics) > 0 && len(st.Topics[0].Children) > 3 {
			s.t.Errorf("node %d has %d children", i, len(st.Topics[0].Children))
		}
	}
}

// sameOrder checks that all got what they have in common in one order.
func (s *scene) sameOrder() {
	place := map[string]int{}
	var longest []string
	for _, l := range s.lives {
		if got := texts(s.nodes[l.node].got[sceneTopic][l.first:]); len(got) > len(longest) {
			longest = got
		}
	}
	for i, text := range longest {
		place[text] = i
	}
	for i, l := range s.lives {
		last := -1
		for _, text := range texts(s.nodes[l.node].got[sceneTopic][l.first:]) {
			if p, ok := place[text]; ok {
				if p < last {
					s.t.Errorf("node %d got %s in another order", i, text)
				}
				last = p
			}
		}
	}
}

func TestSim_EachSubscriberGetsEachMessageOnce(t *testing.T) {
	seeds := 25
	if testing.Short() {
		seeds = 5
	}
	for name, c := range map[string]chaos{
		"calm":      {nodes: 12},
		"lossy":     {nodes: 12, loss: 0.05},
		"comings":   {nodes: 12, subscribes: true},
		"deaths":    {nodes: 12, crash: true},
		"partition": {nodes: 12, partition: true},
		"all":       {nodes: 16, loss: 0.03, crash: true, partition: true, subscribes: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(seeds) {
				s := newScene(t, seed, c)
				s.run()
				if name != "all" { // several things at once may cost a child its place; it hears of that
					s.noGaps()
				}
				if !c.partition {
					s.sameOrder()
				}
				if t.Failed() {
					for i, m := range s.nodes {
						t.Logf("node %d (%x) alive %v: %+v", i, m.self.ID[:2], s.alive[i], m.State())
					}
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// recorder takes the complaints of a test that is to fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestSim_FindsPlantedMistakes(t *testing.T) {
	for name, c := range map[string]chaos{
		"the root does not wait for its mirrors":   {nodes: 12, crash: true, mutation: topics.CommitAlone},
		"messages are not known by their ID":       {nodes: 12, partition: true, mutation: topics.ForgetSeen},
		"a former root keeps its messages":         {nodes: 12, partition: true, mutation: topics.KeepToItself},
		"a root beside this one is not noticed":    {nodes: 12, partition: true, mutation: topics.IgnoreSeen},
		"what is lost is not sent again":           {nodes: 12, loss: 0.05, mutation: topics.SendOnce},
		"a child takes what comes after a loss":    {nodes: 12, loss: 0.05, mutation: topics.TakeAnything},
		"what a child lacks is not fetched for it": {nodes: 12, crash: true, subscribes: true, mutation: topics.StaySmall},
		"an Ack of an earlier search for a place":  {nodes: 16, loss: 0.03, crash: true, subscribes: true, mutation: topics.AnyAck},
		"no child is ever sent on":                 {nodes: 12, mutation: topics.ManyChildren},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				r := &recorder{TB: t}
				s := newScene(r, seed, c)
				s.run()
				s.noGaps()
				if !c.partition {
					s.sameOrder()
				}
				if r.failed {
					t.Logf("seed %d finds it", seed)
					return
				}
			}
			t.Error("300 seeds do not find it")
		})
	}
}

func TestSim_SameSeedSameTrace(t *testing.T) {
	c := chaos{nodes: 16, loss: 0.03, crash: true, partition: true, subscribes: true}
	for seed := range uint64(5) {
		a, b := newScene(t, seed, c), newScene(t, seed, c)
		a.run()
		b.run()
		if a.sim.Trace() != b.sim.Trace() {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}

// noGaps checks that nobody was told of a gap: the window is larger than anything that
// goes wrong in a scene.
func (s *scene) noGaps() {
	for i, l := range s.lives {
		if l.gaps {
			s.t.Errorf("node %d was told of a gap", i)
		}
	}
}
