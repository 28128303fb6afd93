package probe

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// ReceiverConfig says how a [Receiver] counts.
type ReceiverConfig struct {
	// MaxStreams is how many streams are told apart; datagrams of further ones are
	// counted as refused. A stream that was silent for a minute makes room. Zero
	// means 16,384.
	MaxStreams int
	// Count ends the measurement after so many datagrams for each group. Zero means
	// no end.
	Count uint64
	// Groups is how many groups Count is for. Zero means 1.
	Groups int
	// Quiet leaves out the Received events.
	Quiet bool
}

// silence is how long a stream must be silent to make room for another.
const silence = time.Minute

// Format is whose datagrams a stream has.
type Format int

// The formats.
const (
	// Ours are the datagrams of this package.
	Ours Format = iota
	// Mcjoin are those of the program mcjoin.
	Mcjoin
	// Raw are any other: they can be counted and no more.
	Raw
)

// Report is what is known about one stream.
type Report struct {
	From  netip.AddrPort
	Group netip.Addr
	// Format says whose datagrams they are. Of Raw ones only Received and Bytes are
	// known.
	Format Format
	// Epoch is when the sender started, by its own clock; zero where it does not say.
	Epoch time.Time
	// Restarted says that the stream goes on where an earlier one of the same address
	// broke off.
	Restarted bool
	// Sent counts the numbers from the first one that could be heard, to the end where
	// the sender told it and to the last one heard otherwise. The first is 1 when the
	// Receiver was there before the sender, to judge by number and interval of the first
	// datagram that came, and that datagram otherwise.
	Sent uint64
	// Received counts the numbers that came, each once.
	Received uint64
	Lost     uint64
	// LostAtStart are those of Lost that were sent before anything came, as happens
	// while switches learn where members are.
	LostAtStart uint64
	Duplicate   uint64
	Reordered   uint64
	Late        uint64
	// Bytes is the sum of all payloads.
	Bytes uint64
	// Jitter is that of RFC 3550 section 6.4.1.
	Jitter time.Duration
	// Delay is by how much datagrams were slower than the fastest one. Clocks need
	// not agree, but drift counts.
	Delay Spread
	// Hops is the distance of the last datagram, -1 unknown.
	Hops        int
	First, Last time.Time
}

// streamKey names a stream. id and epoch are zero where the sender has none.
type streamKey struct {
	from   netip.AddrPort
	group  netip.Addr
	origin origin
	format Format
}

type stream struct {
	window
	jitter
	transit     Spread
	fastest     time.Duration // transit of the first datagram; the spread is about it
	bytes       uint64
	total       uint64 // as the sender told; 0: it has not
	hops        int
	interval    time.Duration
	atStart     uint64 // numbers before the first that came, which could have come
	firstAt     time.Time
	lastAt      time.Time
	restarted   bool
	predecessor *stream // may turn out to be what this one continues
}

// Receiver counts datagrams per sender.
type Receiver struct {
	cfg     ReceiverConfig
	start   time.Time
	streams map[streamKey]*stream
	byHost  map[hostKey]*stream // the last stream of a host in a group
	total   Totals
	nextGC  time.Time
	done    bool
	events  []Event
}

type hostKey struct{ host, group netip.Addr }

// Totals are counts of a Receiver as a whole.
type Totals struct {
	// Datagrams of any kind, and the sum of their payloads.
	Datagrams, Bytes uint64
	// Malformed ones claim to be ours and are not.
	Malformed uint64
	// Refused ones were of streams beyond the bound.
	Refused uint64
}

// NewReceiver returns a Receiver that can hear from start on.
func NewReceiver(cfg ReceiverConfig, start time.Time) *Receiver {
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = 16384
	}
	cfg.Groups = max(cfg.Groups, 1)
	return &Receiver{cfg: cfg, start: start, streams: make(map[streamKey]*stream), byHost: make(map[hostKey]*stream)}
}

