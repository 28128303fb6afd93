package records

import (
	"slices"
	"strings"
)

// watches are those who are told of changes.
type watches struct {
	all      map[RequestID]watch
	names    map[string][]RequestID // of a name
	prefixes []RequestID
}

type watch struct {
	name   string
	prefix bool
}

func (e *Engine) addWatch(q Request) bool {
	if len(e.watches.all) >= e.cfg.MaxWatches {
		e.stats.Busy++
		return false
	}
	if _, again := e.watches.all[q.ID]; again {
		return true
	}
	e.watches.all[q.ID] = watch{q.Name, q.Limit == 1}
	if q.Limit == 1 {
		e.watches.prefixes = append(e.watches.prefixes, q.ID)
	} else {
		e.watches.names[q.Name] = append(e.watches.names[q.Name], q.ID)
	}
	return true
}

// watch begins to tell of changes of a name that this node leads.
func (e *Engine) watch(q Request) bool { return e.addWatch(q) }

// watchPrefix tells of all that this node leads under a prefix, now and later.
func (e *Engine) watchPrefix(q Request) {
	if !e.addWatch(q) {
		e.emit(Answered{Response{ID: q.ID, Status: Busy, Text: "too many watches"}})
		return
	}
	e.emit(Answered{Response{ID: q.ID, Status: OK}})
	for _, l := range e.leads {
		e.showPrefix(l.r, q.ID)
	}
}

func (e *Engine) showPrefix(r *replica, id RequestID) {
	w := e.watches.all[id]
	for _, n := range r.shelf.sorted() {
		if i := r.shelf.items[n]; strings.HasPrefix(n, w.name) && !i.rec.Deleted {
			e.emit(Changed{id, i.rec})
		}
	}
}

// showWatches tells the watches of prefixes what this node begins to lead.
func (e *Engine) showWatches(r *replica) {
	for _, id := range e.watches.prefixes {
		e.showPrefix(r, id)
	}
}

// endWatches tells that this node does not lead the arc any more.
func (e *Engine) endWatches(r *replica) {
	for _, id := range e.watches.prefixes {
		w := e.watches.all[id]
		for _, n := range r.shelf.sorted() {
			if strings.HasPrefix(n, w.name) && !r.shelf.items[n].rec.Deleted {
				e.emit(Lost{id, n})
			}
		}
	}
	for _, id := range e.sortedWatches() {
		w := e.watches.all[id]
		if key := e.key(w.name); !w.prefix && r.group.Arc.Contains(key) {
			e.dropWatch(id)
			e.emit(Ended{id, w.name, e.elsewhere(id, key).Leader})
		}
	}
}

// sortedWatches lists all in an order that does not depend on the run.
func (e *Engine) sortedWatches() []RequestID {
	list := make([]RequestID, 0, len(e.watches.all))
	for id := range e.watches.all {
		list = append(list, id)
	}
	slices.SortFunc(list, func(a, b RequestID) int { return slices.Compare(a[:], b[:]) })
	return list
}

func (e *Engine) dropWatch(id RequestID) {
	w, ok := e.watches.all[id]
	if !ok {
		return
	}
	delete(e.watches.all, id)
	is := func(v RequestID) bool { return v == id }
	if w.prefix {
		e.watches.prefixes = slices.DeleteFunc(e.watches.prefixes, is)
		return
	}
	if list := slices.DeleteFunc(e.watches.names[w.name], is); len(list) > 0 {
		e.watches.names[w.name] = list
	} else {
		delete(e.watches.names, w.name)
	}
}

// tellWatches tells of the writes that were committed since.
func (e *Engine) tellWatches(l *lead, since uint64) {
	if len(e.watches.all) == 0 {
		return
	}
	for seq := max(since+1, l.window.first); seq <= l.committed; seq++ {
		n := l.window.list[seq-l.window.first]
		ids := e.watches.names[n.Name]
		for _, id := range e.watches.prefixes {
			if strings.HasPrefix(n.Name, e.watches.all[id].name) {
				ids = append(slices.Clip(ids), id)
			}
		}
		if len(ids) == 0 || len(n.Record) == 0 {
			continue
		}
		rec, err := ParseRecord(n.Name, n.Record)
		if err != nil {
			continue
		}
		for _, id := range ids {
			e.emit(Changed{id, rec})
		}
	}
}

// unwatch ends a watch.
func (e *Engine) unwatch(q Request) {
	status := OK
	if _, ok := e.watches.all[q.ID]; !ok {
		status = NotFound
	}
	e.dropWatch(q.ID)
	e.emit(Answered{Response{ID: q.ID, Status: status}})
}
