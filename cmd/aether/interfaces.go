package main

import (
	"fmt"
	"net"

	"github.com/urfave/cli/v2"
)

// checkInterfaces looks whether the interfaces exist on which a node shall find others:
// before it listens anywhere or writes anything.
func checkInterfaces(c *cli.Context) error {
	names := c.StringSlice("interface")
	if len(names) > 0 && !c.Bool("discover") {
		return usage("--interface goes with --discover")
	}
	for _, name := range names {
		if _, err := net.InterfaceByName(name); err != nil {
			return fmt.Errorf("no such interface: %q", name)
		}
	}
	return nil
}
