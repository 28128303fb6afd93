package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptServing is the command serving DIR of scripts: it waits until a node serves
// the machine in DIR.
func scriptServing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serving DIR")
	}
	sock := filepath.Join(ts.MkAbs(args[0]), "node.sock")
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	end := time.After(20 * time.Second)
	for {
		c, err := net.Dial("unix", sock)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-look.C:
		case <-end:
			ts.Fatalf("no node serves %s: %v", args[0], err)
		}
	}
}

// scriptCondition adds the condition mounts to scripts: that file systems can be
// mounted in a namespace of one's own.
func scriptCondition(cond string) (bool, error) {
	if cond == "mounts" {
		return exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt").Run() == nil, nil
	}
	return false, nil
}
