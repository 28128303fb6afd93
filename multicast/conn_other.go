//go:build !linux

package multicast

import (
	"context"
	"errors"
	"net"
)

// openSockets opens one socket on the wildcard address: package net does that,
// with address and port reuse, when it is asked to listen to a group. What
// belongs to other groups or interfaces is dropped when it is read. Whether
// unicast datagrams come here or to the system's own responder is not known.
func openSockets(ctx context.Context, cfg Config, ifi *net.Interface) ([]socket, bool, error) {
	network := "udp6"
	if cfg.Group.Addr().Is4() {
		network = "udp4"
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, cfg.Group.String())
	if err != nil {
		return nil, false, err
	}
	s, err := newSocket(pc, cfg)
	if err == nil {
		err = join(s, cfg, ifi)
	}
	if err != nil {
		return nil, false, errors.Join(err, pc.Close())
	}
	return []socket{s}, false, nil
}
