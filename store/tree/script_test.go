package tree_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// TestScripts runs testdata/*.txt. Two machines, anna and bert, change their
// drives; "sync" lets each hear everything of the other. Contents are numbers.
//
//	anna put PATH N | mkdir PATH | remove PATH | rename PATH PATH
//	wait DURATION, sync, show
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t testing.TB) func([]string) string {
		sites := map[string]*site{"anna": newSite(t, 1), "bert": newSite(t, 2)}
		now := epoch
		return func(args []string) string {
			switch args[0] {
			case "wait":
				d, err := time.ParseDuration(args[1])
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(d)
				return ""
			case "sync":
				for deliver(t, sites["anna"], sites["bert"], sites["anna"].id, now) {
				}
				for deliver(t, sites["bert"], sites["anna"], sites["bert"].id, now) {
				}
				same(t, sites["anna"], sites["bert"])
				return ""
			case "show":
				return shown(t, sites["anna"])
			}
			now = now.Add(time.Second)
			return command(t, sites[args[0]], args[1:], now)
		}
	})
}

func command(t testing.TB, s *site, args []string, now time.Time) string {
	if args[0] == "conflict" {
		c, err := s.tree.Conflict(s.kv, strings.Join(args[1:], " "))
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("of %s, written %s by %s, %d", c.Of, c.Written.Format(time.TimeOnly), c.Version.Dot.Machine.Short(), c.Version.Content.Size)
	}
	err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		switch args[0] {
		case "put":
			n, err := strconv.Atoi(args[2])
			if err != nil {
				t.Fatal(err)
			}
			return s.tree.Put(tx, args[1], tree.Version{Content: store.Content{Size: int64(n)}}, now)
		case "mkdir":
			return s.tree.Mkdir(tx, args[1], tree.Version{}, now)
		case "remove":
			return s.tree.Remove(tx, args[1], true, now)
		case "keep":
			return s.tree.Keep(tx, strings.Join(args[1:], " "), now)
		case "rename":
			return s.tree.Rename(tx, args[1], args[2], now)
		}
		t.Fatalf("unknown command %q", args[0])
		return nil, nil, nil
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

func shown(t testing.TB, s *site) string {
	var b strings.Builder
	if err := s.tree.Walk(s.kv, "/", func(e tree.Entry) bool {
		if e.Dir {
			fmt.Fprintf(&b, "%s/\n", e.Path)
		} else {
			fmt.Fprintf(&b, "%s: %d\n", e.Path, e.Version.Content.Size)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
