package chat

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast/seal"
)

var noFaults = netsim.Faults{Delay: time.Millisecond}

// wantTexts checks what a node was shown of another's messages.
func (p *party) wantTexts(id, author netsim.ID, want ...string) {
	p.t.Helper()
	if got := p.texts(id, p.rooms[author].Self().ID); !slices.Equal(got, want) {
		p.t.Errorf("node %d was shown %q of node %d, want %q", id, got, author, want)
	}
}

// wantLog checks how often a node was told something.
func (p *party) wantLog(id netsim.ID, text string, n int) {
	p.t.Helper()
	if p.log[id][text] != n {
		p.t.Errorf("node %d was told %q %d times, want %d; of all %v", id, text, p.log[id][text], n, p.log[id])
	}
}

// Leaving and vanishing are two events, and each is told once.
func TestRoom_TellsLeavingFromVanishing(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob, cid := p.join("ana"), p.join("bob"), p.join("cid")
	p.sim.RunFor(10 * time.Second)
	p.wantLog(ana, "bob joined", 1)
	p.wantLog(cid, "ana joined", 1)
	p.leave(bob)
	p.sim.RunFor(time.Second)
	p.wantLog(ana, "bob left", 1)
	p.sim.Crash(cid)
	p.sim.RunFor(11 * time.Second)
	p.wantLog(ana, "cid vanished", 0)
	p.sim.RunFor(5 * time.Second)
	p.wantLog(ana, "cid vanished", 1)
	p.wantLog(ana, "bob vanished", 0)
	p.sim.Restart(cid, p.rooms[cid])
	p.sim.RunFor(5 * time.Second)
	p.wantLog(ana, "cid is back", 1)
}

// A goodbye that is overtaken by an older hello stays true; a later hello undoes one
// that somebody else said.
func TestRoom_GoodbyeHoldsAgainstOlderHellos(t *testing.T) {
	p := newParty(t, 1, RoomConfig{}, noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(5 * time.Second)
	wrap := func(k packet) Packet { b, _ := p.rooms[bob].env.wrap(k); return Packet{b} }
	beat := p.rooms[bob].pulse.beat
	p.sim.Inject(bob, ana, wrap(&goodbye{beat: beat + 2}))
	p.sim.Inject(bob, ana, wrap(&hello{beat: beat + 1, interval: 3000, name: "bob"}))
	p.wantLog(ana, "bob left", 1)
	p.wantLog(ana, "bob is back", 0)
	p.sim.RunFor(15 * time.Second) // bob knows nothing of it
	p.wantLog(ana, "bob is back", 1)
}

func TestRoom_TellsThoseOfOneNameApart(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana1, ana2, bob := p.join("ana"), p.join("ana"), p.join("bob")
	p.sim.RunFor(5 * time.Second)
	labels := map[string]bool{}
	for _, m := range p.rooms[bob].Members() {
		labels[m.Label] = true
	}
	id1, id2 := p.rooms[ana1].Self().ID, p.rooms[ana2].Self().ID
	want1, want2 := "ana#"+id1.String()[:4], "ana#"+id2.String()[:4]
	if len(labels) != 3 || !labels[want1] || !labels[want2] || !labels["bob"] {
		t.Errorf("labels %v", labels)
	}
	if got := p.rooms[ana1].Self().Label; got != want1 {
		t.Errorf("ana calls herself %q", got)
	}
	p.say(ana1, "hello")
	p.sim.RunFor(time.Second)
	if got := p.heard[bob][id1][0].From.Label; got != want1 {
		t.Errorf("message from %q", got)
	}
	p.leave(ana2)
	p.sim.RunFor(time.Second)
	if got := p.rooms[ana1].Self().Label; got != "ana" {
		t.Errorf("alone, ana calls herself %q", got)
	}
}

func TestRoom_LongMessages(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), netsim.Faults{Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.2})
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	var want []string
	for _, n := range []int{1, 960, pieceSize, 5000, MaxText} {
		text := strings.Repeat("x", n)
		want = append(want, text)
		p.say(ana, text)
	}
	p.sim.RunFor(30 * time.Second)
	p.wantTexts(bob, ana, want...)
	p.sim.Do(ana, func(now time.Time) {
		if err := p.rooms[ana].Say(now, strings.Repeat("x", MaxText+1)); !errors.Is(err, ErrText) {
			t.Errorf("a text too long: %v", err)
		}
		if err := p.rooms[ana].Say(now, ""); !errors.Is(err, ErrText) {
			t.Errorf("an empty text: %v", err)
		}
	})
	if !strings.Contains(ErrText.Error(), fmt.Sprintf("%d,%03d", MaxText/1000, MaxText%1000)) {
		t.Errorf("%v, but the bound is %d", ErrText, MaxText)
	}
}

