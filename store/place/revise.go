package place

import (
	"slices"

	"github.com/aether-lan/aether/store"
)

// Terms say what [Map.Revise] may change. The zero Terms choose anew.
type Terms struct {
	// Now are the machines that keep it. They stay as far as they can.
	Now []store.MachineID
	// Gone says which machines will not keep it any more; nil: none. Who is no member
	// is gone.
	Gone func(store.MachineID) bool
	// Room says which machines can take it in addition to what they have; nil: all.
	Room func(store.MachineID) bool
	// Fewer gives up copies beyond n, the last of the order first.
	Fewer bool
	// Better says whether it is worth it to move a copy from a machine to one that
	// comes before it in the order; nil: never.
	Better func(from, to store.MachineID) bool
}

func (t *Terms) gone(id store.MachineID) bool { return t.Gone != nil && t.Gone(id) }
func (t *Terms) room(id store.MachineID) bool { return t.Room == nil || t.Room(id) }

// Revise returns the machines that shall keep what key names in n copies from now on:
// those of t.Now that are not gone, and then the first of the order that have room;
// fewer than n where there are fewer. Of two or more at least one is no laptop, where
// there is such a one with room. They are in the order of key, except that t.Now is
// returned as it is when nothing changes. Only what must move moves: each machine that
// is gone is replaced by one other, and what was lost is all that is copied.
func (m *Map) Revise(key [16]byte, n int, t Terms) []store.MachineID {
	n = max(n, 0)
	order := m.Order(key)
	var keep []store.MachineID
	for _, id := range order {
		if slices.Contains(t.Now, id) && !t.gone(id) {
			keep = append(keep, id)
		}
	}
	if t.Fewer && len(keep) > n {
		keep = m.fewer(keep, n)
	}
	free := func(id store.MachineID) bool { return !slices.Contains(keep, id) && !t.gone(id) && t.room(id) }
	for _, id := range order {
		if len(keep) < n && free(id) {
			keep = append(keep, id)
		}
	}
	if n >= 2 && len(keep) >= 2 && !slices.ContainsFunc(keep, m.steady) {
		if i := slices.IndexFunc(order, func(id store.MachineID) bool { return m.steady(id) && free(id) }); i >= 0 {
			keep[len(keep)-1] = order[i]
		}
	}
	if t.Better != nil && len(keep) >= n {
		keep = m.improve(order, keep, n, t)
	}
	if same(keep, t.Now) {
		return t.Now
	}
	position := func(id store.MachineID) int { return slices.Index(order, id) }
	slices.SortFunc(keep, func(a, b store.MachineID) int { return position(a) - position(b) })
	return keep
}

// steady reports whether id is a member that is always on.
func (m *Map) steady(id store.MachineID) bool { return !m.laptop(id) }

// fewer returns the first n of keep, one of them no laptop where keep has such a one.
func (m *Map) fewer(keep []store.MachineID, n int) []store.MachineID {
	first := keep[:n:n]
	if n >= 2 && !slices.ContainsFunc(first, m.steady) {
		if i := slices.IndexFunc(keep, m.steady); i >= 0 {
			first[n-1] = keep[i]
		}
	}
	return first
}

// improve moves copies to the machines that would be chosen today.
func (m *Map) improve(order, keep []store.MachineID, n int, t Terms) []store.MachineID {
	var today []store.MachineID
	for _, id := range order {
		if len(today) < n && !t.gone(id) && (slices.Contains(keep, id) || t.room(id)) {
			today = append(today, id)
		}
	}
	for _, to := range today {
		if slices.Contains(keep, to) {
			continue
		}
		for i := len(keep) - 1; i >= 0; i-- {
			from := keep[i]
			if slices.Contains(today, from) || !t.Better(from, to) {
				continue
			}
			if m.steady(from) && m.laptop(to) && steadies(m, keep) < 2 {
				continue // it is the only copy on a machine that is always on
			}
			keep[i] = to
			break
		}
	}
	return keep
}

func steadies(m *Map, ids []store.MachineID) (n int) {
	for _, id := range ids {
		if m.steady(id) {
			n++
		}
	}
	return n
}

// same reports whether a and b name the same machines.
func same(a, b []store.MachineID) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id store.MachineID) bool { return !slices.Contains(b, id) })
}
