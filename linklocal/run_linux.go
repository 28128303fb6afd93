package linklocal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// quiet are the kernel settings under which every ARP packet with our address is
// broadcast and sent by us (RFC 3927 section 2.5): no answers by the kernel, and
// neighbour checks by broadcast instead of unicast; with the kernel's defaults.
var quiet = []struct{ file, set, unset string }{
	{"conf/%s/arp_ignore", "8", "0"},
	{"neigh/%s/ucast_solicit", "0", "3"},
	{"neigh/%s/mcast_resolicit", "3", "0"},
}

// broadcastOnly turns the quiet settings on or off for the interface. Only values
// that are one of ours or the kernel's default are touched.
func broadcastOnly(ifname string, on bool) error {
	if strings.ContainsAny(ifname, "/") {
		return fmt.Errorf("linklocal: %q: %w", ifname, ErrNoInterface)
	}
	for _, q := range quiet {
		file := filepath.Join("/proc/sys/net/ipv4", fmt.Sprintf(q.file, ifname))
		from, to := q.unset, q.set
		if !on {
			from, to = q.set, q.unset
		}
		old, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("linklocal: kernel setting: %w", err)
		}
		if strings.TrimSpace(string(old)) != from {
			continue
		}
		err = os.WriteFile(file, []byte(to), 0o644)
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("linklocal: kernel setting %s: %w: needs CAP_NET_ADMIN", file, ErrNotPermitted)
		}
		if err != nil {
			return fmt.Errorf("linklocal: kernel setting: %w", err)
		}
	}
	return nil
}
