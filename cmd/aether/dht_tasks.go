package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
	"github.com/aether-lan/aether/dht/tasks"
)

func dhtTasksCommand() *cli.Command {
	return &cli.Command{
		Name:  "tasks",
		Usage: "queues of work that outlives its nodes",
		Subcommands: []*cli.Command{
			dhtTasksAddCommand(), dhtTasksListCommand(), dhtTasksWorkCommand(), dhtTasksRetryCommand(), dhtTasksDropCommand(),
		},
	}
}

func dhtTasksAddCommand() *cli.Command {
	return &cli.Command{
		Name:      "add",
		Usage:     "add a task to QUEUE: PAYLOAD, or what stands on standard input",
		ArgsUsage: "QUEUE [PAYLOAD]",
		Description: "The task is on the disks of a majority of the nodes that keep it when the command returns, and is run at least once\n" +
			"by a worker of the queue, whatever node dies. Its ID is printed; a task whose --id is there already is left as it is.\n" +
			"JSON: added {queue, id}, or present {queue, id}. Exit status: 1 when too few nodes answered." +
			examples(`aether dht tasks add print "page 1"`, `aether dht tasks add --id nightly --delay 1h backup < args`),
		Flags: ringClientFlags(
			&cli.StringFlag{Name: "id", Usage: "`ID` of the task; adding it again changes nothing", DefaultText: "a random one"},
			&cli.DurationFlag{Name: "delay", Usage: "do not run it before this `TIME` has passed"},
			&cli.DurationFlag{Name: "expire", Usage: "give it up after this `TIME`"},
			&cli.DurationFlag{Name: "run-for", Usage: "one attempt may take this `TIME`", DefaultText: "1m"},
			&cli.Uint64Flag{Name: "attempts", Usage: "give it up after `N` attempts", DefaultText: "10"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			payload, err := payloadOf(c, 1)
			if err != nil {
				return err
			}
			t := tasks.Task{
				Queue: c.Args().First(), ID: c.String("id"), Payload: payload, MaxAttempts: c.Uint64("attempts"),
				Wait: c.Duration("delay"), Left: c.Duration("expire"), Timeout: c.Duration("run-for"),
			}
			if t.ID == "" {
				t.ID = strings.ToLower(rand.Text()[:12])
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				added, err := cl.AddTask(ctx, t)
				if err != nil {
					return err
				}
				event := "added"
				if !added {
					event = "present"
				}
				return out.event(event, t.ID, "queue", t.Queue, "id", t.ID)
			})
		},
	}
}

func dhtTasksListCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Aliases:   []string{"ls"},
		Usage:     "list the tasks of QUEUE, or of all queues",
		ArgsUsage: "[QUEUE]",
		Description: "Done tasks are remembered for an hour, those that were given up for a week.\n" +
			"JSON: task {queue, id, state, attempt, payload, result, error}; states are queued, running, done, dead.\n" +
			"Exit status: 1 when too few nodes answered." +
			examples(`aether dht tasks list`, `aether dht tasks list --state dead print`),
		Flags: ringClientFlags(&cli.StringFlag{Name: "state", Usage: "only those that are `STATE`"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1); err != nil {
				return err
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				return dhtTasksList(ctx, cl, c.Args().First(), c.String("state"), out)
			})
		},
	}
}

func dhtTasksList(ctx context.Context, cl *peer.Client, queue, state string, out *printer) error {
	after := ""
	for {
		list, last, err := cl.Tasks(ctx, queue, after, ringPage)
		if err != nil {
			return err
		}
		for _, t := range list {
			if state != "" && t.State.String() != state {
				continue
			}
			text := fmt.Sprintf("%-12s %-14s %-8v attempt %d  %s", t.Queue, t.ID, t.State, t.Attempt, t.Error)
			err := out.event("task", strings.TrimRight(text, " "), "queue", t.Queue, "id", t.ID, "state", t.State.String(), "attempt", t.Attempt,
				"payload", shownBytes(t.Payload), "result", shownBytes(t.Result), "error", t.Error)
			if err != nil {
				return err
			}
		}
		if after = last; last == "" {
			return nil
		}
	}
}

