package dnssd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// How a DNS server is asked.
const (
	queryTries   = 3
	queryTimeout = time.Second // doubled at each try
	strayMax     = 64          // packets that are not the answer, per try
	queriesMax   = 16          // at the same time
	dnsPort      = 53
)

// resolvConfPath is where the system says which servers to ask.
const resolvConfPath = "/etc/resolv.conf"

// exchanger asks DNS servers. Every query leaves from a fresh port that the system
// chooses and has an ID chosen at random, so that nobody who did not see it can
// forge the answer (RFC 5452 section 4).
type exchanger struct {
	servers []netip.AddrPort
	slots   chan struct{}
}

func newExchanger(servers []netip.AddrPort) *exchanger {
	return &exchanger{servers, make(chan struct{}, queriesMax)}
}

// ask tries one server after the other until one knows. The answer is from UDP, or
// from TCP when it did not fit.
func (x *exchanger) ask(ctx context.Context, q mdns.Question) (answer, error) {
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	var failed error
	timeout := queryTimeout
	for i := range max(queryTries, len(x.servers)) {
		a, err := x.try(ctx, x.servers[i%len(x.servers)], q, timeout)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return answer{}, context.Cause(ctx)
		}
		failed = err
		if i%len(x.servers) == len(x.servers)-1 {
			timeout *= 2
		}
	}
	return answer{}, failed
}

func (x *exchanger) try(ctx context.Context, server netip.AddrPort, q mdns.Question, timeout time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := exchange(ctx, "udp", server, q)
	if err == nil && r.Truncated {
		r, err = exchange(ctx, "tcp", server, q)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%w: %v: %w", ErrServer, server, err)
	}
	a, err := readAnswer(q, r)
	if err != nil {
		return answer{}, fmt.Errorf("%w (%v)", err, server)
	}
	return a, nil
}

// exchange sends one query and waits for its answer until ctx ends.
func exchange(ctx context.Context, network string, server netip.AddrPort, q mdns.Question) (*dns.Msg, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: raw, UDPSize: ednsSize}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	query := newQuery(dns.Id(), q)
	if err := conn.WriteMsg(query); err != nil {
		return nil, err
	}
	for range strayMax {
		r, err := conn.ReadMsg()
		if err != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if netErr, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.EOF) {
			return nil, errors.Join(err, netErr)
		}
		if err == nil && answersQuery(query, r) {
			return r, nil
		}
		if network == "tcp" { // nobody else can be there
			return nil, fmt.Errorf("answer to another question: %w", err)
		}
	}
	return nil, fmt.Errorf("more than %d packets that are not the answer", strayMax)
}

// readResolvConf reads what the system says now. Where there is no such file, as on
// Windows, it is empty.
func readResolvConf() (resolvConf, error) {
	b, err := os.ReadFile(resolvConfPath)
	if errors.Is(err, fs.ErrNotExist) {
		return resolvConf{}, nil
	}
	return parseResolvConf(string(b)), err
}

// addresses returns the servers that can be asked.
func (c resolvConf) addresses() []netip.AddrPort {
	var list []netip.AddrPort
	for _, s := range c.servers {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, netip.AddrPortFrom(a, dnsPort))
		}
	}
	return list
}
