package topics_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
)

// liar makes up messages: of the right form, about things that are there, and wrong.
type liar struct {
	r     *rand.Rand
	w     *world
	at    []topics.Position
	ids   []topics.RequestID
	topic []string
}

func (l *liar) position() topics.Position {
	switch l.r.IntN(6) {
	case 0:
		return topics.Position{}
	case 1:
		return topics.Position{Epoch: 1<<62 - 1 - l.r.Uint64N(3), Seq: l.r.Uint64N(1 << 62)}
	case 2:
		return topics.Position{Epoch: l.r.Uint64N(1 << 30), Seq: l.r.Uint64N(100)}
	}
	if len(l.at) == 0 {
		return topics.Position{Epoch: 1, Seq: 1}
	}
	p := l.at[l.r.IntN(len(l.at))]
	p.Seq += l.r.Uint64N(5)
	return p
}

func (l *liar) peer() dht.Peer { return l.w.nodes[l.r.IntN(len(l.w.nodes))].self }

func (l *liar) id() topics.RequestID {
	if len(l.ids) > 0 && l.r.IntN(2) == 0 {
		return l.ids[l.r.IntN(len(l.ids))]
	}
	// Not of a request that will be made: who forwards messages can forge them.
	return topics.RequestID{From: l.peer().ID, Incarnation: 0, Number: l.r.Uint64N(20)}
}

func (l *liar) coin() bool { return l.r.IntN(2) == 0 }

func (l *liar) message() topics.Message {
	t := l.topic[l.r.IntN(len(l.topic))]
	payload := make([]byte, l.r.IntN(3)*1000)
	switch l.r.IntN(11) {
	case 0:
		return topics.Request{
			Kind: topics.Kind(l.r.IntN(3)), Number: l.r.Uint64N(20), Oldest: l.r.Uint64N(20),
			Key: topics.TopicID(l.w.space, t), Service: t, Payload: payload, Wait: time.Duration(l.r.Int64N(int64(time.Hour))),
		}
	case 1:
		return topics.Reply{Number: l.r.Uint64N(20), Status: topics.Status(l.r.IntN(6)), Payload: payload, At: l.position()}
	case 2, 3:
		return topics.Attach{
			Topic: t, At: l.position(), Seen: l.position(), Fresh: l.coin(), Nodes: l.r.Uint64(), Moved: l.coin(), Try: l.r.Uint64N(3),
		}
	case 4:
		return topics.Attached{Topic: t, At: l.position(), Newest: l.position(), Path: []dht.ID{l.peer().ID, l.peer().ID}, Wanted: l.coin()}
	case 5:
		return topics.Redirect{Topic: t, To: l.peer()}
	case 6:
		return topics.Detach{Topic: t, Move: l.coin()}
	case 7:
		return topics.Forward{
			Topic: t, Role: topics.Role(l.r.IntN(3)), At: l.position(), After: l.position(), Missed: l.coin(), ID: l.id(),
			Payload: payload, Age: time.Duration(l.r.Int64N(int64(time.Hour))),
		}
	case 8:
		return topics.Ack{Topic: t, Role: topics.Role(l.r.IntN(3)), At: l.position(), Try: l.r.Uint64N(3)}
	case 9:
		return topics.Offer{Topic: t, ID: l.id(), Payload: payload, Wait: time.Minute, Again: l.coin()}
	}
	return topics.Outcome{Topic: t, ID: l.id(), Status: topics.Status(l.r.IntN(6)), Payload: payload, Asked: l.r.Uint64(), By: l.peer().ID}
}

// One member of ten lies about everything it can. Nobody panics, nobody holds more than
// its bounds, and when the liar is gone the others are a tree again that works.
func TestLiar_IsSurvived(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 5
	}
	for seed := range uint64(seeds) {
		w := newWorld(t, seed, 10, topics.Config{
			MaxChildren: 3, Renew: 2 * time.Second,
			Limits: topics.Limits{Topics: 8, Window: 32, WindowBytes: 1 << 17, Handled: 64, Offers: 16},
		})
		l := &liar{r: w.sim.Rand(), w: w, topic: []string{"a", "b", "t"}}
		w.subscribe("t", 0, 1, 2, 3, 4, 5, 6, 7, 8)
		w.sim.RunFor(time.Second)
		liar := w.nodes[9].self
		for range 300 {
			to := l.r.IntN(9)
			w.do(to, func(m *member, now time.Time) {
				for range 4 {
					b := topics.AppendMessage(nil, l.message())
					if msg, err := topics.ParseMessage(b); err == nil {
						m.HandleMessage(now, liar, msg)
					}
				}
			})
			if l.r.IntN(10) == 0 {
				l.ids = append(l.ids, w.nodes[to].ID(w.publish(to, "t", "x")))
			}
			w.sim.RunFor(time.Duration(l.r.Int64N(int64(50 * time.Millisecond))))
			for i, m := range w.nodes {
				st := m.State()
				if len(st.Topics) > 8 || st.Handled > 64 || st.Offers > 16 {
					t.Fatalf("seed %d: node %d: %+v", seed, i, st)
				}
				for _, tp := range st.Topics {
					l.at = append(l.at[max(0, len(l.at)-20):], tp.At)
					if tp.Kept > 32 || tp.Bytes > 1<<17 || len(tp.Children) > 3 {
						t.Fatalf("seed %d: node %d: %+v", seed, i, tp)
					}
				}
			}
		}
		w.crash(9)
		w.settleRing()
		w.sim.RunFor(time.Minute)
		before := map[int]int{}
		for i := range 9 {
			before[i] = len(w.nodes[i].got["t"])
		}
		var n uint64
		for range 3 {
			n = w.publish(3, "t", "after")
			w.sim.RunFor(5 * time.Second)
		}
		if _, ok := w.nodes[3].outcome(n).(topics.Published); !ok {
			t.Errorf("seed %d: %+v", seed, w.nodes[3].outcome(n))
		}
		for i := range 9 {
			if got := texts(w.nodes[i].got["t"][before[i]:]); len(got) != 3 {
				t.Errorf("seed %d: node %d got %q: %+v", seed, i, got, w.nodes[i].State())
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}
