package node

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
)

// maxListening bounds the addresses that a machine tells of itself.
const maxListening = 8

// listening returns where others can reach this machine while it serves, sorted. It is
// told to all with the soft state, so that whoever is connected to one machine finds the
// others also where there is no multicast, and where an address has changed.
func (m *Machine) listening() []netip.AddrPort {
	s := m.serving.Load()
	if s == nil || s.apart {
		return nil
	}
	all := reachableAt(s.listen)
	slices.SortFunc(all, netip.AddrPort.Compare)
	return all[:min(len(all), maxListening)]
}

// checkListening says why what a machine tells of its addresses makes no sense.
func checkListening(addrs []netip.AddrPort) error {
	if len(addrs) > maxListening {
		return fmt.Errorf("%w: %d addresses", errBadSoft, len(addrs))
	}
	for _, a := range addrs {
		if ip := a.Addr(); !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || a.Port() == 0 {
			return fmt.Errorf("%w: address %v", errBadSoft, a)
		}
	}
	return nil
}

// approach has the machine id connected to at the addresses it told of.
func (m *Machine) approach(id store.MachineID, addrs []netip.AddrPort) {
	s, mesh := m.serving.Load(), m.mesh.Load()
	if s == nil || mesh == nil || id == m.ID() || !m.mayHave(id) {
		return
	}
	for _, a := range addrs {
		// What others call loopback is here only for machines on one host.
		if !a.Addr().IsLoopback() || s.listen.Addr().IsLoopback() {
			mesh.AddAddress(link.PeerID(id), a)
		}
	}
}

// approachAll does so for all that was heard before this machine served.
func (m *Machine) approachAll() {
	told := map[store.MachineID][]netip.AddrPort{}
	_ = m.core.call(m.background, func() {
		for id, s := range m.core.soft.of {
			told[id] = s.Listening
		}
	})
	for id, addrs := range told {
		m.approach(id, addrs)
	}
}
