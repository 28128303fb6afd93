//go:build !linux

package multicast

import (
	"context"
	"errors"
	"net"
	"strconv"
)

// openSockets opens one socket on the wildcard address: package net does that,
// with address and port reuse, when it is asked to listen to a group. What
// belongs to other groups or interfaces is dropped when it is read. Whether
// unicast datagrams come here or to the system's own responder is not known, but a
// bind without reuse tells whether somebody has the port already (RFC 6762 section
// 15.1).
func openSockets(ctx context.Context, cfg Config, ifi *net.Interface) (socks []socket, unicast, shared bool, err error) {
	network := "udp6"
	if cfg.Group.Addr().Is4() {
		network = "udp4"
	}
	var lc net.ListenConfig
	if port := cfg.Group.Port(); port != 0 {
		alone, err := lc.ListenPacket(ctx, network, ":"+strconv.Itoa(int(port)))
		if shared = err != nil; !shared {
			_ = alone.Close()
		}
	}
	pc, err := lc.ListenPacket(ctx, network, cfg.Group.String())
	if err != nil {
		return nil, false, false, err
	}
	s, err := newSocket(pc, cfg)
	if err == nil {
		err = join(s, cfg, ifi)
	}
	if err != nil {
		return nil, false, false, errors.Join(err, pc.Close())
	}
	return []socket{s}, false, shared, nil
}
