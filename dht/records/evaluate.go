package records

import (
	"bytes"
	"time"
)

// effect is what a request does to a record.
type effect struct {
	status Status
	rec    Record // the present one after it
	write  bool   // rec is new, and to be stored
	renew  bool   // the TTL starts again, which needs no storing
	lost   *Record
	text   string
}

// evaluate decides about a request on a record: old is what is stored under its name,
// nil if nothing ever was, and not expired. It is a function of its arguments, so all
// that is told about a record follows from the order in which its leader evaluates.
func evaluate(q Request, old *Record) effect {
	present := Record{Name: q.Name}
	if old != nil {
		present = *old
	}
	live := old != nil && !old.Deleted
	if v, ok := present.made(q.ID); ok && q.Op.writes() && q.Op != Renew {
		if q.Op != Acquire {
			return repeated(present, v)
		}
		if !live || present.Holder != q.Holder || present.Fence != v {
			return effect{status: Conflict, rec: present} // it had the lease, and has it no more
		}
	}
	e := operate(q, present, live)
	switch {
	case !q.Again || e.lost != nil || q.Op == Renew || q.Op == Acquire || !q.Op.writes():
	case q.Op == Swap && e.status == Conflict && q.Version < present.forgotten(),
		q.Op != Swap && q.Op != merge && q.Version < present.forgotten():
		return effect{status: Unknown, rec: present}
	}
	if e.write && q.Op != merge {
		e.rec.Version = present.Version + 1
		e.rec.Unknown = mergeFields(present.Unknown, q.Fields)
		if len(e.rec.Unknown) > MaxUnknown || e.rec.Version > maxVersion {
			return effect{status: TooLarge, rec: present, text: "the record's unknown fields, or its version"}
		}
		e.rec.memory = present.memory
		e.rec.remember(q.ID)
		if q.Op == Acquire && e.rec.Fence == 0 {
			e.rec.Fence = e.rec.Version
		}
	}
	return e
}

// repeated answers a request that was done before and made version v.
func repeated(present Record, v uint64) effect {
	if present.Version != v {
		present = Record{Name: present.Name, Version: v, Fence: present.Fence}
	}
	return effect{status: OK, rec: present}
}

func operate(q Request, present Record, live bool) effect {
	stored := Record{Name: q.Name, Value: q.Value, TTL: q.TTL}
	refused := effect{status: Conflict, rec: present}
	none := effect{status: NotFound, rec: Record{Name: q.Name, Version: present.Version, Deleted: present.Deleted}}
	switch q.Op {
	case Get, Watch:
		if !live {
			return none
		}
		return effect{status: OK, rec: present}
	case Put:
		if live && present.Holder != "" {
			return refused // a lease is its holder's
		}
		return effect{status: OK, rec: stored, write: true}
	case Swap:
		if live && (q.Version != present.Version || present.Holder != "") || !live && q.Version != 0 {
			return refused
		}
		return effect{status: OK, rec: stored, write: true}
	case Delete:
		if !live {
			return none
		}
		if q.Version != 0 && q.Version != present.Version || present.Holder != "" {
			return refused
		}
		return effect{status: OK, rec: Record{Name: q.Name, Deleted: true}, write: true}
	case merge:
		return mergeRecord(q, present, live)
	}
	return lease(q, present, live, stored, refused, none)
}

// lease decides about Acquire, Renew and Release.
func lease(q Request, present Record, live bool, stored Record, refused, none effect) effect {
	held := live && present.Holder != ""
	mine := held && present.Holder == q.Holder && (q.Version == 0 || q.Version == present.Fence)
	stored.Holder = q.Holder
	switch {
	case q.Op == Acquire && !live:
		return effect{status: OK, rec: stored, write: true}
	case !held && q.Op != Acquire:
		return none
	case !mine:
		return refused
	case q.Op == Release:
		return effect{status: OK, rec: Record{Name: q.Name, Deleted: true}, write: true}
	}
	stored.Fence = present.Fence
	if q.Op == Renew {
		stored.Value = present.Value
	}
	if q.TTL == present.TTL && bytes.Equal(stored.Value, present.Value) && len(q.Fields) == 0 {
		return effect{status: OK, rec: present, renew: true}
	}
	return effect{status: OK, rec: stored, write: true}
}

// mergeRecord takes over a record of a lineage that is dissolved: the higher version
// wins, then the greater value. Of equal versions the winner gets a new one, so that
// nobody swaps what he has not seen. Done again it changes nothing.
func mergeRecord(q Request, present Record, live bool) effect {
	v, err := ParseRecord(q.Name, q.Value)
	switch {
	case err != nil:
		return effect{status: Invalid, text: err.Error()}
	case v.Version < present.Version:
		return effect{status: OK, rec: present, lost: lostOf(v, present, live)}
	case v.Version > present.Version:
		return effect{status: OK, rec: v, write: true, lost: lostOf(present, v, live)}
	case bytes.Equal(AppendRecord(nil, v), AppendRecord(nil, present)):
		return effect{status: OK, rec: present}
	}
	kept, dropped := present, v
	if bytes.Compare(v.Value, present.Value) > 0 {
		kept, dropped = v, present
	}
	kept.Version++
	return effect{status: OK, rec: kept, write: true, lost: &dropped}
}

// lostOf returns what is to be told of a record that loses against another.
func lostOf(loser, winner Record, live bool) *Record {
	if !live || loser.Deleted || bytes.Equal(loser.Value, winner.Value) {
		return nil
	}
	return &loser
}

// check returns why a request cannot be done, whatever is stored.
func (q *Request) check() (Status, string) {
	switch {
	case q.Op == 0 || q.Op > merge:
		return Invalid, "no such operation"
	case len(q.Name) > MaxName:
		return TooLarge, "the name is longer than 1 KiB"
	case len(q.Value) > MaxValue && q.Op != merge:
		return TooLarge, "the value is longer than 64 KiB"
	case len(q.Holder) > MaxHolder:
		return TooLarge, "the holder's name is longer than 256 bytes"
	case q.TTL < 0 || q.TTL > maxTTL:
		return TooLarge, "a TTL is at most ten years"
	case len(q.Fields) > MaxUnknown || checkFields(q.Fields, tagFirstUnknown-1) != nil:
		return Invalid, "malformed fields"
	case (q.Op == Acquire || q.Op == Renew) && q.TTL < time.Millisecond:
		return Invalid, "a lease needs a TTL"
	case q.Op >= Acquire && q.Op <= Release && q.Holder == "":
		return Invalid, "a lease needs a holder"
	}
	return 0, ""
}
