package sim

import (
	"fmt"
	"io"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// tracer draws what happens as Lamport did: a line a host, time going down, arrows
// for messages, at the moment they arrive.
type tracer struct {
	out     io.Writer
	diagram paxos.Diagram
}

func newTracer(out io.Writer, nodes int) *tracer {
	t := &tracer{out: out}
	for i := range nodes {
		t.diagram.Columns = append(t.diagram.Columns, fmt.Sprintf("n%d", i+1))
	}
	if out != nil {
		fmt.Fprintln(out, pad(""), t.diagram.Header())
	}
	return t
}

func pad(s string) string { return fmt.Sprintf("%10s ", s) }

func (t *tracer) line(now time.Duration, s string) {
	if t.out != nil {
		fmt.Fprintln(t.out, pad(fmt.Sprintf("%.6f", now.Seconds())), s)
	}
}

func (t *tracer) note(now time.Duration, s string) {
	if t.out != nil {
		t.line(now, "* "+s)
	}
}

func (t *tracer) host(now time.Duration, at int, what string) {
	if t.out != nil {
		t.line(now, t.diagram.At(at, what))
	}
}

func (t *tracer) message(now time.Duration, from, to int, m paxos.Message) {
	if t.out != nil {
		t.line(now, t.diagram.Arrow(from, to, paxos.Describe(m.Body)))
	}
}

func (t *tracer) event(now time.Duration, at int, e paxos.Event) {
	if t.out != nil {
		t.line(now, t.diagram.At(at, e.String()))
	}
}

func (t *tracer) saves(now time.Duration, at int, r paxos.Record) {
	if t.out == nil {
		return
	}
	s := "saves promise " + r.Hard.Promised.String()
	if k := len(r.Entries); k > 0 {
		s += fmt.Sprintf(", slots %v..%v", r.Entries[0].Slot, r.Entries[k-1].Slot)
	}
	t.line(now, t.diagram.At(at, s))
}

func (t *tracer) operation(now time.Duration, op operation) {
	if t.out != nil {
		c := op.command
		t.line(now, fmt.Sprintf("> client %d: %v %s value %d old %d: %d", op.client, c.action, keyName(c.key), c.value, c.old, op.reply))
	}
}
