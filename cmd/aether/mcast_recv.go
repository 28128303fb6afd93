package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/probe"
)

func mcastRecvCommand() *cli.Command {
	return &cli.Command{
		Name:      "recv",
		Aliases:   []string{"receive"},
		Usage:     "join groups and count what each sender's datagrams lose",
		ArgsUsage: "[[SOURCE,]GROUP[+NUM]...]",
		Description: "Counts the datagrams of mcast send, and of mcjoin, for each sender and group: lost, doubled,\n" +
			"out of order, jitter and distance in hops; a sender that is started again counts anew. Datagrams\n" +
			"of other programs are counted only. SOURCE,GROUP joins for that source alone (RFC 4607);\n" +
			"GROUP+NUM is NUM groups from GROUP on; the default is 225.1.2.3. What this machine itself\n" +
			"dropped for want of time is told apart from what the network lost. Runs until interrupted, -c or\n" +
			"-W, then prints a summary for each sender.\n" +
			"Exit status: 0 something was received; 1 nothing was." +
			examples(`aether mcast recv 239.255.1.2`, `aether mcast recv -i eth0 -W 10 -q --json 239.255.1.0+100`, `aether mcast recv 192.0.2.1,232.1.2.3`),
		Flags: streamFlags(
			&cli.IntFlag{Name: "buffer", Value: probe.DefaultReadBuffer, Usage: "ask the kernel to hold `BYTES` of datagrams"}),
		Action: func(c *cli.Context) error {
			s, err := streamOf(c)
			if err != nil {
				return err
			}
			for _, ch := range s.channels {
				if !ch.Source.IsValid() && multicast.SourceSpecific(ch.Group) {
					return usage("%v needs a source: SOURCE,%v (RFC 4607)", ch.Group, ch.Group)
				}
			}
			if c.Int("buffer") < 0 {
				return usage("--buffer must not be negative")
			}
			return mcastRecv(c.Context, s, c.Int("buffer"))
		},
	}
}

func mcastRecv(ctx context.Context, s stream, buffer int) error {
	ctx, cancel, ok := s.started(ctx)
	defer cancel()
	if !ok {
		return failed()
	}
	conns, err := s.conns(0)
	if err != nil {
		return err
	}
	for i := range conns {
		conns[i].ReadBuffer = buffer
	}
	lines := arrivals{out: s.out, quiet: s.quiet, end: cancel}
	r, err := probe.Receive(ctx, probe.ReceiveConfig{
		Conns:    conns,
		Receiver: probe.ReceiverConfig{Count: s.count, Quiet: s.quiet},
		Ready:    func() { s.printListening(conns, cancel) },
		Event:    lines.print,
	})
	if err != nil {
		return err
	}
	if err := printReceived(s, r); err != nil {
		return err
	}
	if r.Totals.Datagrams == 0 {
		return failed()
	}
	return nil
}

// printListening tells what was joined.
func (s stream) printListening(conns []multicast.Config, end func()) {
	for _, c := range conns {
		s.log.Debug("listening", "group", c.Group, "interface", c.Interface, "more", len(c.More))
		if s.quiet {
			continue
		}
		text := fmt.Sprintf("listening to %v on %s", c.Group, c.Interface)
		if n := len(c.More); n > 0 {
			text += fmt.Sprintf(", and to %d more groups", n)
		}
		err := s.out.event("listening", text, "group", c.Group.Addr(), "port", s.port, "interface", c.Interface, "groups", 1+len(c.More))
		if err != nil {
			end()
		}
	}
}

// arrivals prints events as they come, those of one batch in one write: at 100,000
// datagrams a second a write for each would cost more than reading them.
type arrivals struct {
	out   *printer
	quiet bool
	b     []byte
	end   func() // when nobody reads the output any more
}

func (a *arrivals) print(events []probe.Event) {
	a.b = a.b[:0]
	for i := range events {
		e := &events[i]
		switch {
		case e.Kind == probe.Finished, a.quiet && e.Kind != probe.Restarted && e.Kind != probe.Rerouted:
		case a.out.json:
			a.b = appendEventJSON(a.b, e)
		default:
			a.b = appendEventText(a.b, e)
		}
	}
	if len(a.b) > 0 && a.out.write(a.b) != nil {
		a.end()
	}
}

// appendEventJSON appends what printer.event would print; none of it is text from
// the network.
func appendEventJSON(b []byte, e *probe.Event) []byte {
	b = append(b, `{"event":"`...)
	b = append(b, e.Kind.String()...)
	b = append(b, `","time":"`...)
	b = e.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","from":"`...)
	b = e.From.Addr().AppendTo(b)
	b = strconv.AppendUint(append(b, `","port":`...), uint64(e.From.Port()), 10)
	b = append(b, `,"group":"`...)
	b = e.Group.AppendTo(b)
	b = append(b, '"')
	if e.Kind == probe.Received || e.Kind == probe.Ended {
		b = strconv.AppendUint(append(b, `,"seq":`...), e.Seq, 10)
	}
	if e.Kind == probe.Received {
		b = strconv.AppendInt(append(b, `,"bytes":`...), int64(e.Bytes), 10)
		b = append(append(append(b, `,"outcome":"`...), e.Outcome.String()...), '"')
		b = strconv.AppendUint(append(b, `,"gap":`...), e.Gap, 10)
	}
	if e.Hops >= 0 {
		b = strconv.AppendInt(append(b, `,"hops":`...), int64(e.Hops), 10)
	}
	return append(b, "}\n"...)
}

