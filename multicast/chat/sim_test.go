package chat

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast/seal"
)

// stream is a source of bytes that follows from a seed.
type stream struct{ r *rand.Rand }

func (s stream) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.r.Uint32())
	}
	return len(b), nil
}

// party is a room of several members on a simulated link.
type party struct {
	t     testing.TB
	sim   *netsim.Sim[Packet, Event]
	cfg   RoomConfig
	rooms []*Room
	// heard is what each node's user was shown: per author its messages.
	heard []map[MemberID][]Message
	log   []map[string]int // of each node, other events by text
}

func newParty(t testing.TB, seed uint64, cfg RoomConfig, f netsim.Faults) *party {
	p := &party{t: t, sim: netsim.New[Packet, Event](seed), cfg: cfg}
	p.sim.Segment("lan").Faults = f
	p.sim.Encode = func(b []byte, k Packet) []byte { return append(b, k.Data...) }
	p.sim.Event = func(id netsim.ID, _ time.Time, e Event) {
		if m, ok := e.(Message); ok {
			p.heard[id][m.From.ID] = append(p.heard[id][m.From.ID], m)
			return
		}
		p.log[id][e.String()]++
	}
	return p
}

// enter makes a member's engine.
func (p *party) enter(name string) *Room {
	cfg := p.cfg
	cfg.Name = name
	cfg.Rand = rand.New(rand.NewPCG(p.sim.Rand().Uint64(), 1))
	cfg.Random = stream{rand.New(rand.NewPCG(p.sim.Rand().Uint64(), 2))}
	r, err := NewRoom(p.sim.Now(), cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// join adds a member on a new node.
func (p *party) join(name string) netsim.ID {
	r := p.enter(name)
	p.rooms = append(p.rooms, r)
	p.heard = append(p.heard, map[MemberID][]Message{})
	p.log = append(p.log, map[string]int{})
	return p.sim.Attach(r, "lan").ID
}

func (p *party) say(id netsim.ID, text string) {
	p.sim.Do(id, func(now time.Time) {
		if err := p.rooms[id].Say(now, text); err != nil {
			p.t.Errorf("node %d: %v", id, err)
		}
	})
}

func (p *party) leave(id netsim.ID) { p.sim.Do(id, p.rooms[id].Leave) }

// texts returns what a node was shown of an author.
func (p *party) texts(id netsim.ID, author MemberID) (list []string) {
	for _, m := range p.heard[id][author] {
		list = append(list, m.Text)
	}
	return list
}

// wantAgreement checks that the nodes were shown the same messages of each author,
// in the order of their sequences, each once.
func (p *party) wantAgreement(ids ...netsim.ID) {
	p.t.Helper()
	for _, id := range ids {
		for author, list := range p.heard[id] {
			for i, m := range list {
				if i > 0 && m.Sequence != list[i-1].Sequence+1 {
					p.t.Errorf("node %d: message %d of %v after %d", id, m.Sequence, author, list[i-1].Sequence)
				}
			}
		}
		for text, n := range p.log[id] {
			if strings.Contains(text, "lost") {
				p.t.Errorf("node %d: %s (%d times)", id, text, n)
			}
		}
	}
	for author, want := range p.heard[ids[0]] {
		for _, id := range ids[1:] {
			if got := p.texts(id, author); !slices.Equal(got, textsOf(want)) {
				p.t.Errorf("of %v node %d was shown %d messages, node %d %d", author, ids[0], len(want), id, len(got))
			}
		}
	}
	for _, id := range ids[1:] {
		if len(p.heard[id]) != len(p.heard[ids[0]]) {
			p.t.Errorf("node %d has heard %d authors, node %d %d", ids[0], len(p.heard[ids[0]]), id, len(p.heard[id]))
		}
	}
}

func textsOf(list []Message) (texts []string) {
	for _, m := range list {
		texts = append(texts, m.Text)
	}
	return texts
}

// sealedConfig is the configuration of a sealed room.
func sealedConfig() RoomConfig { return RoomConfig{Room: "test", Secret: &seal.Secret{1}} }

// simSeeds returns how many seeds to run: AETHER_SIM_SEEDS, else few.
func simSeeds(t testing.TB, few int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("AETHER_SIM_SEEDS"), strconv.Itoa(few)))
	if err != nil {
		t.Fatal("AETHER_SIM_SEEDS: ", err)
	}
	return n
}

