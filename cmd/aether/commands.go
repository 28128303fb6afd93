package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// commands lists the groups and the commands that stand alone.
func commands() []*cli.Command {
	return []*cli.Command{
		linklocalCommand(),
		mdnsCommand(),
		dnssdCommand(),
		igmpCommand(),
		mcastCommand(),
		paxosCommand(),
		dhtCommand(),
		storeCommand(),
		versionCommand(),
		completionCommand(),
		manCommand(),
	}
}

// examples is the last part of a leaf's Description: command lines a user may copy.
func examples(lines ...string) string {
	return "\n\nExamples:\n   " + strings.Join(lines, "\n   ")
}

// common are the flags that every leaf has.
func common() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "tell more on standard error"},
		&cli.StringFlag{Name: "color", Value: "auto", Usage: "`WHEN` to use colour: auto, always, never"},
	}
}

// interfaceFlag names the interfaces to work on.
func interfaceFlag(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "interface", Aliases: []string{"i"}, Usage: usage}
}

// finish makes cmds strict: leaves get the common flags, usage mistakes become
// errors with status 2 instead of text on standard output, and a group without a
// command shows its help.
func finish(cmds []*cli.Command) {
	for _, c := range cmds {
		c.HideHelpCommand = true
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return usage("%w", err) }
		if len(c.Subcommands) > 0 {
			c.Action = func(ctx *cli.Context) error { return cli.ShowSubcommandHelp(ctx) }
			finish(c.Subcommands)
			continue
		}
		c.Flags = append(c.Flags, common()...)
		c.UseShortOptionHandling = false
	}
}
