// Command aether gives machines on a network that nobody administers an address, a
// name, services, and one encrypted drive made of their disks.
//
// One file holds one leaf command: a constructor that names its flags, a thin
// action, and a plain function that does the work and is told where to print. To
// add one, copy a file, put the constructor into its group's list (linklocal.go,
// mdns.go, …) and write a testscript in testdata. Groups are listed in
// commands.go; run.go turns errors into exit statuses, in one place.
package main

import (
	"context"
	"os"
)

func main() { os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr)) }
