package dnssd

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func seeded(t testing.TB) *rand.Rand {
	t.Log("seed 6763")
	return rand.New(rand.NewPCG(6763, 0))
}

// TestBrowser_AgreesWithTheRecords lets records come and go in any order and asks, in
// the end, whether what was told is what the records that are there say.
func TestBrowser_AgreesWithTheRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBrowser(BrowserConfig{Service: Service{Type: "_a._tcp"}})
		now := epoch
		asked := make(map[mdns.Question]bool)
		told := make(map[string]Instance)
		listen := func() []mdns.Question {
			start, stop := b.Outgoing()
			for _, q := range start {
				if asked[folded(q)] {
					t.Fatalf("asked twice: %v", q)
				}
				asked[folded(q)] = true
			}
			for _, q := range stop {
				if !asked[folded(q)] {
					t.Fatalf("stopped what was not asked: %v", q)
				}
				delete(asked, folded(q))
			}
			for _, ev := range b.Events() {
				key := ev.Instance.Name + "%" + ev.Instance.Interface
				if _, known := told[key]; known != (ev.Op != Add) {
					t.Fatalf("%v, known before: %v", ev, known)
				}
				if told[key] = ev.Instance; ev.Op == Remove {
					delete(told, key)
				}
			}
			return start
		}
		listen()
		pick := func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		there := make(map[string]mdns.Change)
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			name, host := fmt.Sprintf("i%d._a._tcp.local.", pick("instance", 2)), fmt.Sprintf("h%d.local.", pick("host", 2))
			data := [...][3]string{
				{"_a._tcp.local.", "PTR", name}, {name, "SRV", "0 0 1 " + host}, {name, "TXT", "k"}, {host, "A", "10.0.0.1"},
			}[pick("type", 4)]
			ifi := fmt.Sprintf("eth%d", pick("interface", 2))
			key := ifi + fmt.Sprint(data)
			now = now.Add(time.Duration(pick("wait", 400)) * time.Millisecond)
			b.HandleTimeout(now)
			rec := record(t, data[0], data[1], data[2])
			c := change(t, mdns.Add, mdns.Answered, ifi, rec)
			if _, known := there[key]; known {
				c = change(t, mdns.Remove, mdns.Expired, ifi, rec)
				delete(there, key)
			} else {
				there[key] = c
			}
			b.HandleChange(now, c)
			// Like Watch: what is there is told to a question that is new.
			for start := listen(); len(start) > 0; {
				var next []mdns.Question
				for _, q := range start {
					for _, key := range slices.Sorted(maps.Keys(there)) {
						if r := there[key].Record; folded(q) == folded(mdns.Question{Name: r.Name, Type: r.Type}) {
							b.HandleChange(now, there[key])
							next = append(next, listen()...)
						}
					}
				}
				start = next
			}
		}
		b.HandleTimeout(now.Add(time.Hour))
		listen()
		if _, ok := b.NextTimeout(); ok {
			t.Fatal("something is still due")
		}
		compare(t, told, there)
	})
}

// compare computes from the records alone what must have been told.
func compare(t *rapid.T, told map[string]Instance, there map[string]mdns.Change) {
	listed := 0
	has := func(ifi, name string, typ uint16) (n int) {
		for _, c := range there {
			if c.Interface == ifi && c.Record.Name == name && c.Record.Type == typ {
				n++
			}
		}
		return n
	}
	for _, c := range there {
		if c.Record.Type != dns.TypePTR {
			continue
		}
		listed++
		full, _ := c.Record.Target()
		name, _ := ParseName(full)
		i, ok := told[name.Instance+"%"+c.Interface]
		if !ok {
			t.Fatalf("%s on %s was not told", full, c.Interface)
		}
		if (i.Host != "") != (has(c.Interface, full, dns.TypeSRV) > 0) || (len(i.TXT) > 0) != (has(c.Interface, full, dns.TypeTXT) > 0) {
			t.Fatalf("told %v, records %v", i, there)
		}
		if i.Host != "" && len(i.Addresses) != has(c.Interface, i.Host+".", dns.TypeA) {
			t.Fatalf("told %v, records %v", i, there)
		}
	}
	if listed != len(told) {
		t.Fatalf("told %v, records %v", told, there)
	}
}

func TestBrowser_IsBounded(t *testing.T) {
	b := NewBrowser(BrowserConfig{Service: Service{Type: "_a._tcp"}})
	for i := range InstanceMax + 5 {
		b.HandleChange(epoch, change(t, mdns.Add, 0, "eth0", record(t, "_a._tcp.local.", "PTR", fmt.Sprintf("i%d._a._tcp.local.", i))))
	}
	for i := range setMax + 5 {
		b.HandleChange(epoch, change(t, mdns.Add, 0, "eth0", record(t, "i1._a._tcp.local.", "TXT", fmt.Sprint(i))))
	}
	if n := b.Stats().Dropped; n != 10 || len(b.found) != InstanceMax {
		t.Errorf("dropped %d, kept %d", n, len(b.found))
	}
}
