package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// What was removed is remembered, since somebody may have changed it meanwhile who has
// not heard of the removal. It can be forgotten once nobody is left who has not: when
// every author has made an operation later that has seen it. Two operations make all
// machines forget the same at the same place of the causal order:
//
//	horizon  what was removed before a time, as far as its author has heard, must not
//	         be brought back any more.
//	purge    the nodes with these IDs are forgotten. Its author makes it when all others
//	         have made operations that have seen the horizon: what it has not heard of
//	         yet was made by somebody who knows that those nodes are gone.
//
// Nothing can be forgotten while an author is silent. One that is silent for too long
// is retired, by two operations more:
//
//	retire   no operation of the machine is applied any more; what comes waits, but for
//	         what others are known to have applied.
//	close    the operations of the machine count up to a number: the last that any
//	         other had applied when it heard of the retirement. Later ones count only if
//	         they have seen the close; those that have not are void for ever.
//
// A machine that was retired and comes back hears of the close, and must make its tree
// anew ([Closed], [Tree.Wipe]): its own later operations are void there, too.

// ErrWaiting reports that other machines have not made the operations yet that a purge
// or close has to wait for.
var ErrWaiting = errors.New("other machines have not answered yet")

// ErrBeyond reports a change of what was removed so long ago that it is being
// forgotten. It is a kind of store.ErrNotFound.
var ErrBeyond = fmt.Errorf("removed too long ago: %w", store.ErrNotFound)

// MaxPurge is how many nodes one purge can forget.
const MaxPurge = 3500

// Keys of what this file keeps, behind keyLapse:
//
//	'H' machine            the last horizon of that author: number, time
//	'R' machine, dot       a retirement that is not closed: empty
//	'C' machine, dot       a close: up to where the machine's operations count
//	'F' machine            its log has forked: no more of it is waited for; empty
const (
	lapseHorizon = 'H'
	lapseRetire  = 'R'
	lapseClose   = 'C'
	lapseFork    = 'F'
)

func lapseKey(kind byte, m store.MachineID) []byte { return key(keyLapse, []byte{kind}, m[:]) }

func lapseDotKey(kind byte, m store.MachineID, d store.Dot) []byte {
	return append(lapseKey(kind, m), append(d.Machine[:], u64(d.Seq)...)...)
}

// dotsOf returns the dots, and the values, of the records of a kind about m.
func dotsOf(r store.Reader, kind byte, m store.MachineID) (dots []store.Dot, values []uint64, err error) {
	from := lapseKey(kind, m)
	err = r.Scan(from, end(from), func(k, v []byte) bool {
		if k = k[len(from):]; len(k) != 24 {
			return true
		}
		dots = append(dots, store.Dot{Machine: store.MachineID(k[:16]), Seq: be64(k[16:])})
		n := uint64(0)
		if len(v) == 8 {
			n = be64(v)
		}
		values = append(values, n)
		return true
	})
	return dots, values, err
}

// sees reports whether op's author had applied d when it made op, which need not be
// applied here.
func sees(r store.Reader, op *Op, d store.Dot) (bool, error) {
	if i := slices.IndexFunc(op.Seen, func(s store.Dot) bool { return s.Machine == d.Machine }); i >= 0 && op.Seen[i].Seq >= d.Seq {
		return true, nil
	}
	return saw(r, op.Dot, d)
}

// held reports whether operations of m wait for a close.
func held(r store.Reader, m store.MachineID) (bool, error) {
	dots, _, err := dotsOf(r, lapseRetire, m)
	return len(dots) > 0, err
}

// Distrust says that no more operations of machine m will come here, since its log has
// forked. Those of others that have seen some wait for them no more. What they build on
// is missing then: machines that took the other log may show another drive.
func (t *Tree) Distrust(tx store.Txn, m store.MachineID, now time.Time) ([]Event, error) {
	w, err := newWork(tx, t)
	if err != nil {
		return nil, fmt.Errorf("tree: distrust: %w", err)
	}
	w.state.Lapsed = true
	if err := w.tx.Set(lapseKey(lapseFork, m), nil); err != nil {
		return nil, fmt.Errorf("tree: distrust: %w", err)
	}
	if err := w.release(now); err != nil {
		return nil, fmt.Errorf("tree: distrust: %w", err)
	}
	events, err := w.finish()
	if err != nil {
		return nil, fmt.Errorf("tree: distrust: %w", err)
	}
	return events, nil
}