func dhtTasksWorkCommand() *cli.Command {
	return &cli.Command{
		Name:      "work",
		Usage:     "do the tasks of QUEUE, until interrupted",
		ArgsUsage: "QUEUE",
		Description: "Each task is printed, or with --exec given to COMMAND on standard input, with AETHER_TASK_ID, AETHER_TASK_QUEUE and\n" +
			"AETHER_TASK_ATTEMPT; what it prints is the result, and a status other than 0 has the task tried again, later.\n" +
			"A task may come twice, with the same ID, when its node died before it heard the outcome.\n" +
			"JSON: working {queue}, task {queue, id, attempt, payload}, done {queue, id, attempt}, failed {queue, id, attempt, error}.\n" +
			"Exit status: 0 after an interrupt or --count tasks." +
			examples(`aether dht tasks work print --exec lp`, `aether dht tasks work --jobs 4 resize --exec ./resize.sh`),
		Flags: ringClientFlags(
			&cli.StringFlag{Name: "exec", Usage: "run `COMMAND` for each task"},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Value: 1, Usage: "at most `N` tasks at a time"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` tasks"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			program, err := dhtProgram(c)
			if err != nil {
				return err
			}
			return withRingForEver(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				return dhtWork(ctx, c, cl, program, out)
			})
		},
	}
}

// dhtWork does tasks until ctx ends, or --count of them are done.
func dhtWork(ctx context.Context, c *cli.Context, cl *peer.Client, program []string, out *printer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	left := make(chan struct{}, max(c.Int("count"), 1)) // filled by what is done
	queue := c.Args().First()
	ready := func() { _ = out.event("working", "", "queue", queue) }
	err := cl.Work(ctx, queue, c.Int("jobs"), ready, func(ctx context.Context, w peer.Work) ([]byte, error) {
		text := string(w.Payload)
		if program != nil {
			text = ""
		}
		_ = out.event("task", text, "queue", w.Queue, "id", w.ID, "attempt", w.Attempt, "payload", shownBytes(w.Payload))
		var result []byte
		var err error
		if program != nil {
			result, err = runProgram(ctx, program, w.Payload, []string{
				"AETHER_TASK_QUEUE=" + w.Queue, "AETHER_TASK_ID=" + w.ID, fmt.Sprint("AETHER_TASK_ATTEMPT=", w.Attempt)})
		}
		if err != nil {
			_ = out.event("failed", fmt.Sprintf("%s failed: %v", w.ID, err), "queue", w.Queue, "id", w.ID, "attempt", w.Attempt, "error", err.Error())
			return nil, err
		}
		_ = out.event("done", "", "queue", w.Queue, "id", w.ID, "attempt", w.Attempt)
		if c.Int("count") > 0 {
			select {
			case left <- struct{}{}:
			default:
			}
			if len(left) == cap(left) {
				time.AfterFunc(0, func() { stop(errEnoughSeen) })
			}
		}
		return result, nil
	})
	if context.Cause(ctx) == errEnoughSeen { //nolint:errorlint // it is given bare, three lines above
		return errEnoughSeen
	}
	return err
}

// dhtTaskCommand is one of those that are given a queue and an ID.
func dhtTaskCommand(name, use, done, text string, do func(ctx context.Context, cl *peer.Client, queue, id string) error) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       use,
		ArgsUsage:   "QUEUE ID",
		Description: text + "\nJSON: " + done + " {queue, id}. Exit status: 1 when there is no such task." + examples("aether dht tasks "+name+" print page-7"),
		Flags:       ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, 2); err != nil {
				return err
			}
			queue, id := c.Args().Get(0), c.Args().Get(1)
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				if err := do(ctx, cl, queue, id); err != nil {
					return err
				}
				return out.event(done, "", "queue", queue, "id", id)
			})
		},
	}
}

func dhtTasksDropCommand() *cli.Command {
	return dhtTaskCommand("drop", "remove a task", "dropped", "An attempt that is under way is not stopped.",
		func(ctx context.Context, cl *peer.Client, queue, id string) error { return cl.DropTask(ctx, queue, id) })
}

func dhtTasksRetryCommand() *cli.Command {
	return dhtTaskCommand("retry", "give a task that is done or dead all its attempts again", "queued", "Its workers get it at once.",
		func(ctx context.Context, cl *peer.Client, queue, id string) error {
			return cl.RequeueTask(ctx, queue, id)
		})
}
