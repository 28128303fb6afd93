package dnssd

import (
	"fmt"

	"github.com/aether-lan/aether/mdns"
)

// fleetMax is the most services that are browsed as one.
const fleetMax = 16

// instanceKey is what makes two events be about the same thing.
type instanceKey struct {
	ifi  string
	name FullName
}

// fleet joins what is found of several services that do the same job: a name is one
// device, whichever of them it speaks (RFC 6763 section 8). It shows each device under
// the first service of the list that it offers. A fleet of one service changes nothing.
type fleet struct {
	services int
	found    map[instanceKey][]*Instance // by rank of the service
}

func newFleet(services int) *fleet {
	return &fleet{services: services, found: make(map[instanceKey][]*Instance)}
}

// key names the device, or the instance when there is but one service.
func (f *fleet) key(ev Event) instanceKey {
	name := ev.Instance.FullName()
	if f.services > 1 {
		name = FullName{Instance: fold(name.Instance), Domain: fold(name.Domain)}
	}
	return instanceKey{ev.Instance.Interface, name}
}

// handle takes what became of an instance of the service of that rank, and returns
// what becomes of the device, if anything.
func (f *fleet) handle(rank int, ev Event) (Event, bool) {
	if f.services == 1 {
		return ev, true
	}
	key := f.key(ev)
	list := f.found[key]
	if list == nil {
		list = make([]*Instance, f.services)
		f.found[key] = list
	}
	before := first(list)
	if list[rank] = &ev.Instance; ev.Op == Remove {
		list[rank] = nil
	}
	switch after := first(list); {
	case after < 0:
		delete(f.found, key)
		return ev, before >= 0
	case before < 0:
		return Event{Op: Add, Instance: list[after].clone()}, true
	case after == before && after != rank:
		return Event{}, false
	default:
		return Event{Op: Update, Instance: list[after].clone(), Reason: mdns.Answered}, true
	}
}

// first returns the rank that is shown, or -1.
func first(list []*Instance) int {
	for rank, i := range list {
		if i != nil {
			return rank
		}
	}
	return -1
}

// parseFleet reads the service to browse and those that do the same job.
func parseFleet(service string, fleet []string) ([]Service, error) {
	if len(fleet) >= fleetMax {
		return nil, fmt.Errorf("%w: %d services at once, limit %d", ErrService, 1+len(fleet), fleetMax)
	}
	var list []Service
	for _, text := range append([]string{service}, fleet...) {
		s, err := ParseService(text)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}
