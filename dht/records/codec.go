package records

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/internal/wire"
)

// errMessage says that bytes are no message.
var errMessage = errors.New("malformed message")

// AppendMessage appends the bytes of m: a kind, then its fields in the order of its
// declaration, numbers as varints, everything of variable length counted.
func AppendMessage(b []byte, m Message) []byte {
	w := &writer{append(b, byte(m.kind()))}
	switch m := m.(type) {
	case Arcs:
		w.arcs(m)
	case Prepare:
		w.group(m.Group)
		w.ballot(m.Ballot)
	case Promise:
		w.ref(m.Of)
		w.ballot(m.Ballot)
		w.ballot(m.Accepted)
		w.decision(m.Decision)
		w.flags(m.Installed, m.Leaving)
		w.uint(m.Seq)
	case Nack:
		w.ref(m.Of)
		w.ballot(m.Ballot)
		w.ballot(m.Promised)
	case Gather:
		w.ref(m.Of)
		w.ballot(m.Ballot)
		w.text(m.After)
	case Piece:
		w.ref(m.Of)
		w.ballot(m.Ballot)
		w.text(m.After)
		w.flags(m.Last)
		w.entries(m.Entries)
	case Install:
		w.ref(m.Of)
		w.group(m.Group)
		w.flags(m.Own, m.Last)
		w.uint(m.Seq, m.Part)
		w.entries(m.Entries)
	case Installed:
		w.ref(m.Of)
		w.uint(m.Part)
		w.flags(m.Last, m.Refused)
	default:
		w.rest(m)
	}
	return w.b
}

func (w *writer) arcs(m Arcs) {
	w.uint(m.Lineage, m.Candidate)
	w.flags(m.Ask, m.Leaving)
	w.b = append(w.b, m.Hops)
	w.uint(uint64(len(m.List)))
	for _, t := range m.List {
		w.group(t.Group)
		w.flags(t.Established, t.Sealed, t.Over, t.Staged)
	}
}

func (w *writer) rest(m Message) {
	switch m := m.(type) {
	case Accept:
		w.ref(m.Of)
		w.ballot(m.Ballot)
		w.decision(m.Decision)
	case Accepted:
		w.ref(m.Of)
		w.ballot(m.Ballot)
	case Decided:
		w.ref(m.Of)
		w.decision(m.Decision)
	case Active:
		w.uint(uint64(len(m.Of)))
		for _, v := range m.Of {
			w.ref(v)
		}
	case Write:
		w.ref(m.Of)
		w.uint(m.First)
		w.flags(m.Established)
		w.entries(m.Entries)
	case Wrote:
		w.ref(m.Of)
		w.uint(m.Seq)
		w.flags(m.Installed, m.Full)
	case Unheard:
		w.ref(m.Of)
	case Confirm:
		w.ref(m.Of)
		w.uint(m.Round)
	case Confirmed:
		w.ref(m.Of)
		w.uint(m.Round)
	case Abandon:
		w.ref(m.Of)
	case Ask:
		w.req(m.Request)
	case Reply:
		w.resp(m.Response)
	}
}

// ParseMessage reads what AppendMessage writes, and nothing else. The message's
// slices lie in b.
func ParseMessage(b []byte) (Message, error) {
	r := &reader{*wire.NewReader(b)}
	m := r.message(kind(r.Uint8()))
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("records: parse message: %w", err)
	}
	return m, nil
}

func (r *reader) message(k kind) Message {
	switch k {
	case kindArcs:
		return r.arcs()
	case kindPrepare:
		return Prepare{r.group(), r.ballot()}
	case kindPromise:
		m := Promise{Of: r.ref(), Ballot: r.ballot(), Accepted: r.ballot(), Decision: r.decision()}
		r.flags(&m.Installed, &m.Leaving)
		m.Seq = r.uint()
		return m
	case kindNack:
		return Nack{r.ref(), r.ballot(), r.ballot()}
	case kindGather:
		return Gather{r.ref(), r.ballot(), string(r.counted(MaxName))}
	case kindPiece:
		m := Piece{Of: r.ref(), Ballot: r.ballot(), After: string(r.counted(MaxName))}
		r.flags(&m.Last)
		m.Entries = r.entries()
		return m
	case kindInstall:
		m := Install{Of: r.ref(), Group: r.group()}
		r.flags(&m.Own, &m.Last)
		m.Seq, m.Part, m.Entries = r.uint(), r.uint(), r.entries()
		return m
	case kindInstalled:
		m := Installed{Of: r.ref(), Part: r.uint()}
		r.flags(&m.Last, &m.Refused)
		return m
	}
	return r.others(k)
}

func (r *reader) arcs() Arcs {
	m := Arcs{Lineage: r.uint(), Candidate: r.uint()}
	r.flags(&m.Ask, &m.Leaving)
	m.Hops = r.Uint8()
	for range r.count(maxTidings) {
		t := Tiding{Group: r.group()}
		r.flags(&t.Established, &t.Sealed, &t.Over, &t.Staged)
		m.List = append(m.List, t)
	}
	return m
}

func (r *reader) others(k kind) Message {
	switch k {
	case kindAccept:
		return Accept{r.ref(), r.ballot(), r.decision()}
	case kindAccepted:
		return Accepted{r.ref(), r.ballot()}
	case kindDecided:
		return Decided{r.ref(), r.decision()}
	case kindActive:
		var m Active
		for range r.count(maxTidings) {
			m.Of = append(m.Of, r.ref())
		}
		return m
	case kindWrite:
		m := Write{Of: r.ref(), First: r.uint()}
		r.flags(&m.Established)
		m.Entries = r.entries()
		return m
	case kindWrote:
		m := Wrote{Of: r.ref(), Seq: r.uint()}
		r.flags(&m.Installed, &m.Full)
		return m
	case kindUnheard:
		return Unheard{r.ref()}
	case kindConfirm:
		return Confirm{r.ref(), r.uint()}
	case kindConfirmed:
		return Confirmed{r.ref(), r.uint()}
	case kindAbandon:
		return Abandon{r.ref()}
	case kindAsk:
		return Ask{r.req()}
	case kindReply:
		return Reply{r.resp()}
	}
	r.bad()
	return nil
}