func appendEventText(b []byte, e *probe.Event) []byte {
	b = e.From.AppendTo(b)
	b = append(b, " : "...)
	b = e.Group.AppendTo(b)
	b = append(b, ", "...)
	switch {
	case e.Kind != probe.Received:
		b = append(b, e.Kind.String()...)
		if e.Kind == probe.Ended {
			b = strconv.AppendUint(append(b, " after "...), e.Seq, 10)
		}
	case e.Seq == 0:
		b = append(b, "of another program"...)
	default:
		b = strconv.AppendUint(append(b, "seq="...), e.Seq, 10)
	}
	if e.Kind == probe.Received {
		b = strconv.AppendInt(append(b, ", size="...), int64(e.Bytes), 10)
	}
	if e.Hops >= 0 {
		b = strconv.AppendInt(append(b, ", dist="...), int64(e.Hops), 10)
	}
	if e.Gap > 0 {
		b = strconv.AppendUint(append(b, ", missing before it "...), e.Gap, 10)
	}
	if e.Kind == probe.Received && e.Outcome != probe.InOrder {
		b = append(append(b, ", "...), e.Outcome.String()...)
	}
	return append(b, '\n')
}

func printReceived(s stream, r probe.Result) error {
	for _, rep := range r.Reports {
		if err := printReport(s.out, rep); err != nil {
			return err
		}
	}
	t, k := r.Totals, r.Socket
	text := fmt.Sprintf("total: %d datagrams, %d bytes; dropped at this machine's socket: %d", t.Datagrams, t.Bytes, k.KernelDrops+k.Overrun)
	if t.Malformed+t.Refused > 0 {
		text += fmt.Sprintf("; malformed %d, of too many senders %d", t.Malformed, t.Refused)
	}
	if k.KernelDrops > 0 {
		s.complain("warning: %d datagrams reached this machine and were dropped here: the receive buffer has %d bytes (see --buffer and sysctl net.core.rmem_max)", k.KernelDrops, k.ReadBuffer)
	}
	return s.out.event("total", text, "received", t.Datagrams, "bytes", t.Bytes, "kernel_drops", k.KernelDrops+k.Overrun, "not_wanted", k.Foreign,
		"malformed", t.Malformed, "refused", t.Refused, "buffer", k.ReadBuffer)
}

func printReport(out *printer, r probe.Report) error {
	kv := []any{"from", r.From.Addr(), "port", r.From.Port(), "group", r.Group}
	if r.Format == probe.Raw {
		text := fmt.Sprintf("%v : %v, %d datagrams of another program, %d bytes", r.From, r.Group, r.Received, r.Bytes)
		return out.event("summary", text, append(kv, "format", "raw", "sent", nil, "received", r.Received, "lost", nil, "duplicate", nil, "reordered", nil, "bytes", r.Bytes)...)
	}
	format := map[probe.Format]string{probe.Ours: "aether", probe.Mcjoin: "mcjoin"}[r.Format]
	kv = append(kv, "format", format, "sent", r.Sent, "received", r.Received, "lost", r.Lost, "lost_at_start", r.LostAtStart, "duplicate", r.Duplicate, "reordered", r.Reordered,
		"late", r.Late, "loss", ratio(r.Lost, r.Sent), "bytes", r.Bytes, "restarted", r.Restarted)
	text := fmt.Sprintf("%v : %v, xmt/rcv/%%loss = %d/%s/%s", r.From, r.Group, r.Sent, withCopies(r.Received, r.Duplicate), percent(r.Lost, r.Sent))
	if r.LostAtStart > 0 {
		text += fmt.Sprintf(" (%d of them before the first came)", r.LostAtStart)
	}
	if r.Reordered+r.Late > 0 {
		text += fmt.Sprintf(", reordered %d, late %d", r.Reordered, r.Late)
	}
	if r.Format == probe.Ours {
		kv = append(kv, "epoch", r.Epoch.Format(time.RFC3339Nano), "jitter_ms", millis(r.Jitter),
			"delay_ms", map[string]float64{"avg": millis(r.Delay.Mean()), "max": millis(r.Delay.Max), "stddev": millis(r.Delay.StdDev())})
		text += fmt.Sprintf(", jitter %.3fms, slower than the fastest by avg/max/std-dev = %.3f/%.3f/%.3f ms", millis(r.Jitter),
			millis(r.Delay.Mean()), millis(r.Delay.Max), millis(r.Delay.StdDev()))
	}
	if r.Hops >= 0 {
		kv = append(kv, "hops", r.Hops)
		text += fmt.Sprintf(", dist=%d", r.Hops)
	}
	if r.Restarted {
		text += ", after a restart"
	}
	return out.event("summary", text, kv...)
}

// withCopies writes what came, with what came again behind a plus.
func withCopies(received, duplicate uint64) string {
	if duplicate == 0 {
		return strconv.FormatUint(received, 10)
	}
	return fmt.Sprintf("%d+%d", received, duplicate)
}

// ratio is part of whole, 0 of nothing.
func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// percent writes part of whole; what is not nothing is never shown as 0%.
func percent(part, whole uint64) string {
	switch p := 100 * ratio(part, whole); {
	case part == 0:
		return "0%"
	case p < 10:
		return fmt.Sprintf("%.2g%%", p)
	default:
		return fmt.Sprintf("%.0f%%", p)
	}
}