// HandlePacket counts one datagram.
func (r *Receiver) HandlePacket(now time.Time, p Packet) {
	if r.done {
		return
	}
	m, err := parseMessage(p.Data)
	switch {
	case err == nil && m.kind == kindTest:
		r.count(p)
		r.number(now, p, m, Ours)
	case err == nil && m.kind == kindEnd:
		r.end(now, p, m)
		return
	case err == nil: // a ping on the same group
		return
	case len(p.Data) >= len(magic) && string(p.Data[:len(magic)]) == magic:
		r.total.Malformed++
		return
	default:
		r.count(p)
		r.foreign(now, p)
	}
	if r.cfg.Count > 0 && r.total.Datagrams >= r.cfg.Count*uint64(r.cfg.Groups) {
		r.done = true
		r.events = append(r.events, Event{Kind: Finished, Time: now})
	}
}

func (r *Receiver) count(p Packet) {
	r.total.Datagrams++
	r.total.Bytes += uint64(len(p.Data))
}

// foreign counts a datagram of another program.
func (r *Receiver) foreign(now time.Time, p Packet) {
	if pid, seq, ok := parseMcjoin(p.Data); ok {
		r.number(now, p, message{from: origin{id: pid}, seq: seq + 1}, Mcjoin)
		return
	}
	s := r.stream(now, p, streamKey{from: p.From, group: p.To.Addr(), format: Raw})
	if s == nil {
		return
	}
	s.received++
	s.bytes += uint64(len(p.Data))
	if !r.cfg.Quiet {
		r.events = append(r.events, Event{Kind: Received, Time: now, From: p.From, Group: p.To.Addr(), Bytes: len(p.Data), Hops: -1})
	}
}

// number counts a numbered datagram.
func (r *Receiver) number(now time.Time, p Packet, m message, f Format) {
	s := r.stream(now, p, streamKey{p.From, p.To.Addr(), m.from, f})
	if s == nil {
		return
	}
	if s.last == 0 && f == Ours && r.wasHere(now, m) {
		s.first, s.atStart = 1, m.seq-1
	}
	outcome, gap := s.take(m.seq)
	s.bytes += uint64(len(p.Data))
	s.interval = m.interval
	if outcome != Duplicate && f == Ours {
		at := now
		if !p.Received.IsZero() { // not when there was time to read it
			at = p.Received
		}
		transit := time.Duration(at.UnixNano() - m.sent)
		if s.transit.Count == 0 {
			s.fastest = transit
		}
		s.jitter.add(transit)
		s.transit.add(transit - s.fastest)
	}
	e := Event{Kind: Received, Time: now, From: p.From, Group: p.To.Addr(), Seq: m.seq, Bytes: len(p.Data), Outcome: outcome, Gap: gap}
	e.Hops = hops(m.hopLimit, p.HopLimit)
	if e.Hops >= 0 && s.hops >= 0 && s.hops != e.Hops {
		r.events = append(r.events, Event{Kind: Rerouted, Time: now, From: p.From, Group: e.Group, Hops: e.Hops})
	}
	s.hops = e.Hops
	r.noteRestart(now, s, e)
	if !r.cfg.Quiet {
		r.events = append(r.events, e)
	}
}

// wasHere reports whether the Receiver could hear from before a sender's number 1,
// given the first message that came of it. Clocks need not agree for that.
func (r *Receiver) wasHere(now time.Time, m message) bool {
	since := now.Sub(r.start)
	return m.seq == 1 || m.interval > 0 && m.seq-1 <= uint64(since/m.interval)
}

// hops is the distance, given the hop limits at both ends: -1 where one is unknown
// or they make no sense.
func hops(sent uint8, arrived int) int {
	if sent == 0 || arrived <= 0 || arrived > int(sent) {
		return -1
	}
	return int(sent) - arrived
}

// noteRestart tells a restart once it is sure: the earlier stream of the address has
// been silent for three of its intervals, and since before this one began. Two
// senders behind one address are both heard on.
func (r *Receiver) noteRestart(now time.Time, s *stream, e Event) {
	p := s.predecessor
	switch {
	case p == nil:
		return
	case p.lastAt.After(s.firstAt):
		s.predecessor = nil
	case p.total > 0 || now.Sub(p.lastAt) > 3*max(p.interval, time.Millisecond):
		s.predecessor, s.restarted = nil, true
		r.events = append(r.events, Event{Kind: Restarted, Time: now, From: e.From, Group: e.Group, Seq: e.Seq, Hops: e.Hops})
	}
}

