package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast/probe"
)

func mcastSendCommand() *cli.Command {
	return &cli.Command{
		Name:      "send",
		Usage:     "send numbered datagrams to groups",
		ArgsUsage: "[GROUP[+NUM]...]",
		Description: "Sends one datagram to each group every interval, for mcast recv to count; GROUP+NUM is NUM\n" +
			"groups from GROUP on. The default group is 225.1.2.3, as mcjoin's. Each run has an epoch, so that\n" +
			"several senders and restarts are told apart. No group is joined.\n" +
			"Exit status: 0 all was sent; 1 something could not be." +
			examples(`aether mcast send -c 100 239.255.1.2`, `aether mcast send -i eth0 -f 10 -b 1400 239.255.1.0+20 --json`),
		Flags: streamFlags(
			&cli.IntFlag{Name: "ttl", Aliases: []string{"t"}, Value: 1, Usage: "send with TTL or hop limit `N`"},
			&cli.StringFlag{Name: "f", Value: "100", Usage: "send every `MSEC` milliseconds"},
			&cli.IntFlag{Name: "bytes", Aliases: []string{"b"}, Value: 100, Usage: fmt.Sprintf("payload of `N` bytes, at least %d", probe.MinBytes)},
			&cli.BoolFlag{Name: "mcjoin", Usage: "send what the program mcjoin counts"},
			&cli.BoolFlag{Name: "no-loopback", Usage: "keep the datagrams from receivers on this machine"}),
		Action: func(c *cli.Context) error {
			s, err := streamOf(c)
			if err != nil {
				return err
			}
			cfg, err := senderOf(c, s)
			if err != nil {
				return err
			}
			return mcastSend(c.Context, s, cfg)
		},
	}
}

func senderOf(c *cli.Context, s stream) (cfg probe.SendConfig, err error) {
	cfg.Sender = probe.SenderConfig{Count: s.count, Bytes: c.Int("bytes"), HopLimit: c.Int("ttl"), Mcjoin: c.Bool("mcjoin")}
	if cfg.Sender.Interval, err = quantity(c, "f", time.Millisecond); err != nil {
		return cfg, err
	}
	if cfg.Sender.HopLimit < 1 || cfg.Sender.HopLimit > 255 {
		return cfg, usage("TTL %d is not in 1 to 255", cfg.Sender.HopLimit)
	}
	if b := cfg.Sender.Bytes; b < probe.MinBytes || b > probe.MaxBytes {
		return cfg, usage("%d bytes is not in %d to %d", b, probe.MinBytes, probe.MaxBytes)
	}
	if d := cfg.Sender.Interval; d < time.Microsecond || d > time.Hour {
		return cfg, usage("an interval of %v is not in 1µs to 1h", d)
	}
	for _, ch := range s.channels {
		if ch.Source.IsValid() {
			return cfg, usage("%v: a source is for receivers to name", ch)
		}
		cfg.Sender.Groups = append(cfg.Sender.Groups, netip.AddrPortFrom(ch.Group, s.port))
	}
	if cfg.Conns, err = s.conns(cfg.Sender.HopLimit); err != nil {
		return cfg, err
	}
	for i := range cfg.Conns {
		cfg.Conns[i].NoLoopback = c.Bool("no-loopback")
	}
	return cfg, nil
}

// started waits for -w and bounds ctx by -W. It reports false when ctx ended before.
func (s stream) started(ctx context.Context) (context.Context, context.CancelFunc, bool) {
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return ctx, func() {}, false
	}
	if s.within == 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ctx, cancel, true
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	return ctx, cancel, true
}

func mcastSend(ctx context.Context, s stream, cfg probe.SendConfig) error {
	ctx, cancel, ok := s.started(ctx)
	defer cancel()
	if !ok {
		return nil
	}
	told := false
	cfg.Failed = func(to netip.AddrPort, err error) {
		if !told {
			s.complain("warning: not sent to %v: %v", to, err)
		}
		told = true
	}
	if !s.quiet {
		for _, conn := range cfg.Conns {
			text := fmt.Sprintf("sending to %v on %s every %v, %d bytes, TTL %d", conn.Group, conn.Interface,
				cfg.Sender.Interval, cfg.Sender.Bytes, cfg.Sender.HopLimit)
			if n := len(conn.More); n > 0 {
				text += fmt.Sprintf(", and to %d more groups", n)
			}
			err := s.out.event("sending", text, "group", conn.Group.Addr(), "port", s.port, "interface", conn.Interface, "groups", 1+len(conn.More),
				"interval_ms", millis(cfg.Sender.Interval), "bytes", cfg.Sender.Bytes, "hop_limit", cfg.Sender.HopLimit)
			if err != nil {
				return err
			}
		}
	}
	begin := time.Now()
	r, err := probe.Send(ctx, cfg)
	if err != nil {
		return err
	}
	return printSent(s, cfg, r, time.Since(begin))
}

func printSent(s stream, cfg probe.SendConfig, r probe.SendResult, took time.Duration) error {
	rate := float64(r.Sent) * float64(len(cfg.Sender.Groups)) / took.Seconds()
	for _, g := range cfg.Sender.Groups {
		text := fmt.Sprintf("%v: sent %d", g.Addr(), r.Sent)
		// Who sends cannot know what arrives: recv and ping tell.
		err := s.out.event("summary", text, "group", g.Addr(), "sent", r.Sent, "received", nil, "lost", nil, "duplicate", nil, "reordered", nil)
		if err != nil {
			return err
		}
	}
	total := fmt.Sprintf("total: %d datagrams in %v, %.0f a second", r.Sent*uint64(len(cfg.Sender.Groups)), took.Round(time.Millisecond), rate)
	if r.Failed > 0 {
		total += fmt.Sprintf("; %d not sent", r.Failed)
	}
	err := s.out.event("total", total, "sent", r.Sent*uint64(len(cfg.Sender.Groups))-r.Failed, "failed", r.Failed,
		"backoffs", r.Backoffs, "seconds", took.Seconds(), "rate", rate)
	if err == nil && (r.Failed > 0 || r.Sent == 0) {
		return failed()
	}
	return err
}

// millis is d in milliseconds, with the nanoseconds behind the point.
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