// life runs five members through loss, a partition, a crash, a restart, joins and
// leaves, and returns the trace.
func life(t testing.TB, seed uint64) uint64 {
	chance := rand.New(rand.NewPCG(seed, 3))
	cfg := RoomConfig{Room: "test"}
	if seed%4 != 0 {
		cfg = sealedConfig()
	}
	f := netsim.Faults{
		Delay: time.Millisecond, Jitter: time.Duration(chance.IntN(5)) * time.Millisecond,
		Loss: 0.05 + 0.15*chance.Float64(), Duplicate: 0.02, Reorder: 0.05,
	}
	p := newParty(t, seed, cfg, f)
	for i := range 5 {
		p.join(fmt.Sprint("m", i))
		p.sim.RunFor(time.Duration(chance.IntN(800)) * time.Millisecond)
	}
	n := 0
	talk := func(d time.Duration, ids ...netsim.ID) {
		for end := p.sim.Elapsed() + d; p.sim.Elapsed() < end; {
			id := ids[chance.IntN(len(ids))]
			n++
			text := fmt.Sprint("message ", n)
			if chance.IntN(20) == 0 {
				text += strings.Repeat(" and more", chance.IntN(2000))
			}
			p.say(id, text)
			p.sim.RunFor(time.Duration(chance.IntN(2000)) * time.Millisecond)
		}
	}
	talk(10*time.Second, 0, 1, 2, 3, 4)
	p.sim.Partition([]netsim.ID{0, 1}, []netsim.ID{2, 3, 4})
	talk(time.Duration(5+chance.IntN(60))*time.Second, 0, 1, 2, 3, 4)
	p.sim.Heal()
	talk(5*time.Second, 0, 1, 2, 3, 4)
	p.sim.Crash(4)
	talk(20*time.Second, 0, 1, 2, 3)
	p.sim.Attach(p.restart(4, "m4"), "lan")
	p.leave(3)
	talk(20*time.Second, 0, 1, 2, 5)
	p.join("late")
	talk(5*time.Second, 0, 1, 2, 5, 6)
	p.sim.RunFor(40 * time.Second)

	p.wantAgreement(0, 1, 2)
	p.wantTail(0, 5)
	p.wantTail(0, 6)
	p.wantMembers(5, 0, 1, 2, 5, 6)
	return p.sim.Trace()
}

// wantMembers checks that the nodes see n members. At 20 % loss one may just now
// count as vanished by chance, so it looks again for some beats.
func (p *party) wantMembers(n int, ids ...netsim.ID) {
	p.t.Helper()
	wrong := func(id netsim.ID) bool { return len(p.rooms[id].Members()) != n }
	for range 5 {
		if !slices.ContainsFunc(ids, wrong) {
			return
		}
		p.sim.RunFor(5 * time.Second)
	}
	for _, id := range ids {
		if wrong(id) {
			p.t.Errorf("node %d sees %v", id, p.rooms[id].Members())
		}
	}
}

// restart makes a new engine, with a new ID, for who crashed as node id.
func (p *party) restart(_ netsim.ID, name string) *Room {
	r := p.enter(name)
	p.rooms = append(p.rooms, r)
	p.heard = append(p.heard, map[MemberID][]Message{})
	p.log = append(p.log, map[string]int{})
	return r
}

// wantTail checks that a late node was shown the last messages of each author, in
// order, as the other was.
func (p *party) wantTail(whole, late netsim.ID) {
	p.t.Helper()
	for author, list := range p.heard[whole] {
		got := p.heard[late][author]
		want := list[len(list)-min(len(list), max(len(got), 1)):]
		if !slices.Equal(textsOf(got), textsOf(want)) {
			p.t.Errorf("late node %d was shown %d of %d messages of %v", late, len(got), len(list), author)
		}
	}
}

func TestRoom_EveryMemberEndsWithTheSameMessages(t *testing.T) {
	for seed := range uint64(simSeeds(t, 40)) {
		first, second := life(t, seed), life(t, seed)
		if first != second {
			t.Errorf("seed %d: traces %016x and %016x", seed, first, second)
		}
		if t.Failed() {
			t.Fatalf("seed %d, trace %016x", seed, first)
		}
	}
}

