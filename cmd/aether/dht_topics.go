package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
	"github.com/aether-lan/aether/dht/topics"
)

// payloadOf returns the argument at i, or standard input when there is none.
func payloadOf(c *cli.Context, i int) ([]byte, error) {
	if c.NArg() > i {
		return []byte(c.Args().Get(i)), nil
	}
	b, err := io.ReadAll(io.LimitReader(c.App.Reader, topics.MaxPayload+1))
	if err == nil && len(b) > topics.MaxPayload {
		err = fmt.Errorf("the message is larger than %d bytes", topics.MaxPayload)
	}
	return b, err
}

func dhtSendCommand() *cli.Command {
	return &cli.Command{
		Name:      "send",
		Usage:     "ask the service SERVICE of the node that owns ID, and print its answer",
		ArgsUsage: "ID|KEY SERVICE [MSG]",
		Description: "The message is handled once while the owner lives; when it dies before it answers, the next owner handles it.\n" +
			"Every node has the service echo, which answers what it is sent, and status. Without MSG it is read from standard input.\n" +
			"JSON: answer {key, service, payload}. Exit status: 1 when the service refused or nobody answered." +
			examples(`aether dht send colour echo hello`, `aether dht send 00112233445566778899aabbccddeeff00112233 status ""`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, 3); err != nil {
				return err
			}
			payload, err := payloadOf(c, 2)
			if err != nil {
				return err
			}
			key, service := ringPoint(c.Args().First()), c.Args().Get(1)
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				b, err := cl.Send(ctx, key, service, payload)
				if err != nil {
					return err
				}
				if out.json {
					return out.event("answer", "", "key", peer.Space().Format(key), "service", service, "payload", shownBytes(b))
				}
				return printRaw(out, b)
			})
		},
	}
}

func dhtPublishCommand() *cli.Command {
	return &cli.Command{
		Name:      "publish",
		Usage:     "send MSG, or what stands on standard input, to all subscribers of TOPIC",
		ArgsUsage: "TOPIC [MSG]",
		Description: "Returns when several nodes hold the message, so that it arrives also if one of them dies.\n" +
			"JSON: published {topic, copies}. Exit status: 1 when nobody took it; then it may arrive or not." +
			examples(`aether dht publish news "the printer is back"`, `aether dht publish news < message`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			payload, err := payloadOf(c, 1)
			if err != nil {
				return err
			}
			topic := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				copies, err := cl.Publish(ctx, topic, payload)
				if err != nil {
					return err
				}
				return out.event("published", "", "topic", topic, "copies", copies)
			})
		},
	}
}

func dhtAnycastCommand() *cli.Command {
	return &cli.Command{
		Name:      "anycast",
		Usage:     "send MSG to one subscriber of TOPIC that takes it, and print its answer",
		ArgsUsage: "TOPIC [MSG]",
		Description: "The nearest is asked first where distances are known, and the next one when it refuses or dies. Subscribers are\n" +
			"aether dht subscribe --anycast and programs. JSON: answer {topic, node, payload}.\n" +
			"Exit status: 1 when nobody is subscribed or all refused." +
			examples(`aether dht anycast print "page one"`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			payload, err := payloadOf(c, 1)
			if err != nil {
				return err
			}
			topic := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				b, by, err := cl.Anycast(ctx, topic, payload)
				if err != nil {
					return err
				}
				if out.json {
					return out.event("answer", "", "topic", topic, "node", peer.Space().Format(by), "payload", shownBytes(b))
				}
				return printRaw(out, b)
			})
		},
	}
}

func dhtSubscribeCommand() *cli.Command {
	return &cli.Command{
		Name:      "subscribe",
		Usage:     "print the messages of TOPIC, until interrupted",
		ArgsUsage: "TOPIC",
		Description: "Each message that is published from then on is printed once, in the order of the topic's root. With --anycast also\n" +
			"what is meant for one subscriber, which is answered with \"ok\" or with what --exec prints.\n" +
			"JSON: subscribed {topic}, message {topic, from, epoch, number, payload, anycast}, missed {topic, count}.\n" +
			"Exit status: 0 after an interrupt or --count messages." +
			examples(`aether dht subscribe news`, `aether dht subscribe --anycast --exec lp print`),
		Flags: ringClientFlags(
			&cli.BoolFlag{Name: "anycast", Usage: "also take what is meant for one subscriber"},
			&cli.StringFlag{Name: "exec", Usage: "run `COMMAND` for each message, which it has on standard input"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` messages"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			program, err := dhtProgram(c)
			if err != nil {
				return err
			}
			s := &subscriber{topic: c.Args().First(), count: c.Int("count"), program: program}
			return withRingForEver(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				s.out = out
				ready := func() { _ = out.event("subscribed", "", "topic", s.topic) }
				err := cl.Subscribe(ctx, s.topic, c.Bool("anycast"), ready, func(m peer.Message) ([]byte, error) { return s.message(ctx, m) })
				if err == nil || errors.Is(err, errEnoughSeen) {
					return errEnoughSeen
				}
				return err
			})
		},
	}
}

// subscriber prints messages.
type subscriber struct {
	topic   string
	count   int
	seen    int
	program []string
	out     *printer
}

// message prints a message and returns the answer to an anycast.
func (s *subscriber) message(ctx context.Context, m peer.Message) ([]byte, error) {
	if m.Missed > 0 {
		return nil, s.out.event("missed", fmt.Sprintf("about %d messages were missed", m.Missed), "topic", s.topic, "count", m.Missed)
	}
	text := string(m.Payload)
	if s.program != nil {
		text = ""
	}
	if err := s.out.event("message", text, "topic", s.topic, "from", peer.Space().Format(m.From), "epoch", m.Epoch, "number", m.Number,
		"payload", shownBytes(m.Payload), "anycast", m.Anycast); err != nil {
		return nil, err
	}
	answer := []byte("ok")
	if s.program != nil {
		var err error
		if answer, err = runProgram(ctx, s.program, m.Payload, nil); err != nil && m.Anycast {
			return nil, err
		}
		if answer == nil {
			answer = []byte{}
		}
		if !m.Anycast && len(answer) > 0 && !s.out.json {
			if err := printRaw(s.out, answer); err != nil {
				return nil, err
			}
		}
	}
	if s.seen++; s.seen == s.count {
		return answer, errEnoughSeen
	}
	return answer, nil
}
