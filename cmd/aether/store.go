package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/adrg/xdg"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storeCommand() *cli.Command {
	c := &cli.Command{
		Name: "store", Usage: "the pool's drive: one encrypted drive made of the disks of many machines",
		Subcommands: []*cli.Command{
			storeInitCommand(),
			storeServeCommand(),
			storeInviteCommand(),
			storeJoinCommand(),
			storeMembersCommand(),
			storeLeaveCommand(),
			storeForgetCommand(),
			storeRevokeCommand(),
			storePassphraseCommand(),
			storeMountCommand(),
			storeUmountCommand(),
			storePutCommand(),
			storeGetCommand(),
			storeCatCommand(),
			storeLsCommand(),
			storeTreeCommand(),
			storeMkdirCommand(),
			storeMvCommand(),
			storeRmCommand(),
			storeCpCommand(),
			storeStatCommand(),
			storeHistoryCommand(),
			storeUndoCommand(),
			storeDuCommand(),
			storeVerifyCommand(),
			storeScrubCommand(),
			storeRekeyCommand(),
			storeGcCommand(),
			storeFlushCommand(),
			storeReplicasCommand(),
			storeWhereCommand(),
			storeWhyCommand(),
			storePlanCommand(),
			storePinCommand(),
			storeUnpinCommand(),
			storeWarmCommand(),
			storeStatusCommand(),
			storeConflictsCommand(),
			storeLogCommand(),
			storeTopCommand(),
			storeBenchCommand(),
		},
	}
	explain(c)
	return c
}

// dirFlag names the machine's directory.
func dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", EnvVars: []string{"AETHER_DIR"},
		Usage: "the machine's `DIRECTORY`", DefaultText: "aether in the XDG data directory"}
}

// storeDir returns the machine's directory.
func storeDir(c *cli.Context) string {
	if d := c.String("dir"); d != "" {
		return d
	}
	return filepath.Join(xdg.DataHome, "aether")
}

// timeoutFlag bounds a command's time.
func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: "give up after this `TIME`; 0 never does"}
}

// withMachine runs f with a client of the machine that the flags name, within
// --timeout.
func withMachine(c *cli.Context, f func(c *cli.Context, m *node.Client, p *printer) error) error {
	p, err := newPrinter(c)
	if err != nil {
		return err
	}
	if d := c.Duration("timeout"); d > 0 {
		var cancel func()
		c.Context, cancel = contextWithTimeout(c.Context, d)
		defer cancel()
	}
	dir := storeDir(c)
	m, err := node.Connect(c.Context, dir)
	if err != nil {
		if _, serr := os.Stat(dir); os.IsNotExist(serr) || errors.Is(err, pool.ErrNoPool) {
			return noMachine(dir)
		}
		return err
	}
	err = f(c, m, p)
	if cerr := m.Close(); err == nil {
		err = cerr
	}
	return withCause(c.Context, err)
}
