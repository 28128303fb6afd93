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
func openSockets(ctx context.Context, cfg Config, ifi *net.Interface) (opened sockets, err error) {
	network := "udp6"
	if cfg.Group.Addr().Is4() {
		network = "udp4"
	}
	var lc net.ListenConfig
	if port := cfg.Group.Port(); port != 0 && !cfg.sendOnly {
		alone, err := lc.ListenPacket(ctx, network, ":"+strconv.Itoa(int(port)))
		if opened.shared = err != nil; !opened.shared {
			_ = alone.Close()
		}
	}
	at := cfg.Group.String()
	if cfg.sendOnly {
		at = ":0"
	}
	pc, err := lc.ListenPacket(ctx, network, at)
	if err != nil {
		return sockets{}, err
	}
	s, err := newSocket(pc, cfg)
	if err == nil {
		err = aim(s, cfg, ifi)
	}
	for _, m := range cfg.channels() {
		if err == nil && !cfg.sendOnly {
			err = join(s, m, ifi)
		}
	}
	if err == nil && cfg.ReadBuffer > 0 {
		err = pc.(*net.UDPConn).SetReadBuffer(cfg.ReadBuffer)
	}
	if err != nil {
		return sockets{}, errors.Join(err, pc.Close())
	}
	opened.read, opened.unicast = []socket{s}, cfg.sendOnly
	return opened, nil
}

// socketCounts is not known here.
func socketCounts(net.PacketConn) (buffer int, drops uint64) { return 0, 0 }
