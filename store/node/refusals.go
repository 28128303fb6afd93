package node

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
)

// Refusal says who did not come in, or who did not let this machine in, and why.
type Refusal struct {
	// Machine is who it was, proven by its key.
	Machine store.MachineID `json:"machine"`
	// Addr is where; the zero AddrPort where that is not known.
	Addr netip.AddrPort `json:"address"`
	// Reason is why.
	Reason string `json:"reason"`
	// When is the last time.
	When time.Time `json:"when"`
	// Count is how often since the machine was opened.
	Count int `json:"count"`
}

const (
	// maxRefusals bounds the list: of more the oldest are forgotten.
	maxRefusals = 64
	// refusalPause is how long nothing more is said of one machine.
	refusalPause = time.Minute
)

// refusals are the last refusals, one for each machine and reason.
type refusals struct {
	mu   sync.Mutex
	list []Refusal
	said map[store.MachineID]time.Time // of the machines in list: when something was said of one
}

// note takes an error of a connection that failed. It returns the refusal that the
// error is, with Count 0 where it is none, and reports whether something should be
// said of it now.
func (f *refusals) note(now time.Time, err error) (r Refusal, say bool) {
	var pe *link.PeerError
	if !errors.As(err, &pe) || !errors.Is(err, link.ErrNotAdmitted) {
		return r, false
	}
	r = Refusal{
		Machine: store.MachineID(pe.Peer), Addr: pe.Addr, When: now, Count: 1,
		Reason: strings.TrimPrefix(pe.Err.Error(), link.ErrNotAdmitted.Error()+": "),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := slices.IndexFunc(f.list, func(o Refusal) bool { return o.Machine == r.Machine && o.Reason == r.Reason })
	if at >= 0 {
		r.Count += f.list[at].Count
		f.list = slices.Delete(f.list, at, at+1)
	}
	f.list = append(f.list, r) // the newest last
	if len(f.list) > maxRefusals {
		f.list = slices.Delete(f.list, 0, 1)
	}
	last, ok := f.said[r.Machine]
	if ok && now.Sub(last) < refusalPause {
		return r, false
	}
	f.tidy()
	f.said[r.Machine] = now
	return r, true
}

// tidy forgets what was said of machines that are not in the list any more.
func (f *refusals) tidy() {
	said := map[store.MachineID]time.Time{}
	for _, r := range f.list {
		if t, ok := f.said[r.Machine]; ok {
			said[r.Machine] = t
		}
	}
	f.said = said
}

// all returns the refusals, the newest first.
func (f *refusals) all() []Refusal {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Clone(f.list)
	slices.Reverse(out)
	return out
}
