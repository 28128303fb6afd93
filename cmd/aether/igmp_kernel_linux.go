package main

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aether-lan/aether/internal/netif"
)

// kernelJoined reports whether the kernel has joined group on an interface for some
// program, as far as /proc tells.
func kernelJoined(ifi netif.Interface, group netip.Addr) bool {
	if group.Is6() {
		return slices.Contains(kernelGroups6(ifi.Name), group)
	}
	f, err := os.Open("/proc/net/igmp")
	if err != nil {
		return false
	}
	defer f.Close()
	here := false
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		switch {
		case len(words) < 2:
		case !strings.HasPrefix(s.Text(), "\t"): // "2	eth0      :     2      V3"
			here = words[1] == ifi.Name
		case here: // the group as a number in the machine's byte order, little here as everywhere
			n, err := strconv.ParseUint(words[0], 16, 32)
			if err == nil && group == netip.AddrFrom4([4]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) {
				return true
			}
		}
	}
	return false
}

func kernelGroups6(ifi string) (list []netip.Addr) {
	b, err := os.ReadFile("/proc/net/igmp6")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) { // "2    eth0            ff02...01     1 0000000C 0"
		words := strings.Fields(line)
		if len(words) < 3 || words[1] != ifi {
			continue
		}
		if raw, err := hex.DecodeString(words[2]); err == nil && len(raw) == 16 {
			list = append(list, netip.AddrFrom16([16]byte(raw)))
		}
	}
	return list
}
