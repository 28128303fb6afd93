package dnssd

import (
	"fmt"
	"net/netip"
	"slices"
)

// Instance is one thing on offer, or one that was found on one interface.
type Instance struct {
	// Name is for people: "Office". See [NormalizeInstance].
	Name string
	// Service is "_ipp._tcp".
	Service string
	// Domain is "local"; so is "".
	Domain string
	// Subtypes are further labels under which to be found (RFC 6763 section 7.1).
	// Only [Register] looks at them.
	Subtypes []string
	// Flagship is the service that devices of this kind use to keep their names apart,
	// "_printer._tcp" of printers, if this one does not offer it. [Register] then takes
	// the name there too, with an SRV record that nobody finds (section 8). "" is none.
	// Only [Register] looks at it.
	Flagship string
	// Host is the name of the machine that offers it, "box.local", or "" while that
	// is not known. To [Register], "" means this machine.
	Host string
	// Port is where it listens, 0 while that is not known. A registered port of 0 is
	// one that is not in use (section 8).
	Port uint16
	// Priority and Weight choose between the SRV records of an instance that has
	// several (section 5, RFC 2782): the lowest priority first, then by chance in
	// proportion to weight. Both are 0 as a rule.
	Priority, Weight uint16
	// Targets are all hosts and ports that were found, in order of priority and weight,
	// the one above among them; see [OrderTargets]. Nil when there is only that one.
	Targets []Target
	// Addresses are the host's, IPv6 link-local ones with the zone of the interface.
	// To [Register], they are published for a Host that is another machine.
	Addresses []netip.Addr
	// TXT is the attributes.
	TXT TXT
	// Interface is where it was found. [Register] offers it on all that its
	// [mdns.Node] uses.
	Interface string
	// IfIndex is the index of that interface, 0 where there is none.
	IfIndex int
	// From is who told of the instance, with the zone of the interface. It is zero when
	// the [mdns.Node] that was asked offers it itself, and for DNS servers. Events do not
	// come because of it alone.
	From netip.Addr
}

// FullName returns the name of the instance's records.
func (i Instance) FullName() FullName {
	return FullName{i.Name, i.Service, i.domain()}
}

// stake returns the name that is taken at the flagship, if there is one.
func (i Instance) stake() (FullName, bool) {
	return FullName{i.Name, i.Flagship, i.domain()}, i.Flagship != ""
}

func (i Instance) domain() string {
	if d := trimDot(i.Domain); d != "" {
		return d
	}
	return Local
}

// Equal reports whether all fields of i and j are the same.
func (i Instance) Equal(j Instance) bool {
	return i.FullName() == j.FullName() && slices.Equal(i.Subtypes, j.Subtypes) && i.Flagship == j.Flagship &&
		i.Host == j.Host && i.Port == j.Port && i.Priority == j.Priority && i.Weight == j.Weight && slices.Equal(i.Targets, j.Targets) &&
		slices.Equal(i.Addresses, j.Addresses) && i.TXT.Equal(j.TXT) && i.Interface == j.Interface
}

// String returns the name, and where it is offered when that is known.
func (i Instance) String() string {
	s := i.FullName().String()
	if i.Host != "" {
		s += fmt.Sprintf(" at %s:%d %v", i.Host, i.Port, i.Addresses)
	}
	if len(i.TXT) > 0 {
		s += fmt.Sprintf(" %q", i.TXT.Strings())
	}
	if i.Interface != "" {
		s += " on " + i.Interface
	}
	return s
}

// clone returns a copy that shares no memory that anybody writes.
func (i Instance) clone() Instance {
	i.Subtypes = slices.Clone(i.Subtypes)
	i.Targets = slices.Clone(i.Targets)
	i.Addresses = slices.Clone(i.Addresses)
	i.TXT = slices.Clone(i.TXT)
	return i
}
