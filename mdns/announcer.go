package mdns

import (
	"slices"
	"time"
)

// Announcing (RFC 6762 sections 8.3, 8.4).
const (
	// AnnounceNum is how often records are announced: at 0, 1 and 3 s.
	AnnounceNum = 3
	// AnnounceInterval is the time between the first two; it then doubles.
	AnnounceInterval = time.Second
	// UpdateMax is how many announcements of changed data a set may begin in one
	// UpdateWindow (section 8.4).
	UpdateMax = 10
	// UpdateWindow is a minute.
	UpdateWindow = time.Minute
)

// Announcer tells the link about records that were won or changed.
type Announcer struct {
	sets  []*announcement
	out   []announced
	trace *trace
}

type announcement struct {
	set    int
	sent   int // of the current series
	next   time.Time
	gap    time.Duration
	starts []time.Time
}

// announced says that the records of a set are to be multicast now.
type announced struct{ set, sent int }

// NewAnnouncer returns an Announcer with nothing to say.
func NewAnnouncer() *Announcer { return new(Announcer) }

// Start begins a series of announcements of a set, over again if one is running.
// Series of one set begin at most ten times a minute; the next one waits.
func (a *Announcer) Start(now time.Time, set int) {
	i := slices.IndexFunc(a.sets, func(an *announcement) bool { return an.set == set })
	if i < 0 {
		a.sets = append(a.sets, &announcement{set: set})
		i = len(a.sets) - 1
	}
	an := a.sets[i]
	an.starts = slices.DeleteFunc(an.starts, func(t time.Time) bool { return now.Sub(t) >= UpdateWindow })
	an.sent, an.gap, an.next = 0, AnnounceInterval, now
	if n := len(an.starts); n >= UpdateMax {
		an.next = an.starts[n-UpdateMax].Add(UpdateWindow)
		a.trace.set(now, NoteDelayed, causeManyUpdates, an.next.Sub(now))
	}
	an.starts = append(an.starts, an.next)
}

// Cancel ends the announcements of a set and forgets it.
func (a *Announcer) Cancel(set int) {
	a.sets = slices.DeleteFunc(a.sets, func(an *announcement) bool { return an.set == set })
}

// HandleTimeout makes the announcements that are due.
func (a *Announcer) HandleTimeout(now time.Time) {
	for _, an := range a.sets {
		if an.next.IsZero() || now.Before(an.next) {
			continue
		}
		an.sent++
		a.out = append(a.out, announced{an.set, an.sent})
		an.next = now.Add(an.gap)
		an.gap *= 2
		if an.sent == AnnounceNum {
			an.next = time.Time{}
		}
	}
}

// NextTimeout reports when HandleTimeout has something to do.
func (a *Announcer) NextTimeout() (t time.Time, ok bool) {
	for _, an := range a.sets {
		t = earlier(t, an.next)
	}
	return t, !t.IsZero()
}

// take returns what is to be announced now and forgets it.
func (a *Announcer) take() []announced { o := a.out; a.out = nil; return o }
