package replica

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/peer"
)

// impostor is somebody who knows the secret and speaks for a node that is away.
type impostor struct {
	t     *testing.T
	c     *peer.Client
	count uint64
}

func (p *pod) impostor(ctx context.Context, at paxos.NodeID) *impostor {
	c, err := peer.Dial(ctx, p.members[at], ClusterID(""), nil, []byte("s"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close(); <-c.Done() })
	return &impostor{t: p.t, c: c}
}

// say sends messages as they stand, in one batch.
func (i *impostor) say(ctx context.Context, list ...[]byte) error {
	i.count++
	var body []byte
	for _, b := range list {
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(b))), b...)
	}
	header := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 1), i.count)
	_, _, err := i.c.Call(ctx, 1, header, body) // the method of batches
	return err
}

// A running node hears messages of another cluster, of a disk that its member does not
// have any more, of a later version, cut off, twice and out of order: nothing moves it,
// and it says so where there is somebody to say it to.
func TestReplica_ForeignMessagesMoveNothing(t *testing.T) {
	p, ctx := newPod(t, 3, nil), soon(t)
	c := p.client()
	put(t, ctx, c, "k", "v")
	lead := p.leader(ctx)
	away := lead%3 + 1
	p.kill(away)
	put(t, ctx, c, "k", "w")
	before, err := p.running[lead].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chosen := before.Slots.Chosen
	bodies := func(ballot paxos.Ballot) []paxos.Body {
		entry := paxos.Entry{Slot: 1, Ballot: ballot, Value: []byte("another value")}
		next := paxos.Entry{Slot: chosen + 1, Ballot: ballot, Value: []byte("another value")}
		return []paxos.Body{
			paxos.Prepare{Ballot: ballot, First: 1}, paxos.Accept{Ballot: ballot, First: 1, Entries: []paxos.Entry{entry}, Chosen: chosen},
			paxos.Accept{Ballot: ballot, First: chosen + 1, Entries: []paxos.Entry{next}, Chosen: chosen + 1}, paxos.Promise{Ballot: ballot},
			paxos.Nack{Ballot: before.Ballot, Promised: ballot}, paxos.CaughtUp{Entries: []paxos.Entry{entry, next}[:1], Chosen: chosen + 1},
			paxos.Accepted{Ballot: before.Ballot, Through: chosen + 9, Round: 1 << 30, Chosen: chosen}, paxos.TakeOver{Ballot: ballot}, paxos.Removed{Slot: 1 << 30},
			paxos.Offer{Snapshot: paxos.Snapshot{Slot: 1, Size: 1 << 40}}, paxos.Poll{Ballot: ballot}, paxos.CatchUp{First: 1}, paxos.Hello{Asking: true},
		}
	}
	high, low := bodies(paxos.Ballot{Round: 1 << 40, Node: away}), bodies(paxos.Ballot{Node: away})
	rogue := p.impostor(ctx, lead)
	for round := range 3 { // again, and after what came later
		for i, b := range high {
			m := paxos.Message{From: away, To: lead, Cluster: ClusterID("another"), Incarnation: 4711, Body: b}
			other := m.Append(nil)
			m.Cluster, m.Body = ClusterID(""), low[i]
			old := m.Append(nil) // of a disk that is not there any more
			if err := rogue.say(ctx, old, other, old); err != nil {
				t.Errorf("round %d, %T: %v", round, b, err)
			}
			m.Body = b
			later := m.Append(nil)
			later[0]++
			if err := rogue.say(ctx, later); err == nil || !strings.Contains(err.Error(), "version") {
				t.Errorf("%T of a later version: %v", b, err)
			}
			if err := rogue.say(ctx, later[:len(later)-1]); err == nil {
				t.Errorf("%T cut off: no error", b)
			}
		}
	}
	put(t, ctx, c, "k", "x") // in order behind them
	after, err := p.running[lead].Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s := after.Slots; after.Ballot.Round > before.Ballot.Round+10 || s.Chosen > chosen+10 {
		t.Errorf("before %+v, %v, after %+v, %v", before.Slots, before.Ballot, s, after.Ballot)
	}

	// Their acknowledgements are not votes: without a majority nothing is done.
	lead = p.leader(ctx)
	third := 6 - lead - away
	p.kill(third)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		rogue := p.impostor(ctx, lead)
		s, err := p.running[lead].Status(ctx)
		for err == nil && short.Err() == nil {
			m := paxos.Message{From: away, To: lead, Cluster: ClusterID(""), Incarnation: 4711, Confirmed: true}
			m.Body = paxos.Accepted{Ballot: s.Ballot, Through: s.Slots.Accepted + 1, Round: 1 << 30, Chosen: s.Slots.Chosen}
			err = rogue.say(ctx, m.Append(nil))
		}
		done <- err
	}()
	if err := c.query(short, methodGet, getRequest{Key: []byte("k")}, &getReply{}); err == nil {
		t.Error("a read was confirmed by nobody")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.start(third, false)
	if v, ok, err := c.Get(ctx, []byte("k"), false); err != nil || !ok || string(v.Value) != "x" {
		t.Errorf("k is %q, %v, %v", v.Value, ok, err)
	}
}