// Who comes late gets the past about once, from one member, however many have it.
func TestRoom_LateJoinerIsServedByOne(t *testing.T) {
	for seed := range uint64(simSeeds(t, 10)) {
		p := newParty(t, seed, sealedConfig(), netsim.Faults{Delay: time.Millisecond, Jitter: time.Millisecond})
		for i := range 9 {
			p.join(fmt.Sprint("m", i))
		}
		p.sim.RunFor(5 * time.Second)
		for i := range 90 {
			p.say(netsim.ID(i%9), fmt.Sprint("message ", i))
			p.sim.RunFor(50 * time.Millisecond)
		}
		p.sim.RunFor(5 * time.Second)
		late := p.join("late")
		p.sim.RunFor(2 * time.Second)
		got, repairs, requests := 0, uint64(0), uint64(0)
		for _, list := range p.heard[late] {
			got += len(list)
			for _, m := range list {
				if !m.Past {
					t.Errorf("seed %d: %v is not marked as past", seed, m)
				}
			}
		}
		for _, r := range p.rooms {
			repairs += r.Stats().Repairs
			requests += r.Stats().Requests
		}
		if got != 90 || repairs > 135 || requests > 20 {
			t.Errorf("seed %d: %d messages after 2 s, %d repairs, %d requests", seed, got, repairs, requests)
		}
		if testing.Verbose() {
			t.Logf("seed %d: %d repairs and %d requests for 90 messages", seed, repairs, requests)
		}
	}
}

// chaos partitions and suspends members at random, for longer than patience lasts,
// and returns the trace. In the end all have every message once; what came late is
// marked, and all else is in order.
func chaos(t testing.TB, seed uint64) uint64 {
	chance := rand.New(rand.NewPCG(seed, 4))
	cfg := sealedConfig()
	cfg.Patience = 20 * time.Second
	p := newParty(t, seed, cfg, netsim.Faults{Delay: time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.2 * chance.Float64()})
	for i := range 5 {
		p.join(fmt.Sprint("m", i))
	}
	p.sim.RunFor(5 * time.Second)
	down := make([]bool, 5)
	for n := range 150 {
		id := netsim.ID(chance.IntN(5))
		switch chance.IntN(12) {
		case 0:
			cut := 1 + chance.IntN(4)
			order := chance.Perm(5)
			var groups [2][]netsim.ID
			for i, o := range order {
				groups[min(i/cut, 1)] = append(groups[min(i/cut, 1)], netsim.ID(o))
			}
			p.sim.Partition(groups[0], groups[1])
		case 1:
			p.sim.Heal()
		case 2: // a message that nobody heard, one that all hear, then silence
			if down[id] {
				continue
			}
			p.sim.Partition([]netsim.ID{id})
			p.say(id, fmt.Sprint("unheard ", n))
			p.sim.RunFor(time.Millisecond * 5)
			p.sim.Heal()
			p.say(id, fmt.Sprint("last word ", n))
			p.sim.RunFor(time.Millisecond * 5)
			down[id] = true
			p.sim.Crash(id)
		case 3:
			if down[id] = !down[id]; down[id] {
				p.sim.Crash(id)
			} else {
				p.sim.Restart(id, p.rooms[id])
			}
		default:
			if !down[id] {
				p.say(id, fmt.Sprint("message ", n))
			}
		}
		p.sim.RunFor(time.Duration(chance.IntN(6000)) * time.Millisecond)
	}
	p.sim.Heal()
	for id, d := range down {
		if d {
			p.sim.Restart(netsim.ID(id), p.rooms[id])
		}
	}
	p.sim.RunFor(2 * time.Minute)
	for id, r := range p.rooms {
		own := r.log.own().next - 1
		for other := range p.rooms {
			list := p.heard[other][r.Self().ID]
			seen, last := map[uint64]bool{}, uint64(0)
			for _, m := range list {
				if seen[m.Sequence] || !m.Late && m.Sequence <= last {
					t.Errorf("node %d: %v again or out of order", other, m)
				}
				seen[m.Sequence] = true
				if !m.Late {
					last = m.Sequence
				}
			}
			if uint64(len(seen)) != own {
				t.Errorf("node %d was shown %d of %d messages of node %d", other, len(seen), own, id)
			}
		}
		if !slices.EqualFunc(r.History(), p.rooms[0].History(), func(a, b Message) bool { return a.From.ID == b.From.ID && a.Sequence == b.Sequence && a.Text == b.Text }) {
			t.Errorf("nodes 0 and %d have other histories", id)
		}
		p.wantSums(r)
	}
	return p.sim.Trace()
}

func TestRoom_ChaosEndsInAgreement(t *testing.T) {
	for seed := range uint64(simSeeds(t, 20)) {
		first, second := chaos(t, seed), chaos(t, seed)
		if first != second {
			t.Errorf("seed %d: traces %016x and %016x", seed, first, second)
		}
		if t.Failed() {
			t.Fatalf("seed %d, trace %016x", seed, first)
		}
	}
}
