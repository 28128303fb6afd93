package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/tree"
)

// Change is a change of the members that is thought through and not made.
type Change struct {
	// Add is what a machine would set aside that joined; 0: none joins.
	Add int64
	// Remove is the name or ID of a machine that would leave; empty: none leaves.
	Remove string
	// Rate is how many bytes a second can be copied in all. 0 means
	// [DefaultPlanRate].
	Rate int64
}

// DefaultPlanRate is what a gigabit network carries: 100 MB a second.
const DefaultPlanRate = 100_000_000

// Plan says what a change of the members would bring about.
type Plan struct {
	// Files and Bytes are what would be copied, for Seconds at Rate bytes a second.
	Files   int64   `json:"files"`
	Bytes   int64   `json:"bytes"`
	Rate    int64   `json:"rate"`
	Seconds float64 `json:"seconds"`
	// Moves are the bytes by whom they would come from and go to.
	Moves []Move `json:"moves"`
	// Homeless counts files, and HomelessBytes their copies' bytes, for which there
	// would be no room; Fits says that there are none.
	Homeless      int64 `json:"homeless"`
	HomelessBytes int64 `json:"homeless_bytes"`
	Fits          bool  `json:"fits"`
	// Last counts files of which the machine that leaves has the only copy known.
	Last int64 `json:"last"`
	// Total and Free are the drive's sizes afterwards, TotalNow and FreeNow today's.
	Total    int64 `json:"total"`
	Free     int64 `json:"free"`
	TotalNow int64 `json:"total_now"`
	FreeNow  int64 `json:"free_now"`
}

// Move is what would be copied from one machine to another.
type Move struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// planned is a plan under way: the pool as it would be.
type planned struct {
	m       *Machine
	members []store.Machine
	gone    store.MachineID // zero: none
	added   store.MachineID // zero: none
	used    map[store.MachineID]int64
	space   map[store.MachineID]int64
	maps    map[int]*place.Map
	names   map[store.MachineID]string
	moves   map[[2]string]*Move
	out     Plan
}

// Plan works out what would be copied if a machine joined or left. Nothing is changed.
func (m *Machine) Plan(ctx context.Context, ch Change) (Plan, error) {
	p := &planned{m: m, used: map[store.MachineID]int64{}, space: map[store.MachineID]int64{}, maps: map[int]*place.Map{},
		names: map[store.MachineID]string{}, moves: map[[2]string]*Move{}}
	var err error
	if cerr := m.core.call(ctx, func() { err = p.begin(ch) }); err != nil || cerr != nil {
		return Plan{}, errors.Join(err, cerr)
	}
	p.out.TotalNow, p.out.FreeNow = m.PoolSpace()
	var batch []tree.Entry
	flush := func() {
		cerr := m.core.call(ctx, func() {
			for _, e := range batch {
				p.file(e)
			}
		})
		err, batch = errors.Join(err, cerr), batch[:0]
	}
	werr := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir && e.Version.Content.Size > 0 {
			batch = append(batch, e)
		}
		if len(batch) == statusBatch {
			flush()
		}
		return err == nil
	})
	flush()
	if err = errors.Join(err, werr); err != nil {
		return Plan{}, err
	}
	return p.end(ch), nil
}

// begin takes down who would be there. It runs alone with the core.
func (p *planned) begin(ch Change) error {
	c, now := p.m.core, p.m.now()
	for _, x := range c.members.list() {
		p.names[x.ID] = c.nameOf(x.ID)
		if ch.Remove != "" && (x.Name == ch.Remove || x.ID.String() == ch.Remove || x.ID.Short() == ch.Remove) {
			if !p.gone.IsZero() {
				return fmt.Errorf("node: plan: %w: several machines are called %s: name it by its ID", errBadRequest, ch.Remove)
			}
			p.gone = x.ID
			continue
		}
		p.members = append(p.members, x)
		u, _ := c.usageOf(now, x.ID)
		p.used[x.ID], p.space[x.ID] = u.Replicas, u.Space-reserve(u.Space)
	}
	if ch.Remove != "" && p.gone.IsZero() {
		return fmt.Errorf("node: plan: no machine is called %s: %w", ch.Remove, store.ErrNotFound)
	}
	if ch.Add > 0 {
		p.added = store.MachineID{0: 'n', 1: 'e', 2: 'w'}
		p.names[p.added] = "the new machine"
		p.members = append(p.members, store.Machine{ID: p.added, Space: uint64(ch.Add)})
		p.space[p.added] = ch.Add - reserve(ch.Add)
	}
	return nil
}

func (p *planned) mapOf(n int) *place.Map {
	if p.maps[n] == nil {
		p.maps[n] = place.New(p.members, n)
	}
	return p.maps[n]
}

