package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/node"
)

func storeMembersCommand() *cli.Command {
	return &cli.Command{
		Name: "members", Usage: "the machines of the pool, and those that were",
		Description: "JSON: member {id, name, state, since, by, by_name, space, address, generation, invited_by,\n" +
			"invited_by_name, last_seen} a line; state is self, connected, away, invited, leaving, left, forgotten or\n" +
			"revoked. Exit status: 1 when there is no machine." +
			examples("aether store members", "aether store members --json"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("members takes no arguments")
			}
			return withMachine(c, storeMembers)
		},
	}
}

func storeMembers(c *cli.Context, m *node.Client, p *printer) error {
	list, err := m.Members(c.Context)
	if err != nil {
		return err
	}
	if !p.json {
		return p.line(membersText(list))
	}
	for _, x := range list {
		err := p.event("member", "", "id", x.ID, "name", x.Name, "state", x.State, "since", timeOrNil(x.Since), "by", machineOrNil(x.By), "by_name", x.ByName,
			"space", x.Space, "address", x.Address, "generation", x.Generation, "invited_by", machineOrNil(x.InvitedBy), "invited_by_name", x.InvitedByName,
			"last_seen", timeOrNil(x.LastSeen))
		if err != nil {
			return err
		}
	}
	return nil
}

// timeOrNil is t, and null in JSON where there is no such instant.
func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// machineOrNil is id, and null in JSON where there is no machine.
func machineOrNil(id store.MachineID) any {
	if id.IsZero() {
		return nil
	}
	return id
}

func membersText(list []node.MemberStatus) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tSPACE\tGENERATION\tINVITED BY\tADDRESS\tSTATE")
	for _, x := range list {
		generation, inviter := "-", x.InvitedByName
		if x.Generation != nil {
			generation = fmt.Sprint(*x.Generation)
		}
		if inviter == "" {
			inviter = "-"
		}
		address := x.Address
		if address == "" {
			address = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(x.Name), x.ID.Short(), formatBytes(int64(x.Space)), generation, printable(inviter), address, memberStateText(x))
	}
	_ = w.Flush() // into memory
	return strings.TrimRight(b.String(), "\n")
}

// memberStateText says how a machine is, since when and by whom.
func memberStateText(x node.MemberStatus) string {
	switch x.State {
	case node.StateSelf:
		return "this machine"
	case node.StateConnected:
		return "connected"
	case node.StateForgotten, node.StateRevoked:
		return string(x.State) + since(x.Since) + " by " + printable(x.ByName)
	}
	return string(x.State) + since(x.Since)
}
