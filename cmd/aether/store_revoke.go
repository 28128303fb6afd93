package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/node"
)

func storeForgetCommand() *cli.Command {
	return aboutMachine("forget", "forgotten", "give up a machine that will not come back",
		"Its copies are made anew on other machines at once. Should it come back it is refused, until it joins\n"+
			"again with an invitation.", "aether store forget old-laptop",
		func(ctx context.Context, m *node.Client, word string) (store.MachineID, string, error) {
			return m.Forget(ctx, word)
		})
}

func storeRevokeCommand() *cli.Command {
	return aboutMachine("revoke", "revoked", "a machine was lost or stolen: never let it in again",
		"Every machine of the pool that hears of it refuses it, for ever, and a new generation of the pool's\n"+
			"secret begins, with which all is written from now on. What the machine holds it keeps, and what is\n"+
			"under the old secret stays so until: aether store rekey.", "aether store revoke stolen-laptop",
		func(ctx context.Context, m *node.Client, word string) (store.MachineID, string, error) {
			return m.Revoke(ctx, word)
		})
}

// aboutMachine makes a command that gives an order about another machine.
func aboutMachine(name, done, what, description, example string, order func(context.Context, *node.Client, string) (store.MachineID, string, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: what, ArgsUsage: "MACHINE",
		Description: description + "\nMACHINE is a name, an ID, or what one ID alone begins with.\n" +
			"JSON: " + done + " {machine, name}. Exit status: 1 when there is no such machine, or several are called so." +
			examples(example),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want MACHINE")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				id, called, err := order(c.Context, m, c.Args().First())
				if err != nil {
					return err
				}
				return p.event(done, fmt.Sprintf("%s %s (%s)", done, called, id), "machine", id, "name", called)
			})
		},
	}
}