// What is said faster than the pace waits, up to a bound; all of it arrives.
func TestRoom_SaysNoMoreThanItsPace(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	before, said := p.sim.Stats().Sent, 0
	p.sim.Do(ana, func(now time.Time) {
		for p.rooms[ana].Say(now, strings.Repeat("x", 30*pieceSize)) == nil {
			said++
		}
		if err := p.rooms[ana].Say(now, "x"); !errors.Is(err, ErrBusy) {
			t.Errorf("Say = %v", err)
		}
	})
	p.sim.RunFor(time.Second)
	if sent := p.sim.Stats().Sent - before; sent > sendRate+sendBurst+10 {
		t.Errorf("%d packets in a second", sent)
	}
	p.sim.RunFor(20 * time.Second)
	if got := len(p.texts(bob, p.rooms[ana].Self().ID)); got != said || said < 20 {
		t.Errorf("%d of %d messages arrived", got, said)
	}
	if st := p.rooms[bob].Stats(); st.Rate != 0 {
		t.Errorf("%+v", st)
	}
}

// A sender beyond its rate is cut, others are not.
func TestRoom_RateOfOneSenderIsBounded(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	for i := range 2000 {
		b, _ := p.rooms[bob].env.wrap(&piece{author: bobID, sequence: uint64(i + 1), count: 1, bytes: []byte{9}})
		p.sim.Inject(bob, ana, Packet{b})
	}
	if st := p.rooms[ana].Stats(); st.Rate < 2000-senderBurst-10 {
		t.Errorf("%+v", st)
	}
}

// state is all of a room that packets could change, but the counters.
func (p *party) state(id netsim.ID) string {
	r := p.rooms[id]
	at, ok := r.NextTimeout()
	return fmt.Sprintf("%v %v %v %v %d authors, %d heard, %d owed, %d to send", r.Members(), r.History(), at, ok,
		len(r.log.authors), len(r.roster.members), len(r.mend.owed), len(r.out.controls)+len(r.out.pieces))
}

// Forged, damaged, foreign and replayed packets change nothing but counters.
func TestRoom_UnauthenticatedPacketsChangeNothing(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	var recorded []Packet
	p.sim.Encode = func(b []byte, k Packet) []byte { recorded = append(recorded, k); return append(b, k.Data...) }
	p.sim.RunFor(3 * time.Second)
	p.say(bob, "hello")
	p.sim.RunFor(3 * time.Second)

	other := newParty(t, 2, RoomConfig{Room: "test", Secret: &seal.Secret{2}}, noFaults)
	open := newParty(t, 3, RoomConfig{Room: "test"}, noFaults)
	elsewhere := newParty(t, 4, RoomConfig{Room: "other", Secret: &seal.Secret{1}}, noFaults)
	before := p.state(ana)
	inject := func(b []byte) { p.rooms[ana].HandlePacket(p.sim.Now(), Packet{b}) }
	for _, k := range recorded {
		inject(k.Data) // a replay, or our own
		for i := range k.Data {
			bad := bytes.Clone(k.Data)
			bad[i] ^= 0x40
			inject(bad)
		}
		inject(k.Data[:len(k.Data)-1])
	}
	for _, r := range []*Room{other.enter("eve"), open.enter("eve"), elsewhere.enter("eve")} {
		for _, c := range packetTable {
			b, _ := r.env.wrap(c.p)
			inject(b)
		}
	}
	inject(nil)
	if after := p.state(ana); after != before {
		t.Errorf("changed from\n%s\nto\n%s", before, after)
	}
	if out, ev := p.rooms[ana].Outgoing(), p.rooms[ana].Events(); len(out)+len(ev) > 0 {
		t.Errorf("%d packets, events %v", len(out), ev)
	}
	st := p.rooms[ana].Stats()
	if st.Foreign == 0 || st.Mark == 0 || st.OtherKey == 0 || st.Replayed == 0 || st.Own == 0 {
		t.Errorf("%+v", st)
	}
}

