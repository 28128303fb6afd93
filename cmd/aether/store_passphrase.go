package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storePassphraseCommand() *cli.Command {
	return &cli.Command{
		Name: "passphrase", Usage: "set, change or remove the passphrase of this machine's key files",
		Description: "Whoever takes the disk cannot use key and secret without the passphrase. Both passphrases are asked for,\n" +
			"or read from files that only you can read. No node may run on the directory meanwhile; start it\n" +
			"afterwards with --passphrase-file.\n" +
			"JSON: passphrase {dir, sealed}. Exit status: 1 when the present passphrase is wrong, or a node runs." +
			examples("aether store passphrase", "aether store passphrase --new-passphrase-file new.txt", "aether store passphrase --passphrase-file now.txt --remove"),
		Flags: []cli.Flag{dirFlag(),
			&cli.StringFlag{Name: "passphrase-file", Usage: "the present passphrase is in `FILE`", DefaultText: "asked for where there is one"},
			&cli.StringFlag{Name: "new-passphrase-file", Usage: "the new passphrase is in `FILE`", DefaultText: "asked for"},
			&cli.BoolFlag{Name: "remove", Usage: "keep the files without a passphrase"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("passphrase takes no arguments: others could see them")
			}
			if c.Bool("remove") && c.IsSet("new-passphrase-file") {
				return usage("either --remove or --new-passphrase-file")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return storePassphrase(c, storeDir(c), p)
		},
	}
}

func storePassphrase(c *cli.Context, dir string, p *printer) error {
	sealed, err := pool.Sealed(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return noMachine(dir)
	}
	if err != nil {
		return err
	}
	var old, fresh []byte
	if sealed || c.IsSet("passphrase-file") {
		if old, err = passphraseOf(c, "passphrase-file", "Present passphrase: "); err != nil {
			return err
		}
	}
	if !c.Bool("remove") {
		if fresh, err = newPassphrase(c); err != nil {
			return err
		}
	}
	if err := node.ChangePassphrase(dir, old, fresh); err != nil {
		return err
	}
	text := "the key files are sealed; start the node with --passphrase-file"
	if len(fresh) == 0 {
		text = "the key files have no passphrase"
	}
	return p.event("passphrase", text, "dir", dir, "sealed", len(fresh) > 0)
}

// newPassphrase reads the new passphrase, from a person twice.
func newPassphrase(c *cli.Context) ([]byte, error) {
	b, err := passphraseOf(c, "new-passphrase-file", "New passphrase: ")
	if err != nil || c.IsSet("new-passphrase-file") {
		return b, err
	}
	again, err := passphraseOf(c, "new-passphrase-file", "Once more: ")
	if err == nil && !bytes.Equal(b, again) {
		err = errors.New("they are not the same; nothing was changed")
	}
	return b, err
}

// passphraseOf reads a passphrase from the file that a flag names, or from a person.
func passphraseOf(c *cli.Context, name, prompt string) ([]byte, error) {
	if f := c.String(name); f != "" {
		return pool.ReadPassphrase(f)
	}
	in, ok := c.App.Reader.(*os.File)
	if !ok || !isTerminal(in) {
		return nil, usage("--%s is missing, and there is no terminal to ask on", name)
	}
	fmt.Fprint(c.App.ErrWriter, prompt)
	b, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(c.App.ErrWriter)
	if err == nil && len(b) == 0 {
		err = errors.New("an empty passphrase; nothing was changed")
	}
	return b, err
}
