package linklocal

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/aether-lan/aether/internal/netif"
)

// Holding is what is known about the link-local address of one interface.
type Holding struct {
	// Interface is its name; empty when an address is remembered for a hardware
	// address that no interface has at present.
	Interface    string
	HardwareAddr HardwareAddr
	// Held is the address on the interface; zero if there is none.
	Held netip.Addr
	// Remembered is the address in the state directory; zero if there is none.
	Remembered netip.Addr
}

// List returns the interfaces that have a link-local address or for which one is
// remembered in stateDir ("" for none), by name; those without a name come last.
// It needs no rights.
func List(stateDir string) ([]Holding, error) {
	all, err := netif.List()
	if err != nil {
		return nil, fmt.Errorf("linklocal: list: %w", err)
	}
	known, err := rememberedAll(stateDir)
	if err != nil {
		return nil, err
	}
	var out []Holding
	for _, i := range all {
		hw := station(i)
		h := Holding{Interface: i.Name, HardwareAddr: hw, Remembered: known[hw]}
		delete(known, hw)
		held := slices.DeleteFunc(ipv4(i), func(a netip.Addr) bool { return !Prefix.Contains(a) })
		for _, h.Held = range held {
			out = append(out, h)
		}
		if len(held) == 0 && h.Remembered.IsValid() {
			out = append(out, h)
		}
	}
	slices.SortStableFunc(out, func(a, b Holding) int { return strings.Compare(a.Interface, b.Interface) })
	absent := make([]Holding, 0, len(known))
	for hw, a := range known {
		absent = append(absent, Holding{HardwareAddr: hw, Remembered: a})
	}
	slices.SortFunc(absent, func(a, b Holding) int { return slices.Compare(a.HardwareAddr[:], b.HardwareAddr[:]) })
	return append(out, absent...), nil
}

// rememberedAll reads the whole state directory. Files that are not ours, or do
// not hold an address, are passed over.
func rememberedAll(dir string) (map[HardwareAddr]netip.Addr, error) {
	known := make(map[HardwareAddr]netip.Addr)
	if dir == "" {
		return known, nil
	}
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("linklocal: state directory: %w", err)
	}
	for _, f := range files {
		hw, err := ParseHardwareAddr(strings.ReplaceAll(f.Name(), "-", ":"))
		if err != nil {
			continue
		}
		if a, err := Remembered(dir, hw); err == nil && a.IsValid() {
			known[hw] = a
		}
	}
	return known, nil
}