// A recording of yesterday's room, played to who comes today, shows nobody and
// nothing.
func TestRoom_RecordingFromBeforeShowsNothing(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	var recorded []Packet
	p.sim.Encode = func(b []byte, k Packet) []byte { recorded = append(recorded, k); return append(b, k.Data...) }
	for i := range 20 {
		p.say(ana, fmt.Sprint("secret plan ", i))
		p.sim.RunFor(time.Second)
	}
	p.leave(bob)
	p.sim.RunFor(time.Second)

	today := newParty(t, 2, sealedConfig(), noFaults)
	late := today.join("late")
	for _, k := range recorded {
		today.rooms[late].HandlePacket(today.sim.Now(), k)
		today.sim.Do(late, func(time.Time) {})
	}
	today.sim.RunFor(time.Minute)
	if len(today.heard[late]) > 0 || len(today.log[late]) > 0 || len(today.rooms[late].Members()) != 1 {
		t.Errorf("heard %v, told %v, members %v", today.heard[late], today.log[late], today.rooms[late].Members())
	}
	if st := today.rooms[late].Stats(); st.Unproven == 0 {
		t.Errorf("%+v", st)
	}
	if n := len(today.rooms[late].roster.members); n != 0 {
		t.Errorf("%d senders remembered after a minute", n)
	}
}

// Who is heard but does not hear us is told from who does.
func TestRoom_NoticesWhenHearingIsOneWay(t *testing.T) {
	for _, cfg := range []RoomConfig{sealedConfig(), {}} {
		p := newParty(t, 1, cfg, noFaults)
		ana, bob := p.join("ana"), p.join("bob")
		deaf := p.enter("deaf") // says hello, hears nothing
		for range 10 {
			for _, k := range deaf.Outgoing() {
				p.sim.Inject(bob, ana, k)
			}
			p.sim.RunFor(3 * time.Second)
			deaf.HandleTimeout(p.sim.Now())
		}
		if n := p.rooms[ana].Stats().OneWay; n != 1 {
			t.Errorf("%d heard one way", n)
		}
		p.sim.RunFor(time.Minute)
		if n := p.rooms[ana].Stats().OneWay; n != 0 {
			t.Errorf("%d heard one way although silent", n)
		}
	}
}

// Messages that nobody has any more are given up after a time, and told as lost;
// who has them comes back, they are shown as late.
func TestRoom_GivesUpWhatNobodyHas(t *testing.T) {
	cfg := sealedConfig()
	cfg.Patience = 20 * time.Second
	p := newParty(t, 1, cfg, noFaults)
	ana, bob, cid := p.join("ana"), p.join("bob"), p.join("cid")
	p.sim.RunFor(3 * time.Second)
	p.say(ana, "one")
	p.sim.RunFor(time.Second)
	p.sim.Partition([]netsim.ID{ana, bob}, []netsim.ID{cid})
	p.say(ana, "two") // bob alone hears it
	p.sim.RunFor(time.Second)
	p.sim.Partition([]netsim.ID{ana, cid}, []netsim.ID{bob})
	p.rooms[ana].log.remove(p.rooms[ana].log.own(), 2) // as if the history were full
	p.rooms[ana].log.remove(p.rooms[ana].log.own(), 1)
	p.say(ana, "three")
	p.sim.RunFor(10 * time.Second)
	p.wantTexts(cid, ana, "one", "three") // ana herself says that she has it not
	p.wantLog(cid, "ana: messages 2 to 2 are lost", 1)
	p.sim.Heal()
	p.sim.RunFor(10 * time.Second)
	p.wantTexts(cid, ana, "one", "three", "two")
	if late := p.heard[cid][p.rooms[ana].Self().ID][2]; !late.Late {
		t.Errorf("%+v is not late", late)
	}
	var sorted []string
	for _, m := range p.rooms[cid].History() {
		sorted = append(sorted, m.Text)
	}
	if !slices.Equal(sorted, []string{"one", "two", "three"}) {
		t.Errorf("history %q", sorted)
	}
}