func distrusted(r store.Reader, m store.MachineID) (bool, error) {
	_, err := r.Get(lapseKey(lapseFork, m))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// unwanted reports whether nobody who is not retired himself is known to have applied
// d, an operation of a retired machine: the close will then leave it out. Else it must
// be applied, since what others have made after it waits for it.
func (w *work) unwanted(d store.Dot) (bool, error) {
	from := key(keyParked)
	wanted := false
	var bad error
	err := w.tx.Scan(from, end(from), func(_, v []byte) bool {
		var op Op
		if op, bad = ParseOp(v); bad != nil {
			return false
		}
		i := slices.IndexFunc(op.Seen, func(s store.Dot) bool { return s.Machine == d.Machine && s.Seq >= d.Seq })
		if i < 0 || op.Dot.Machine == d.Machine {
			return true
		}
		var also bool
		also, bad = held(w.tx, op.Dot.Machine)
		wanted = !also
		return !wanted && bad == nil
	})
	return !wanted, errors.Join(err, bad)
}

// void reports whether op does not count: its author was closed before it, and had
// not heard so.
func void(r store.Reader, op *Op) (bool, error) {
	dots, upTo, err := dotsOf(r, lapseClose, op.Dot.Machine)
	for i, d := range dots {
		if err != nil || op.Dot.Seq <= upTo[i] {
			continue
		}
		var ok bool
		if ok, err = sees(r, op, d); err == nil && !ok {
			return true, nil
		}
	}
	return false, err
}

// lapse applies the operations of this file.
func (w *work) lapse(op *Op) error {
	switch op.Kind {
	case KindHorizon:
		if len(op.Body) != 8 {
			return errInvalid
		}
		w.state.Horizon = max(w.state.Horizon, store.Time(be64(op.Body)))
		return w.tx.Set(lapseKey(lapseHorizon, op.Dot.Machine), append(u64(op.Dot.Seq), op.Body...))
	case KindRetire:
		if len(op.Body) != 16 {
			return errInvalid
		}
		w.state.Lapsed = true
		return w.tx.Set(lapseDotKey(lapseRetire, store.MachineID(op.Body), op.Dot), nil)
	case KindClose:
		return w.closeAuthor(op)
	case KindPurge:
		return w.purge(op)
	}
	return nil
}

// closeAuthor ends the retirements that op's author had heard of.
func (w *work) closeAuthor(op *Op) error {
	if len(op.Body) != 24 {
		return errInvalid
	}
	m, upTo := store.MachineID(op.Body[:16]), be64(op.Body[16:])
	w.state.Lapsed = true
	dots, _, err := dotsOf(w.tx, lapseRetire, m)
	if err != nil {
		return err
	}
	for _, d := range dots {
		ok, err := saw(w.tx, op.Dot, d)
		if err != nil {
			return err
		}
		if ok {
			if err := w.tx.Delete(lapseDotKey(lapseRetire, m, d)); err != nil {
				return err
			}
		}
	}
	k := lapseDotKey(lapseClose, m, op.Dot)
	if _, err := w.tx.Get(k); !errors.Is(err, store.ErrNotFound) {
		return err // known since before the tree was wiped
	}
	last, err := applied(w.tx, m)
	if err != nil {
		return err
	}
	if last > upTo { // of ours; or of somebody from whom we heard before the others
		w.events = append(w.events, Event{Kind: Closed, Dot: store.Dot{Machine: m, Seq: upTo}})
	}
	return w.tx.Set(k, u64(upTo))
}

// alive refuses to change what lies beyond the horizon.
func (l *local) alive(op *Op) error {
	if l.state.Horizon == 0 || op.Node == Root {
		return nil
	}
	n, err := loadNode(l.tx, op.Node)
	if err != nil || n.View.shown() || n.View.named() {
		return err
	}
	del, err := l.removals(&n)
	if err == nil && len(del) > 0 && del[len(del)-1].At.Time < l.state.Horizon {
		err = ErrBeyond
	}
	return err
}

// removals returns the deletions that hold for a node, oldest first.
func (w *work) removals(n *node) ([]deletion, error) {
	parent, err := loadNode(w.tx, n.Place.Parent)
	if err != nil {
		return nil, err
	}
	return deletionsOf(w.tx, n, &parent)
}

// Standing says how a machine takes part in the log.
type Standing struct {
	// Last is the number of its last operation that was applied.
	Last uint64
	// Retired: its operations wait for a close.
	Retired bool
	// Closed: it was closed, and has not been back since.
	Closed bool
}

// Standing returns how machine m takes part.
func (t *Tree) Standing(r store.Reader, m store.MachineID) (s Standing, err error) {
	if s.Last, err = applied(r, m); err != nil {
		return s, fmt.Errorf("tree: standing: %w", err)
	}
	if s.Retired, err = held(r, m); err != nil {
		return s, fmt.Errorf("tree: standing: %w", err)
	}
	dots, _, err := dotsOf(r, lapseClose, m)
	for _, d := range dots {
		ok, serr := saw(r, store.Dot{Machine: m, Seq: s.Last}, d)
		s.Closed, err = s.Closed || !ok, errors.Join(err, serr)
	}
	if err != nil {
		err = fmt.Errorf("tree: standing: %w", err)
	}
	return s, err
}

// MustAnswer reports whether others have made horizons, retirements or closes that no
// operation of this machine has seen yet.
func (t *Tree) MustAnswer(r store.Reader) (must bool, err error) {
	last, err := applied(r, t.self)
	if err != nil {
		return false, fmt.Errorf("tree: must answer: %w", err)
	}
	var dots []store.Dot
	from := key(keyLapse)
	err = r.Scan(from, end(from), func(k, v []byte) bool {
		switch rest := k[3:]; {
		case k[2] == lapseHorizon && len(v) == 16:
			dots = append(dots, store.Dot{Machine: store.MachineID(rest), Seq: be64(v)})
		case k[2] != lapseHorizon && len(rest) == 40:
			dots = append(dots, store.Dot{Machine: store.MachineID(rest[16:32]), Seq: be64(rest[32:])})
		}
		return true
	})
	for _, d := range dots {
		ok, serr := saw(r, store.Dot{Machine: t.self, Seq: last}, d)
		must, err = must || !ok, errors.Join(err, serr)
	}
	if err != nil {
		err = fmt.Errorf("tree: must answer: %w", err)
	}
	return must, err
}

// LastOwn returns what the clock of this machine said when it made its last operation.
func (t *Tree) LastOwn(r store.Reader) (store.Time, error) {
	s, err := loadState(r)
	return s.Own, err
}

// Saw reports whether the author of b had applied a when it made b, which is applied
// here.
func (t *Tree) Saw(r store.Reader, b, a store.Dot) (bool, error) { return saw(r, b, a) }

// current calls f with the authors that take part, self left out, and their last
// operations.
func (t *Tree) current(r store.Reader, f func(last store.Dot) error) error {
	v, err := t.Vector(r)
	if err != nil {
		return err
	}
	for _, m := range v.Machines() {
		if m == t.self {
			continue
		}
		s, err := t.Standing(r, m)
		if err != nil {
			return err
		}
		if s.Retired || s.Closed {
			continue
		}
		if err := f(store.Dot{Machine: m, Seq: s.Last}); err != nil {
			return err
		}
	}
	return nil
}

// Unanswered returns the machines that take part and have made no operation that has
// seen d, as far as is known here.
func (t *Tree) Unanswered(r store.Reader, d store.Dot) (waiting []store.MachineID, err error) {
	err = t.current(r, func(last store.Dot) error {
		ok, err := saw(r, last, d)
		if !ok && last.Machine != d.Machine {
			waiting = append(waiting, last.Machine)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("tree: unanswered: %w", err)
	}
	return waiting, err
}

// Horizon says that what was removed before the given time will be forgotten.
func (t *Tree) Horizon(tx store.Txn, before, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "horizon", "", func(l *local) error {
		return l.issue(Op{Kind: KindHorizon, Body: u64(uint64(store.TimeAt(before)))}, 0)
	})
}

// Quorum reports whether this machine and those for which heard is true are more than
// half of all that take part, or half and among them the one with the lowest ID. Only
// then may others be retired, lest two halves of a pool retire each other.
func (t *Tree) Quorum(r store.Reader, heard func(store.MachineID) bool) (bool, error) {
	v, err := t.Vector(r)
	if err != nil {
		return false, fmt.Errorf("tree: quorum: %w", err)
	}
	all, here, lowest := 1, 1, t.self
	first := true // the lowest is here
	for _, m := range v.Machines() {
		s, err := t.Standing(r, m)
		if err != nil {
			return false, err
		}
		if m == t.self || s.Closed {
			continue
		}
		ok := heard(m)
		if all++; ok {
			here++
		}
		if m.Compare(lowest) < 0 {
			lowest, first = m, ok
		}
	}
	return 2*here > all || 2*here == all && first, nil
}

// Retire ends for the time being that operations of another machine are applied. The
// caller sees to it that there is a quorum without it.
func (t *Tree) Retire(tx store.Txn, m store.MachineID, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "retire", m.Short(), func(l *local) error {
		if m == l.self {
			return ErrBadOp
		}
		return l.issue(Op{Kind: KindRetire, Body: m[:]}, 0)
	})
}

// Close says up to where the operations of a retired machine count. It fails with
// ErrWaiting until all others have answered the retirement, and with
// store.ErrNotFound for a machine that is not retired.
func (t *Tree) Close(tx store.Txn, m store.MachineID, now time.Time) ([]Op, []Event, error) {
	return t.do(tx, now, "close", m.Short(), func(l *local) error {
		dots, _, err := dotsOf(l.tx, lapseRetire, m)
		if err == nil && len(dots) == 0 {
			err = store.ErrNotFound
		}
		if err != nil {
			return err
		}
		for _, d := range dots {
			if waiting, err := t.Unanswered(l.tx, d); err != nil || len(waiting) > 0 {
				return errors.Join(err, ErrWaiting)
			}
		}
		upTo, err := applied(l.tx, m)
		if err != nil {
			return err
		}
		if err := t.current(l.tx, func(last store.Dot) error {
			n, err := seenOf(l.tx, last, m)
			upTo = max(upTo, n)
			return err
		}); err != nil {
			return err
		}
		return l.issue(Op{Kind: KindClose, Body: binary.BigEndian.AppendUint64(slices.Clone(m[:]), upTo)}, 0)
	})
}

// seenOf returns how many operations of m the author of d had applied when it made d.
func seenOf(r store.Reader, d store.Dot, m store.MachineID) (uint64, error) {
	from := key(keySeen, d.Machine[:], m[:])
	_, v, err := r.Last(from, append(append(slices.Clone(from), u64(d.Seq)...), 0))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(v) != 8 {
		return 0, errors.Join(err, lenError(len(v)))
	}
	return be64(v), nil
}

// Wipe takes away, some keys at a time, all but the past and the closes, so that the
// operations can be applied anew from the log: those that are void will have no
// effect then. It reports whether there is more to take away. Clock readings stay.
func (t *Tree) Wipe(tx store.Txn, limit int) (more bool, err error) {
	s, err := loadState(tx)
	if err != nil {
		return false, fmt.Errorf("tree: wipe: %w", err)
	}
	if err := put(tx, key(keyState), &state{Clock: s.Clock, Own: s.Own, Past: s.Past, Lapsed: s.Lapsed}); err != nil {
		return false, fmt.Errorf("tree: wipe: %w", err)
	}
	var keys [][]byte
	from := []byte{store.PrefixTree}
	err = tx.Scan(from, end(from), func(k, _ []byte) bool {
		switch {
		case k[1] == keyState, k[1] == keyPast, k[1] == keyDue, k[1] == keyLapse && (k[2] == lapseClose || k[2] == lapseFork):
		case len(keys) >= limit:
			more = true
			return false
		default:
			keys = append(keys, append([]byte{}, k...))
		}
		return true
	})
	for _, k := range keys {
		err = errors.Join(err, tx.Delete(k))
	}
	if err != nil {
		return false, fmt.Errorf("tree: wipe: %w", err)
	}
	return more, nil
}

// NodeOf returns the ID of the node that the create or link operation d makes.
func NodeOf(d store.Dot) store.FileID { return nodeOf(d) }
