package igmp

import (
	"fmt"
	"net/netip"
	"slices"
)

// FilterMode says whether a list of sources is what is wanted or what is not
// (RFC 9776 section 3.1).
type FilterMode uint8

// The filter modes. To include nothing is not to listen.
const (
	Include FilterMode = iota
	Exclude
)

// String returns "include" or "exclude".
func (m FilterMode) String() string {
	if m == Exclude {
		return "exclude"
	}
	return "include"
}

// SourceSet is a set of source addresses: sorted, each once. Nil is the empty
// set. Its methods return new sets and change none.
type SourceSet []netip.Addr

// NewSourceSet returns the set of the addresses, in any order and with
// repetitions.
func NewSourceSet(list ...netip.Addr) SourceSet {
	if len(list) == 0 {
		return nil
	}
	s := slices.Clone(list)
	slices.SortFunc(s, netip.Addr.Compare)
	return SourceSet(slices.Compact(s))
}

// Has reports whether a is in s.
func (s SourceSet) Has(a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(s, a, netip.Addr.Compare)
	return found
}

// Union returns s+t: what is in either.
func (s SourceSet) Union(t SourceSet) SourceSet { return s.merge(t, true, true, true) }

// Intersect returns s*t: what is in both.
func (s SourceSet) Intersect(t SourceSet) SourceSet { return s.merge(t, false, true, false) }

// Minus returns s-t: what is in s and not in t.
func (s SourceSet) Minus(t SourceSet) SourceSet { return s.merge(t, true, false, false) }

// merge walks through both sets at once and keeps what is only in s, in both, and
// only in t, as told.
func (s SourceSet) merge(t SourceSet, onlyS, both, onlyT bool) (out SourceSet) {
	keep := func(a netip.Addr, yes bool) {
		if yes {
			out = append(out, a)
		}
	}
	for len(s) > 0 && len(t) > 0 {
		switch c := s[0].Compare(t[0]); {
		case c < 0:
			keep(s[0], onlyS)
			s = s[1:]
		case c > 0:
			keep(t[0], onlyT)
			t = t[1:]
		default:
			keep(s[0], both)
			s, t = s[1:], t[1:]
		}
	}
	if onlyS {
		out = append(out, s...)
	}
	if onlyT {
		out = append(out, t...)
	}
	return out
}

// Reception is what a router knows of the sources of one group (RFC 9776 section
// 6.2.1). In Include mode, Requested are the sources that somebody wants, and
// Excluded is empty. In Exclude mode everything is forwarded but Excluded;
// Requested are those whose timers run, because somebody may want them alone.
type Reception struct {
	Mode      FilterMode
	Requested SourceSet // X, or A in Include mode: timers run
	Excluded  SourceSet // Y: timers are zero
}

// Action is what a record does to a router's state and timers: one row of the
// tables in RFC 9776 sections 6.4.1 and 6.4.2.
type Action struct {
	// Next is the new state. Sources that it adds to Excluded have timers of zero;
	// timers of sources that are in neither set are deleted.
	Next Reception
	// Renew are the sources whose timers become the group membership interval.
	Renew SourceSet
	// Inherit are the sources whose timers become what the group's timer is before
	// GroupTimer acts.
	Inherit SourceSet
	// GroupTimer says that the group's timer becomes the group membership interval.
	GroupTimer bool
	// QuerySources are the sources to query, Q(G,S), if there are any.
	QuerySources SourceSet
	// QueryGroup says that the group is to be queried, Q(G).
	QueryGroup bool
}

// Apply returns what a record of type t with sources b does in state r. A record
// of an unknown type does nothing.
func (r Reception) Apply(t RecordType, b SourceSet) Action {
	if r.Mode == Include {
		return r.applyInclude(t, b)
	}
	return r.applyExclude(t, b)
}

// applyInclude has the rows of state INCLUDE (A).
func (r Reception) applyInclude(t RecordType, b SourceSet) Action {
	a := r.Requested
	more := Reception{Mode: Include, Requested: a.Union(b)}
	toExclude := Reception{Mode: Exclude, Requested: a.Intersect(b), Excluded: b.Minus(a)}
	switch t {
	case ModeIsInclude, AllowNewSources:
		return Action{Next: more, Renew: b}
	case ModeIsExclude:
		return Action{Next: toExclude, GroupTimer: true}
	case BlockOldSources:
		return Action{Next: r, QuerySources: a.Intersect(b)}
	case ChangeToExclude:
		return Action{Next: toExclude, GroupTimer: true, QuerySources: a.Intersect(b)}
	case ChangeToInclude:
		return Action{Next: more, Renew: b, QuerySources: a.Minus(b)}
	}
	return Action{Next: r}
}

// applyExclude has the rows of state EXCLUDE (X,Y).
func (r Reception) applyExclude(t RecordType, a SourceSet) Action {
	x, y := r.Requested, r.Excluded
	fresh := a.Minus(x).Minus(y)
	wanted := Reception{Mode: Exclude, Requested: x.Union(a), Excluded: y.Minus(a)}
	exclude := Reception{Mode: Exclude, Requested: a.Minus(y), Excluded: y.Intersect(a)}
	switch t {
	case ModeIsInclude, AllowNewSources:
		return Action{Next: wanted, Renew: a}
	case ModeIsExclude:
		return Action{Next: exclude, Renew: fresh, GroupTimer: true}
	case BlockOldSources:
		next := Reception{Mode: Exclude, Requested: x.Union(a.Minus(y)), Excluded: y}
		return Action{Next: next, Inherit: fresh, QuerySources: a.Minus(y)}
	case ChangeToExclude:
		return Action{Next: exclude, Inherit: fresh, GroupTimer: true, QuerySources: a.Minus(y)}
	case ChangeToInclude:
		return Action{Next: wanted, Renew: a, QuerySources: x.Minus(a), QueryGroup: true}
	}
	return Action{Next: r}
}

// String returns the state as RFC 9776 section 6.4 writes it.
func (r Reception) String() string {
	if r.Mode == Include {
		return fmt.Sprintf("include %v", []netip.Addr(r.Requested))
	}
	return fmt.Sprintf("exclude %v %v", []netip.Addr(r.Requested), []netip.Addr(r.Excluded))
}