// While those who may have it are away, messages wait in their order; when patience
// is over they are shown.
func TestRoom_WaitsWithPatience(t *testing.T) {
	cfg := sealedConfig()
	cfg.Patience = 60 * time.Second
	p := newParty(t, 1, cfg, noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	p.say(ana, "one")
	p.sim.RunFor(time.Second)
	p.sim.Partition([]netsim.ID{ana}, []netsim.ID{bob})
	p.say(ana, "two")
	p.sim.RunFor(10 * time.Millisecond)
	p.sim.Heal()
	p.say(ana, "three")
	p.sim.RunFor(10 * time.Millisecond)
	p.sim.Crash(ana)
	p.sim.RunFor(50 * time.Second)
	p.wantTexts(bob, ana, "one")
	p.sim.RunFor(30 * time.Second)
	p.wantTexts(bob, ana, "one", "three")
	p.wantLog(bob, "ana: messages 2 to 2 are lost", 1)
}

// A member that claims messages that are not there costs some requests, and holds
// nobody back for long.
func TestRoom_LyingClaimsHoldNobodyBack(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob, liar := p.join("ana"), p.join("bob"), p.join("liar")
	p.sim.RunFor(3 * time.Second)
	p.say(ana, "one")
	p.sim.RunFor(time.Second)
	lie := p.rooms[liar]
	for range 20 {
		h := &hello{beat: lie.pulse.beat + 1, interval: 3000, name: "liar", claims: []claim{
			{author: p.rooms[ana].Self().ID, low: 1, high: 1 << 40}, {author: MemberID{7}, low: 1, high: 1 << 50}, lie.claimOf(p.rooms[bob].Self().ID),
		}}
		lie.pulse.beat++
		b, _ := lie.env.wrap(h)
		p.sim.Inject(liar, bob, Packet{b})
		p.say(ana, "more")
		p.sim.RunFor(3 * time.Second)
	}
	if got := len(p.texts(bob, p.rooms[ana].Self().ID)); got != 21 {
		t.Errorf("bob was shown %d of 21 messages", got)
	}
	if st := p.rooms[bob].Stats(); st.Requests > 120 {
		t.Errorf("%d requests in a minute", st.Requests)
	}
}

// Bounds: members, authors, history, unfinished messages.
func TestRoom_BoundsHold(t *testing.T) {
	cfg := RoomConfig{Room: "test", MaxMembers: 8, History: 20, HistoryBytes: 10000}
	p := newParty(t, 1, cfg, noFaults)
	ana := p.join("ana")
	r := p.rooms[ana]
	for i := range 1000 {
		eve := p.enter(fmt.Sprint("eve", i))
		now := p.sim.Now()
		for _, k := range []packet{
			&hello{beat: 1, interval: 3000, name: "eve", claims: []claim{{author: MemberID{byte(i), byte(i >> 8)}, low: 1, high: 1 << 60}}},
			&piece{author: eve.env.self, sequence: 1, count: 1, bytes: (&body{name: "eve", stamp: uint64(i), text: strings.Repeat("x", 900)}).append(nil)},
			&piece{author: eve.env.self, sequence: 100, index: 1, count: 64, bytes: make([]byte, pieceSize)},
			&request{wants: []want{{author: r.env.self, first: 1, count: 64}}},
		} {
			b, _ := eve.env.wrap(k)
			r.HandlePacket(now, Packet{b})
		}
		p.say(ana, strings.Repeat("y", 800))
		r.Events()
		p.sim.RunFor(10 * time.Millisecond)
	}
	if n := len(r.roster.members); n > 8+maxCandidates {
		t.Errorf("%d members", n)
	}
	if n := len(r.log.authors); n > 8 {
		t.Errorf("%d authors", n)
	}
	if r.log.messages > 20 || r.log.bytes > 10000 || len(r.History()) > 20 {
		t.Errorf("%d messages of %d bytes", r.log.messages, r.log.bytes)
	}
	if st := r.Stats(); st.Full == 0 || st.Evicted == 0 {
		t.Errorf("%+v", st)
	}
	if len(r.log.retired) > 4*8 || len(r.mend.owed) > maxRepairs {
		t.Errorf("%d retired, %d owed", len(r.log.retired), len(r.mend.owed))
	}
	p.wantSums(r)
}

// wantSums checks the sums that a logbook keeps against what it holds.
func (p *party) wantSums(r *Room) {
	p.t.Helper()
	var messages, size, waiting, loose int
	for _, a := range r.log.authors {
		for s, rec := range a.held {
			if s < a.next {
				messages++
				size += len(rec.bytes)
			} else {
				waiting += len(rec.bytes)
			}
		}
		for _, s := range a.parts {
			loose += s.size
		}
	}
	if l := r.log; l.messages != messages || l.bytes != size || l.waiting != waiting || l.loose != loose {
		p.t.Errorf("sums %d %d %d %d, want %d %d %d %d", l.messages, l.bytes, l.waiting, l.loose, messages, size, waiting, loose)
	}
}

// Unfinished messages of many senders do not fill the memory.
func TestRoom_UnfinishedMessagesAreBounded(t *testing.T) {
	p := newParty(t, 1, RoomConfig{}, noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	r := p.rooms[ana]
	for s := range uint64(200) {
		for i := range 20 {
			b, _ := p.rooms[bob].env.wrap(&piece{author: p.rooms[bob].env.self, sequence: s + 1, index: uint8(i), count: 64, bytes: make([]byte, pieceSize)})
			r.HandlePacket(p.sim.Now().Add(time.Duration(s*100)*time.Millisecond), Packet{b})
		}
	}
	if r.log.loose > maxLoose || r.log.loose < maxLoose/2 || r.Stats().Full == 0 {
		t.Errorf("%d bytes loose, %+v", r.log.loose, r.Stats())
	}
	p.wantSums(r)
}

func TestRoom_RecallNone(t *testing.T) {
	cfg := sealedConfig()
	cfg.Recall = -1
	p := newParty(t, 1, cfg, noFaults)
	ana := p.join("ana")
	p.say(ana, "before")
	p.sim.RunFor(5 * time.Second)
	bob := p.join("bob")
	p.sim.RunFor(5 * time.Second)
	p.say(ana, "after")
	p.sim.RunFor(5 * time.Second)
	p.wantTexts(bob, ana, "after")
}

// The history has bounds, and who comes late gets the newest part of it.
func TestRoom_RecallIsTheNewest(t *testing.T) {
	cfg := sealedConfig()
	cfg.Recall = 10
	p := newParty(t, 1, cfg, noFaults)
	ana := p.join("ana")
	for i := range 50 {
		p.say(ana, fmt.Sprint(i))
		p.sim.RunFor(20 * time.Millisecond)
	}
	bob := p.join("bob")
	p.sim.RunFor(5 * time.Second)
	p.wantTexts(bob, ana, "40", "41", "42", "43", "44", "45", "46", "47", "48", "49")
}

func TestRoom_AfterLeavingNothingIsSaid(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), noFaults)
	ana, bob := p.join("ana"), p.join("bob")
	p.sim.RunFor(3 * time.Second)
	p.leave(ana)
	if err := p.rooms[ana].Say(p.sim.Now(), "x"); !errors.Is(err, ErrLeft) {
		t.Errorf("Say = %v", err)
	}
	p.sim.RunFor(time.Second)
	if at, ok := p.rooms[ana].NextTimeout(); ok {
		t.Errorf("after leaving it waits for %v", at)
	}
	p.wantLog(bob, "ana left", 1)
}

