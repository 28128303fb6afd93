package node

import (
	"errors"
	commandline "flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// The specification of a file synchroniser of Hughes, Pierce, Arts and Norell
// ("Mysteries of Dropbox", 2016), for machines without a server. A test may do three
// things, and sees what they return:
//
//	READ       what the file holds on a machine, and its conflict copies there
//	WRITE      new bytes, and what they replaced
//	STABILIZE  waits until all have met, and reads everywhere
//
// Between them happens what nobody sees: UP, a machine tells what it has, and DOWN,
// another takes it. What a machine knows is a set of writes that is closed under what
// their writers had known. A read must be the view of such a set: one that has all
// that the machine was known to know before, and nothing that could not have arrived.

// heldSet is a set of writes, by their bytes.
type heldSet map[string]bool

// modelWrite is a write as the test saw it.
type modelWrite struct {
	replaced string  // what the writer had before him as the file
	past     heldSet // what its machine knew, itself included
}

// synchroniser is what the test concludes from what it sees.
type synchroniser struct {
	writes  map[string]modelWrite
	known   []heldSet         // what each machine is known to know
	could   []heldSet         // what may have arrived there
	winners map[string]string // which write is the file, by the set
	cause   string            // why no UP and DOWN explain what was seen
}

func newSynchroniser(n int) *synchroniser {
	s := &synchroniser{writes: map[string]modelWrite{}, winners: map[string]string{}}
	for range n {
		s.known, s.could = append(s.known, heldSet{}), append(s.could, heldSet{})
	}
	return s
}

func (s *synchroniser) wrong(format string, args ...any) {
	if s.cause == "" {
		s.cause = fmt.Sprintf(format, args...)
	}
}

// closure returns all that a machine knows that shows these writes.
func (s *synchroniser) closure(shown []string) heldSet {
	all := heldSet{}
	for _, v := range shown {
		maps.Copy(all, s.writes[v].past)
	}
	return all
}

// view returns what a machine shows that knows this: what nobody replaced.
func (s *synchroniser) view(known heldSet) []string {
	left := maps.Clone(known)
	for v := range known {
		delete(left, s.writes[v].replaced)
	}
	return slices.Sorted(maps.Keys(left))
}

// meet says that two machines can talk: what one knows may come to the other.
func (s *synchroniser) meet(a, b int) {
	maps.Copy(s.could[a], s.could[b])
	maps.Copy(s.could[b], s.could[a])
}

// read takes what a machine shows, the file itself first.
func (s *synchroniser) read(m int, shown []string) {
	for _, v := range shown {
		if _, ok := s.writes[v]; !ok {
			s.wrong("m%d shows %q, which nobody wrote", m, v)
			return
		}
	}
	known := s.closure(shown)
	if want := s.view(known); !slices.Equal(want, slices.Sorted(slices.Values(shown))) {
		s.wrong("m%d shows %q, and who knows of these shows %q", m, shown, want)
	}
	for v := range s.known[m] {
		if !known[v] {
			s.wrong("m%d has known of %q and shows %q", m, v, shown)
		}
	}
	for v := range known {
		if !s.could[m][v] {
			s.wrong("m%d shows %q, and %q cannot have come there", m, shown, v)
		}
	}
	s.known[m] = known
	if len(shown) == 0 {
		return
	}
	set := strings.Join(slices.Sorted(maps.Keys(known)), "|")
	if w, ok := s.winners[set]; ok && w != shown[0] {
		s.wrong("m%d shows %q, and another that knew the same showed %q", m, shown[0], w)
	}
	s.winners[set] = shown[0]
}

// write takes a write, given what the machine showed before.
func (s *synchroniser) write(m int, before []string, v string) {
	s.read(m, before)
	w := modelWrite{past: maps.Clone(s.known[m])}
	w.past[v] = true
	if len(before) > 0 {
		w.replaced = before[0]
	}
	s.writes[v] = w
	s.known[m] = maps.Clone(w.past)
	s.could[m][v] = true
}

// stable takes what all machines show in the end: everything.
func (s *synchroniser) stable(m int, shown []string) {
	s.read(m, shown)
	if len(s.known[m]) != len(s.writes) {
		s.wrong("m%d shows %q in the end, and has not heard of all %d writes", m, shown, len(s.writes))
	}
}

// modelFile is the file that all write.
const modelFile = "/file"

// shows returns what the machine shows of the file: its bytes, then those of its
// conflict copies.
func (h *simHost) shows() (all []string) {
	first := ""
	_ = h.m.tree.Walk(h.m.kv, "/", func(e tree.Entry) bool {
		text := string(h.w.past.bytes[e.Version.Content.Root])
		b, err := io.ReadAll(h.m.drive.OpenEntry(h.m.background, e))
		if err != nil && !errors.Is(err, drive.ErrUnreachable) || err == nil && string(b) != text {
			h.w.fail("%s reads %q in %s: %v, and %q was written", h, b, e.Path, err, text)
		}
		if e.Path == modelFile {
			first = text
		} else {
			all = append(all, text)
		}
		return true
	})
	if first != "" {
		all = append([]string{first}, all...)
	}
	return all
}

// synchronise lets chance, choose(n) being one of n, test a pool of three machines.
func synchronise(t testing.TB, seed uint64, wrong mistake, steps int, choose func(n int) int) (*simWorld, *synchroniser) {
	w, s := newSimWorld(t, seed), newSynchroniser(3)
	w.wrong = wrong
	for range 3 {
		w.add(w.settings()).start()
	}
	w.run(10 * time.Second)
	for n := range steps {
		h := w.hosts[choose(3)]
		switch choose(8) {
		case 0, 1:
			s.talk(w)
			s.read(h.i, h.shows())
		case 2, 3, 4:
			s.talk(w)
			before, v := h.shows(), fmt.Sprintf("%s wrote number %d", h, n)
			_ = h.do(h.put(modelFile, []byte(v)))
			s.write(h.i, before, v)
		case 5:
			w.part(1 + choose(3))
		case 6:
			w.run(time.Duration(1+choose(3000)) * time.Millisecond)
		case 7:
			h.crash()
			w.after(time.Duration(choose(5000))*time.Millisecond, "restart", h.start)
			w.run(5 * time.Second)
			s.known[h.i] = s.safe(h)
		}
		if w.cause != "" || s.cause != "" {
			return w, s
		}
	}
	w.heal()
	for _, h := range w.hosts {
		s.talk(w)
		s.stable(h.i, h.shows())
	}
	return w, s
}

// talk notes that what was known anywhere may have come anywhere. Which machines can
// talk changes too often to follow; those that never could since a write are rare.
func (s *synchroniser) talk(w *simWorld) {
	for range w.hosts {
		for i := range w.hosts {
			for k := range i {
				if w.met[simPair(i, k)] {
					s.meet(i, k)
				}
			}
		}
	}
	clear(w.met)
	for pair := range w.net.links {
		w.met[pair] = true
	}
}

// safe returns what a machine knows for certain after a crash: what it wrote itself.
func (s *synchroniser) safe(h *simHost) heldSet {
	all := heldSet{}
	for v := range s.known[h.i] {
		if strings.HasPrefix(v, h.String()+" ") {
			maps.Copy(all, s.writes[v].past)
		}
	}
	return all
}

// TestSim_IsASynchroniser: whatever machines do, what they show can be explained.
func TestSim_IsASynchroniser(t *testing.T) {
	if f := commandline.Lookup("rapid.seed"); f != nil && f.Value.String() == "0" {
		_ = f.Value.Set("20") // the same each time, unless asked for another
		defer func() { _ = f.Value.Set("0") }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		seed, steps := rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(1, 25).Draw(rt, "steps")
		w, s := synchronise(t, seed, mistake{}, steps, func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "choice") })
		if w.cause != "" || s.cause != "" {
			rt.Fatalf("%s%s\n%s", w.cause, s.cause, w.trace.last())
		}
	})
}

// TestSim_SynchroniserFindsMistakes: what the specification forbids is seen.
func TestSim_SynchroniserFindsMistakes(t *testing.T) {
	for _, m := range mistakes() {
		if !m.shows {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(40) {
				rng := rand.New(rand.NewPCG(seed, 13))
				w, s := synchronise(t, seed, m, 25, rng.IntN)
				if s.cause != "" && w.cause == "" {
					t.Logf("seed %d: %s", seed, s.cause)
					return
				}
			}
			t.Error("not found in 40 seeds")
		})
	}
}
