package gossip

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
	"github.com/aether-lan/aether/store"
)

// TestScripts runs testdata/*.txt. Machines are 0, 1, ...; commands:
//
//	machines N          start anew
//	up A B, down A B    a connection comes, goes
//	write A TEXT...     A commits entries
//	inventory A TEXT    A sets its inventory
//	root A BYTE         A tells the root of its state
//	crash A             A loses memory and what it has not synced
//	run DURATION        time passes; prints every message as it arrives
//	show                prints vectors
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t testing.TB) func([]string) string {
		s := &scene{t: t}
		return s.do
	})
}

type scene struct {
	t testing.TB
	w *world
}

func (s *scene) do(args []string) string {
	n := func(i int) int {
		v, err := strconv.Atoi(args[i])
		if err != nil {
			s.t.Fatal(args, err)
		}
		return v
	}
	switch args[0] {
	case "machines":
		s.w = newWorld(s.t, n(1), 4, sound)
	case "up":
		s.w.connect(n(1), n(2))
	case "down":
		s.w.cut(n(1), n(2))
	case "write":
		for _, a := range args[2:] {
			s.w.write(n(1), []byte(a))
		}
	case "inventory":
		if err := s.w.hosts[n(1)].e.SetInventory(s.w.now, []byte(args[2])); err != nil {
			return err.Error()
		}
		s.w.flush(n(1))
	case "root":
		s.w.hosts[n(1)].e.SetRoot([32]byte{byte(n(2))})
	case "crash":
		s.w.crash(n(1))
	case "run":
		return s.run(args[1])
	case "show":
		return s.show()
	default:
		s.t.Fatal("unknown command", args)
	}
	return s.w.failure
}

func (s *scene) run(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	w, end := s.w, s.w.now.Add(d)
	w.heard = func(m envelopeTo) {
		fmt.Fprintf(&b, "%v %d>%d %s\n", w.now.Sub(epoch), m.from, m.to, describe(m.b))
	}
	w.run(end.Sub(w.now))
	for i, h := range w.hosts {
		for _, ev := range h.e.Events() {
			fmt.Fprintf(&b, "%d: %v\n", i, ev)
		}
	}
	return b.String() + w.failure
}

func (s *scene) show() string {
	var b strings.Builder
	for i, h := range s.w.hosts {
		fmt.Fprintf(&b, "%d: %s\n", i, vectorText(h.e.Vector()))
	}
	return b.String()
}

func vectorText(v store.Vector) string {
	var words []string
	for _, m := range v.Machines() {
		words = append(words, fmt.Sprintf("%d/%d", m[0]-1, v[m]))
	}
	return "[" + strings.Join(words, " ") + "]"
}

func describe(b []byte) string {
	m, err := parse(b)
	if err != nil {
		return err.Error()
	}
	switch m := m.(type) {
	case *vectorMessage:
		s := "vector"
		for _, h := range m.Has {
			s += fmt.Sprintf(" %d/%d", h.Machine[0]-1, h.Seq)
			if h.Inventory != 0 {
				s += "+inventory"
			}
		}
		if m.Want {
			s += " want"
		}
		return s
	case *entriesMessage:
		s := "entries"
		for _, r := range m.Runs {
			s += fmt.Sprintf(" %d/%d-%d", r.Machine[0]-1, r.First, r.last())
		}
		return s + alsoText(m.Also)
	case *ackMessage:
		return fmt.Sprintf("ack %d-%d", m.First, m.Number)
	case *inventoryMessage:
		return fmt.Sprintf("inventory of %d: %s", m.Machine[0]-1, m.Bytes) + alsoText(m.Also)
	}
	return "?"
}

func alsoText(ids []store.MachineID) (s string) {
	for i, id := range ids {
		if i == 0 {
			s = " also"
		}
		s += fmt.Sprintf(" %d", id[0]-1)
	}
	return s
}