// A room of many: all are known, hellos stay few, a message reaches all.
func TestRoom_OfMany(t *testing.T) {
	p := newParty(t, 1, sealedConfig(), netsim.Faults{Delay: time.Millisecond, Loss: 0.02})
	for i := range 70 {
		p.join(fmt.Sprint("m", i))
		p.sim.RunFor(100 * time.Millisecond)
	}
	p.sim.RunFor(40 * time.Second)
	for i, r := range p.rooms {
		if n := len(r.Members()); n != 70 {
			t.Errorf("node %d sees %d members", i, n)
		}
	}
	before := p.sim.Stats().Sent
	p.sim.RunFor(20 * time.Second)
	if rate := float64(p.sim.Stats().Sent-before) / 20; rate > 15 {
		t.Errorf("%.1f packets a second in a quiet room of 70", rate)
	}
	for i := range 70 {
		p.say(netsim.ID(i), fmt.Sprint("I am ", i))
	}
	p.sim.RunFor(20 * time.Second)
	for i := range p.rooms {
		if n := len(p.heard[i]); n != 70 {
			t.Errorf("node %d heard %d authors", i, n)
		}
	}
}

// FuzzRoom plays a script of bytes to a room: each begins with a sender and a
// length. Nothing it does may break the room's bounds and sums.
func FuzzRoom(f *testing.F) {
	var script []byte
	for i, c := range packetTable {
		b := c.p.append(nil)
		script = append(append(script, byte(i%2), byte(len(b))), b...)
	}
	f.Add(script)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newParty(t, 1, RoomConfig{MaxMembers: 4, History: 8}, noFaults)
		r := p.enter("ana")
		senders := []*Room{p.enter("bob"), p.enter("cid")}
		now := p.sim.Now()
		for _, s := range senders {
			k, _ := s.env.wrap(&hello{beat: 1, interval: 1000, name: s.Self().Name})
			r.HandlePacket(now, Packet{k})
		}
		for len(b) >= 2 {
			n := min(int(b[1]), len(b)-2)
			s := senders[b[0]%2]
			k := append(slices.Concat(s.env.header[:], s.env.self[:]), b[2:2+n]...)
			r.HandlePacket(now, Packet{k})
			now = now.Add(time.Duration(b[0]) * time.Millisecond)
			r.HandleTimeout(now)
			b = b[2+n:]
		}
		for range 50 {
			at, ok := r.NextTimeout()
			if !ok {
				t.Fatal("a room that waits for nothing")
			}
			if at.After(now) {
				now = at
			}
			r.HandleTimeout(now)
			r.Outgoing()
			r.Events()
		}
		p.wantSums(r)
		if len(r.log.authors) > 4 || len(r.History()) > 8 {
			t.Fatalf("%d authors, %d messages", len(r.log.authors), len(r.History()))
		}
	})
}

// FuzzSealedRoom plays datagrams of an outsider to a sealed room: nothing changes.
func FuzzSealedRoom(f *testing.F) {
	p := newParty(f, 1, sealedConfig(), noFaults)
	for _, k := range p.enter("bob").Outgoing() {
		f.Add(k.Data[:len(k.Data)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := newParty(t, 2, sealedConfig(), noFaults)
		ana := p.join("ana")
		before := p.state(ana)
		p.rooms[ana].HandlePacket(p.sim.Now(), Packet{b})
		if after := p.state(ana); after != before {
			t.Fatalf("%s\n%s", before, after)
		}
	})
}
