package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// mistake is a bug that is planted into a pool, to see that the simulation finds it.
// Its functions are called where they say; nil ones are not.
type mistake struct {
	name    string
	seeds   uint64        // how many may be needed to find it
	shows   bool          // the synchroniser sees it, too
	deeds   func() []deed // what people do then; nil: whatever
	misread func(tree.Op) tree.Op
	starts  func(h *simHost)
	sends   func(h *simHost)
	fetched func(h *simHost, f replicate.Fetch, r *replicate.FetchResult)
}

func mistakes() []mistake {
	return []mistake{
		{name: "changes are acknowledged before they are durable", seeds: 10, starts: func(h *simHost) { h.kv.lies = true }},
		{name: "changes are told before they are durable, and their numbers used again after a crash", seeds: 20,
			sends: func(h *simHost) { h.m.core.unsynced = false }},
		{name: "an operation of a batch is passed over", seeds: 5, shows: true, misread: func(op tree.Op) tree.Op {
			if op.Dot.Seq%7 == 0 {
				return tree.Op{Dot: op.Dot, Time: op.Time, Seen: op.Seen, Kind: tree.KindForeign}
			}
			return op
		}},
		{name: "a deletion counts as the newest", seeds: 20, deeds: fighting, misread: func(op tree.Op) tree.Op {
			if op.Kind == tree.KindDelete {
				op.Time += store.TimeAt(time.UnixMilli(time.Hour.Milliseconds()))
			}
			return op
		}},
		{name: "a save replaces conflict copies too", seeds: 40, shows: true, misread: func(op tree.Op) tree.Op {
			if op.Kind == tree.KindContent {
				op.Dots = nil
			}
			return op
		}},
		{name: "a deletion removes what its author had not dealt with", seeds: 40, deeds: fighting, misread: func(op tree.Op) tree.Op {
			if op.Kind == tree.KindDelete {
				op.Dots = nil
			}
			return op
		}},
		{name: "an edit forgets what its author had seen", seeds: 20, shows: true, misread: func(op tree.Op) tree.Op {
			if op.Kind == tree.KindContent {
				op.Seen = nil
			}
			return op
		}},
		{name: "stamps are taken from the wall clock of who hears", seeds: 10, misread: func(op tree.Op) tree.Op {
			op.Time -= op.Time % store.TimeAt(time.UnixMilli(10_000))
			return op
		}},
		{name: "copies are counted that nobody has", seeds: 20, fetched: func(_ *simHost, f replicate.Fetch, r *replicate.FetchResult) {
			r.Err, r.Missing, r.Fetched = nil, nil, nil
			for _, a := range f.Assignments {
				r.Fetched = append(r.Fetched, a.Dot)
			}
		}},
		{name: "a holder forgets what it shall keep", seeds: 10, fetched: func(h *simHost, f replicate.Fetch, _ *replicate.FetchResult) {
			if h.w.rng.IntN(4) == 0 {
				_ = h.m.core.commit(func(tx store.Txn) error { return h.m.core.copying.Forget(tx, f.Assignments[0].Dot) })
			}
		}},
		{name: "the list of copies to be made does not outlive a restart", seeds: 30, starts: forgetQueue},
		{name: "what was fetched is lost", seeds: 10, fetched: func(h *simHost, _ replicate.Fetch, r *replicate.FetchResult) {
			for range r.Fetched {
				_ = h.m.bodies.Delete(h.lastBody())
			}
		}},
	}
}

// forgetQueue empties the queue of replicate.
func forgetQueue(h *simHost) {
	var keys [][]byte
	tx := h.kv.Begin()
	_ = tx.Scan([]byte{store.PrefixReplicate, 'q'}, []byte{store.PrefixReplicate, 'q' + 1}, func(k, _ []byte) bool {
		keys = append(keys, slices.Clone(k))
		return true
	})
	for _, k := range keys {
		_ = tx.Delete(k)
	}
	_ = tx.Commit(true)
}

// lastBody returns the address of a body of the machine.
func (h *simHost) lastBody() (last store.Ref) {
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir && h.m.bodies.Has(e.Version.Content.Root) {
			last = e.Version.Content.Root
		}
		return true
	})
	return last
}

// trip runs a seed with a mistake and returns what is wrong. A panic is wrong, too.
func trip(t *testing.T, seed uint64, m mistake) (cause string) {
	defer func() {
		if p := recover(); p != nil {
			cause = fmt.Sprint(p)
		}
	}()
	return turmoil(t, seed, m).cause
}

// TestSim_MistakesAreFound: a simulation that finds nothing may be blind. Each mistake
// must be found within the seeds that it states.
func TestSim_MistakesAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("looks through many seeds: run it without -short")
	}
	for _, m := range mistakes() {
		t.Run(m.name, func(t *testing.T) {
			for seed := range m.seeds {
				if cause := trip(t, seed, m); cause != "" {
					t.Logf("seed %d: %.300s", seed, cause)
					return
				}
			}
			t.Errorf("not found in %d seeds", m.seeds)
		})
	}
}