// file places one file anew. It runs alone with the core.
func (p *planned) file(e tree.Entry) {
	v := e.Version
	leaves := !p.gone.IsZero() && slices.Contains(v.Holders, p.gone)
	if !leaves && p.added.IsZero() {
		return
	}
	size, want := v.Content.Size, p.m.copiesOf(e)
	terms := place.Terms{Now: v.Holders, Room: func(id store.MachineID) bool { return p.used[id]+size <= p.space[id] }}
	if !p.added.IsZero() {
		terms.Better = func(from, to store.MachineID) bool { return to == p.added && p.lighter(from, to) }
	}
	key := place.Key(p.m.drive.FirstChunks(v.Content, place.KeyRefs))
	now := p.mapOf(want).Revise(key, want, terms)
	var from []store.MachineID
	for _, id := range v.Holders {
		if !slices.Contains(now, id) {
			from = append(from, id)
			p.used[id] -= size
		}
	}
	for _, id := range now {
		if !slices.Contains(v.Holders, id) {
			p.used[id] += size
			p.move(p.source(from, v.Holders), id, size)
		}
	}
	if leaves {
		p.leaves(e, now, want)
	}
}

// lighter is core.lighter in the pool as it would be.
func (p *planned) lighter(from, to store.MachineID) bool {
	full := func(id store.MachineID) float64 { return float64(p.used[id]) / float64(max(1, p.space[id])) }
	a, b := full(from), full(to)
	return a-b > .02+.1*max(0, 1-a)
}

// leaves counts what becomes of a file of the machine that leaves.
func (p *planned) leaves(e tree.Entry, now []store.MachineID, want int) {
	size := e.Version.Content.Size
	if len(now) < max(1, min(want, len(p.members))) {
		p.out.Homeless++
		p.out.HomelessBytes += size
	}
	others := assignment(e.ID, e.Version)
	others.Holders = slices.DeleteFunc(slices.Clone(others.Holders), func(id store.MachineID) bool { return id == p.gone })
	if p.m.core.copying.Copies(others) == 0 {
		p.out.Last++
	}
}

// source returns whose bytes would be copied: of a holder that stays, or of the one that
// gives its copy away.
func (p *planned) source(from, holders []store.MachineID) store.MachineID {
	for _, id := range from {
		if id != p.gone {
			return id
		}
	}
	for _, id := range holders {
		if id != p.gone {
			return id
		}
	}
	return p.gone
}

func (p *planned) move(from, to store.MachineID, size int64) {
	k := [2]string{p.names[from], p.names[to]}
	mv := p.moves[k]
	if mv == nil {
		mv = &Move{From: k[0], To: k[1]}
		p.moves[k] = mv
	}
	mv.Files++
	mv.Bytes += size
	p.out.Files++
	p.out.Bytes += size
}

// end adds up.
func (p *planned) end(ch Change) Plan {
	out := p.out
	out.Rate = ch.Rate
	if out.Rate <= 0 {
		out.Rate = DefaultPlanRate
	}
	out.Seconds = (time.Duration(float64(out.Bytes) / float64(out.Rate) * float64(time.Second))).Seconds()
	out.Fits = out.Homeless == 0
	for _, mv := range p.moves {
		out.Moves = append(out.Moves, *mv)
	}
	slices.SortFunc(out.Moves, func(a, b Move) int {
		if a.Bytes != b.Bytes {
			return int(max(-1, min(1, b.Bytes-a.Bytes)))
		}
		return slices.Compare([]string{a.From, a.To}, []string{b.From, b.To})
	})
	var spaces, rooms []int64
	for _, x := range p.members {
		spaces = append(spaces, p.space[x.ID])
		rooms = append(rooms, max(0, p.space[x.ID]-p.used[x.ID]))
	}
	n := p.m.copiesWanted()
	out.Total = place.Capacity(spaces, n)
	if count(rooms) >= min(n, len(spaces)) {
		out.Free = place.Capacity(rooms, n)
	}
	return out
}

func servePlan(m *Machine, w http.ResponseWriter, r *http.Request) error {
	var ch Change
	ch.Remove = r.FormValue("remove")
	for name, to := range map[string]*int64{"add": &ch.Add, "rate": &ch.Rate} {
		if s := r.FormValue(name); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < 0 || n > maxSpace {
				return fmt.Errorf("node: %w: %s %q", errBadRequest, name, s)
			}
			*to = n
		}
	}
	p, err := m.Plan(r.Context(), ch)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(p)
}

// Plan works out what would be copied if a machine joined or left. Nothing is changed.
func (c *Client) Plan(ctx context.Context, ch Change) (p Plan, err error) {
	return p, c.one(ctx, http.MethodGet, "plan", &p, "add", strconv.FormatInt(ch.Add, 10), "remove", ch.Remove, "rate", strconv.FormatInt(ch.Rate, 10))
}
