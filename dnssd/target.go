package dnssd

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/miekg/dns"
)

// Target is what one SRV record of an instance says (RFC 6763 section 5, RFC 2782).
type Target struct {
	// Host is the machine, "box.local".
	Host string
	Port uint16
	// Priority: lower ones are to be tried first.
	Priority uint16
	// Weight is the share among those of equal priority.
	Weight uint16
}

// OrderTargets returns targets in an order in which to try them: the lowest priority
// first, those of equal priority at random in proportion to their weights (RFC 2782).
// Nil for rnd puts the heaviest first, always the same.
func OrderTargets(rnd *rand.Rand, targets []Target) []Target {
	list := slices.Clone(targets)
	slices.SortFunc(list, func(a, b Target) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	if rnd == nil {
		return list
	}
	for from := 0; from < len(list); {
		to := from
		for to < len(list) && list[to].Priority == list[from].Priority {
			to++
		}
		shuffleByWeight(rnd, list[from:to])
		from = to
	}
	return list
}

// shuffleByWeight chooses one after the other, each among those that are left.
func shuffleByWeight(rnd *rand.Rand, list []Target) {
	for ; len(list) > 1; list = list[1:] {
		left := make([]target, len(list))
		for i, t := range list {
			left[i] = target{weight: t.Weight, port: uint16(i)} // the place, to find it again
		}
		i := int(weigh(rnd, left).port)
		chosen := list[i]
		copy(list[1:i+1], list[:i])
		list[0] = chosen
	}
}

// targets returns all SRV records of an instance when there are several.
func (b *Browser) targets(at place) []Target {
	var list []Target
	for _, h := range settled(b.set(at, dns.TypeSRV)) {
		if t, err := parseTarget(h.rec.Data); err == nil && t.host != "." {
			list = append(list, Target{trimDot(t.host), t.port, t.priority, t.weight})
		}
	}
	if len(list) < 2 {
		return nil
	}
	return OrderTargets(nil, list)
}