// stream returns the stream called key, which is made when there is room.
func (r *Receiver) stream(now time.Time, p Packet, key streamKey) *stream {
	s := r.streams[key]
	if s == nil {
		if len(r.streams) >= r.cfg.MaxStreams && !r.makeRoom(now) {
			r.total.Refused++
			return nil
		}
		s = &stream{hops: -1, firstAt: now}
		r.streams[key] = s
		host := hostKey{key.from.Addr(), key.group}
		if key.format == Ours {
			s.predecessor = r.byHost[host]
			r.byHost[host] = s
		}
		r.events = append(r.events, Event{Kind: Appeared, Time: now, From: p.From, Group: key.group, Hops: -1})
	}
	s.lastAt = now
	return s
}

// makeRoom forgets the streams that have been silent, at most once a second, and
// reports whether there were any.
func (r *Receiver) makeRoom(now time.Time) bool {
	if now.Before(r.nextGC) {
		return false
	}
	r.nextGC = now.Add(time.Second)
	before := len(r.streams)
	for k, s := range r.streams {
		if now.Sub(s.lastAt) > silence {
			delete(r.streams, k)
			s.predecessor = nil // no chain of the forgotten
			if host := (hostKey{k.from.Addr(), k.group}); r.byHost[host] == s {
				delete(r.byHost, host)
			}
		}
	}
	return len(r.streams) < before
}

// end takes a sender's word about how many datagrams there were.
func (r *Receiver) end(now time.Time, p Packet, m message) {
	s := r.streams[streamKey{p.From, p.To.Addr(), m.from, Ours}]
	if s == nil || s.total > 0 || m.seq < s.last {
		return
	}
	s.total = m.seq
	r.events = append(r.events, Event{Kind: Ended, Time: now, From: p.From, Group: p.To.Addr(), Seq: m.seq, Hops: s.hops})
}

// HandleTimeout does nothing: all that a Receiver knows comes in packets.
func (r *Receiver) HandleTimeout(time.Time) {}

// NextTimeout asks for no timeout.
func (r *Receiver) NextTimeout() (time.Time, bool) { return time.Time{}, false }

// Outgoing returns nothing.
func (r *Receiver) Outgoing() []Packet { return nil }

// Events returns what happened and forgets it.
func (r *Receiver) Events() []Event { ev := r.events; r.events = nil; return ev }

// Totals returns the counts of all streams together.
func (r *Receiver) Totals() Totals { return r.total }

// Reports returns what is known of each stream, by group, sender and epoch.
func (r *Receiver) Reports() []Report {
	list := make([]Report, 0, len(r.streams))
	for k, s := range r.streams {
		list = append(list, s.report(k))
	}
	slices.SortFunc(list, func(a, b Report) int {
		return cmp.Or(a.Group.Compare(b.Group), a.From.Compare(b.From), a.Epoch.Compare(b.Epoch), a.First.Compare(b.First))
	})
	return list
}

func (s *stream) report(k streamKey) Report {
	rep := Report{
		From: k.from, Group: k.group, Format: k.format, Restarted: s.restarted,
		Received: s.received, Duplicate: s.duplicate, Reordered: s.reordered, Late: s.late, Bytes: s.bytes,
		Jitter: time.Duration(s.value), Hops: s.hops, First: s.firstAt, Last: s.lastAt,
	}
	if k.format == Ours {
		rep.Epoch = k.origin.start()
	}
	if s.transit.Count > 0 { // shifted so that the fastest is 0
		rep.Delay = s.transit
		rep.Delay.Min, rep.Delay.Max, rep.Delay.mean = 0, s.transit.Max-s.transit.Min, s.transit.mean-float64(s.transit.Min)
	}
	if k.format != Raw && s.last > 0 {
		rep.Sent = max(s.total, s.last) - s.first + 1
		rep.Lost = rep.Sent - s.received
		rep.LostAtStart = min(s.atStart, rep.Lost)
	}
	return rep
}
