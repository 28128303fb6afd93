package node

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
)

// Fault is something that another machine did and that an honest and healthy one does
// not do. A machine with faults is asked last for a while.
type Fault struct {
	// Machine did it; Name is what it is called.
	Machine store.MachineID `json:"machine"`
	// What it did: one of the Fault constants.
	What string `json:"what"`
	// Detail is what was seen last.
	Detail string `json:"detail"`
	// When it was seen last.
	When time.Time `json:"when"`
	// Count is how often it was seen.
	Count int64 `json:"count"`
}

// What a machine did.
const (
	// FaultRot: it sent a chunk whose bytes are not what its address says.
	FaultRot = "rot"
	// FaultAnswer: it sent an answer that makes no sense.
	FaultAnswer = "answer"
	// FaultUnproved: it says that it keeps a version, and could not prove it.
	FaultUnproved = "unproved"
)

// maxFaults bounds the faults that are remembered; the oldest goes first.
const maxFaults = 256

// faults are what was seen of other machines. It is safe for concurrent use.
type faults struct {
	mu  sync.Mutex
	all []Fault
}

// note remembers a fault and reports whether it is the first of its kind.
func (f *faults) note(now time.Time, id store.MachineID, what, detail string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.all, func(x Fault) bool { return x.Machine == id && x.What == what })
	if i >= 0 {
		f.all[i].Detail, f.all[i].When = detail, now
		f.all[i].Count++
		return false
	}
	if len(f.all) >= maxFaults {
		oldest := 0
		for i, x := range f.all {
			if x.When.Before(f.all[oldest].When) {
				oldest = i
			}
		}
		f.all = slices.Delete(f.all, oldest, oldest+1)
	}
	f.all = append(f.all, Fault{Machine: id, What: what, Detail: detail, When: now, Count: 1})
	return true
}

// list returns the faults, the latest first.
func (f *faults) list() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.Clone(f.all)
	slices.SortFunc(all, func(a, b Fault) int {
		return cmp.Or(b.When.Compare(a.When), a.Machine.Compare(b.Machine), cmp.Compare(a.What, b.What))
	})
	return all
}

// wrong notes that a machine did something wrong, and returns err.
func (m *Machine) wrong(id store.MachineID, what string, err error) error {
	now := m.now()
	m.reads.wrong(now, id)
	if m.faults.note(now.UTC(), id, what, err.Error()) {
		m.log.Error("a machine does what it should not", "machine", id.String(), "name", m.NameOf(id), "what", what, "error", err)
		m.alarm(AlarmFault, id.String(), what+": "+err.Error())
		if s := m.serving.Load(); s != nil {
			s.tell(Event{Kind: EventFault, Machine: id, Reason: err.Error()})
		}
	}
	return err
}
