package replicate

import (
	"errors"
	"math"
	"slices"

	"github.com/aether-lan/aether/store"
)

// Keepers says which holders of many versions are known to hold them, as
// [Engine.Copies] does of one, with fewer reads. It is of use until anything is
// committed that concerns the queue.
type Keepers struct {
	e    *Engine
	here map[store.MachineID]shelf
}

// shelf is what of an author's versions is here: those up to last, less what is queued, of
// which none has a number below first.
type shelf struct{ last, first uint64 }

// Keepers returns the keepers as they are now.
func (e *Engine) Keepers() *Keepers { return &Keepers{e, map[store.MachineID]shelf{}} }

// Of appends to ids the holders of a that are known to hold it, by what they last told;
// a machine that is away still holds it.
func (k *Keepers) Of(a Assignment, ids []store.MachineID) []store.MachineID {
	for i, m := range a.Holders {
		switch {
		case slices.Contains(a.Holders[:i], m):
		case m == k.e.cfg.Self && k.holds(a.Dot), m != k.e.cfg.Self && k.e.told[m].covers(a.Dot):
			ids = append(ids, m)
		}
	}
	return ids
}

// holds reports whether an assigned version is here.
func (k *Keepers) holds(d store.Dot) bool {
	s, ok := k.here[d.Machine]
	if !ok {
		s = k.e.shelf(d.Machine)
		k.here[d.Machine] = s
	}
	switch {
	case d.Seq > s.last:
		return false
	case d.Seq < s.first:
		return true
	}
	_, err := k.e.kv.Get(queueKey(d))
	return errors.Is(err, store.ErrNotFound)
}

// shelf reads the bounds of what is here of an author. Of what cannot be read nothing is.
func (e *Engine) shelf(author store.MachineID) shelf {
	last, err := known(e.kv, author)
	if err != nil {
		return shelf{}
	}
	s := shelf{last: last, first: math.MaxUint64}
	from, to := queueKey(store.Dot{Machine: author}), append(queueKey(store.Dot{Machine: author, Seq: math.MaxUint64}), 0)
	err = e.kv.Scan(from, to, func(key, _ []byte) bool {
		if d, derr := dotOf(key); derr == nil {
			s.first = d.Seq
		}
		return false
	})
	if err != nil {
		return shelf{}
	}
	return s
}
