package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storeInitCommand() *cli.Command {
	return &cli.Command{
		Name: "init", Usage: "make a machine: the first of a new pool, or with --secret-file one more of a pool",
		Description: "Makes the machine's directory with its key, and the pool's secret in a file that only you can read.\n" +
			"Whoever has the secret can join the pool and read everything in it: carry it by a way you trust.\n" +
			"Exit status: 1 when the directory has a machine already." +
			examples("aether store init --name alice", "aether store init --secret-file /media/usb/pool.secret --space 200GiB"),
		Flags: append(machineFlags(), dirFlag()),
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("init takes no arguments")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return storeInit(c, storeDir(c), p)
		},
	}
}

// machineFlags set up a machine.
func machineFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "what people call this machine", DefaultText: "the host's name"},
		&cli.StringFlag{Name: "space", Usage: "`BYTES` to set aside for the pool, like 200GiB", DefaultText: "10GiB"},
		&cli.BoolFlag{Name: "preallocate", Usage: "take the space from the disk at once, so that nobody else can have it"},
		&cli.StringFlag{Name: "keep", Usage: "keep old versions and removed files for this `TIME` (12h, 30d)", DefaultText: "30d"},
		&cli.StringFlag{Name: "lease", Usage: "retire machines that were silent for this `TIME`, at least a day (90d)", DefaultText: "90d"},
		&cli.IntFlag{Name: "copies", Usage: "how many machines shall keep each file", DefaultText: "2"},
		&cli.BoolFlag{Name: "laptop", Usage: "this machine is often away: give it less to keep, and never the only copies; --laptop=false says it is not", DefaultText: "when it has a battery"},
		&cli.StringFlag{Name: "secret-file", Usage: "join the pool whose secret is in `FILE`"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "seal the key and the secret with the passphrase in `FILE`"},
	}
}

// machineConfig reads machineFlags.
func machineConfig(c *cli.Context, dir string) (cfg node.Config, secret pool.Secret, err error) {
	cfg = node.Config{Dir: dir, Set: node.Settings{Name: c.String("name"), Copies: c.Int("copies"), Preallocate: c.Bool("preallocate")}}
	if s := c.String("keep"); s != "" {
		keep, err := parseAge(s)
		if err != nil {
			return cfg, secret, usage("--keep: %v", err)
		}
		if cfg.Set.Retention = int64(keep / time.Second); keep == 0 {
			cfg.Set.Retention = -1
		}
	}
	if c.IsSet("laptop") {
		cfg.Set.Laptop = map[bool]string{true: "yes", false: "no"}[c.Bool("laptop")]
	}
	if s := c.String("lease"); s != "" {
		lease, err := parseAge(s)
		if err != nil || lease < 24*time.Hour {
			return cfg, secret, usage("--lease: want a time of at least a day, like 90d")
		}
		cfg.Set.Lease = int64(lease / time.Second)
	}
	if len(cfg.Set.Name) > 63 {
		return cfg, secret, usage("--name: at most 63 bytes")
	}
	if cfg.Set.Copies < 0 || cfg.Set.Copies > 100 {
		return cfg, secret, usage("--copies: want 1 to 100")
	}
	if s := c.String("space"); s != "" {
		if cfg.Set.Space, err = parseBytes(s); err != nil {
			return cfg, secret, usage("--space: %w", err)
		}
	}
	if f := c.String("passphrase-file"); f != "" {
		if cfg.Passphrase, err = pool.ReadPassphrase(f); err != nil {
			return cfg, secret, err
		}
	}
	if f := c.String("secret-file"); f != "" {
		b, err := os.ReadFile(f)
		if err != nil {
			return cfg, secret, fmt.Errorf("the pool's secret: %w", err)
		}
		if secret, cfg.Later, err = pool.ParseSecrets(string(b)); err != nil {
			return cfg, secret, fmt.Errorf("the pool's secret in %s: %w", f, err)
		}
	}
	return cfg, secret, nil
}

func storeInit(c *cli.Context, dir string, p *printer) error {
	cfg, secret, err := machineConfig(c, dir)
	if err != nil {
		return err
	}
	pl, err := node.Init(cfg, secret)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, pool.SecretFile)
	return p.event("initialized",
		fmt.Sprintf("pool %s\nsecret in %s: copy it to a machine that shall join", pl.ID, file),
		"pool", pl.ID.String(), "machine", pl.Machine, "dir", dir, "secret_file", file)
}
