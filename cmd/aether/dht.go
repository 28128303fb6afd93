package main

import "github.com/urfave/cli/v2"

func dhtCommand() *cli.Command {
	return &cli.Command{
		Name:  "dht",
		Usage: "a ring of nodes that own the points of a circle (Chord), and how it works",
		Subcommands: []*cli.Command{
			dhtServeCommand(), dhtJoinCommand(), dhtStatusCommand(), dhtRingCommand(), dhtLookupCommand(),
			dhtPutCommand(), dhtGetCommand(), dhtCasCommand(), dhtDeleteCommand(), dhtWatchCommand(), dhtLeaseCommand(),
			dhtSendCommand(), dhtPublishCommand(), dhtSubscribeCommand(), dhtAnycastCommand(), dhtTasksCommand(),
			dhtExampleCommand(), dhtSimCommand(),
		},
	}
}
