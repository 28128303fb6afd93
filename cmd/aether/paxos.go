package main

import "github.com/urfave/cli/v2"

func paxosCommand() *cli.Command {
	return &cli.Command{
		Name:  "paxos",
		Usage: "agreement among machines: a replicated map, and how it works",
		Subcommands: []*cli.Command{
			paxosServeCommand(), paxosPutCommand(), paxosGetCommand(), paxosDelCommand(), paxosCasCommand(), paxosWatchCommand(),
			paxosStatusCommand(), paxosMemberCommand(), paxosSnapshotCommand(), paxosVerifyCommand(), paxosBenchCommand(),
			paxosExampleCommand(), paxosSimCommand(),
		},
	}
}
