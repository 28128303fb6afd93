package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/tree"
)

func storeConflictsCommand() *cli.Command {
	return &cli.Command{
		Name: "conflicts", Usage: "what two machines changed without knowing of each other: list, diff, keep, drop",
		Description: "When two machines change a file while they cannot hear of each other, the later change has the name and\n" +
			"the other one is shown beside it, as a conflict copy, on all machines alike. Nothing is lost; which one is right is\n" +
			"for you to say: keep makes the copy the file, drop removes the copy. `history` and `undo` bring back either.",
		Subcommands: []*cli.Command{
			conflictsListCommand(),
			conflictsDiffCommand(),
			conflictsKeepCommand(),
			conflictsDropCommand(),
		},
	}
}

func conflictsListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list conflict copies", ArgsUsage: "[/PATH]",
		Description: "Lists the conflict copies at and below /PATH, by default of the whole drive: of which file, who wrote it and\n" +
			"when, how large it is, and the same of the file.\n" +
			"JSON: conflict {path, of, author, written, size, modified, of_size, of_author, of_modified}; of_size is -1 where\n" +
			"there is no such file any more. Exit status: 0, also when there are none." +
			examples("aether store conflicts list", "aether store conflicts list --json /docs"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want one /PATH or none")
			}
			return withMachine(c, listConflicts)
		},
	}
}

func listConflicts(c *cli.Context, m *node.Client, p *printer) error {
	where := "/"
	if c.NArg() == 1 {
		where = c.Args().First()
	}
	none := true
	err := m.Conflicts(c.Context, where, func(k node.Conflict) error {
		none = false
		kv := []any{"path", k.Path, "of", k.Of, "author", k.Author, "written", k.Written, "size", k.Size, "modified", k.Modified, "of_size", k.OfSize}
		if k.OfSize >= 0 {
			kv = append(kv, "of_author", k.OfAuthor, "of_modified", k.OfModified)
		}
		return p.event("conflict", conflictText(k), kv...)
	})
	if err == nil && none && !p.json {
		return p.line("no conflicts")
	}
	return err
}

func conflictText(k node.Conflict) string {
	t := fmt.Sprintf("%s\n    by %s, written %s, %s\n", k.Path, k.Author, k.Written.Local().Format(time.DateTime), formatBytes(k.Size))
	if k.OfSize < 0 {
		return t + fmt.Sprintf("    of %s, which is no file any more", k.Of)
	}
	return t + fmt.Sprintf("    of %s by %s, modified %s, %s", k.Of, k.OfAuthor, k.OfModified.Local().Format(time.DateTime), formatBytes(k.OfSize))
}

func conflictsKeepCommand() *cli.Command {
	return &cli.Command{
		Name: "keep", Usage: "let conflict copies take the place of their files", ArgsUsage: "/PATH...",
		Description: "The conflict copy at /PATH becomes the file, as a new version of it; the copy goes. What the file was before\n" +
			"stays in its history (`aether store undo`). /PATH may be the file where it has one conflict copy.\n" +
			"JSON: kept {path, of}. Exit status: 1 when a /PATH has no conflict copy or several, or a directory has its name." +
			examples("aether store conflicts keep /docs/plan.txt", "aether store conflicts keep '/docs/plan (conflict 2025-01-31 1405 abcdefg-12).txt'"),
		Flags:        []cli.Flag{dirFlag(), timeoutFlag()},
		BashComplete: completeConflicts,
		Action: func(c *cli.Context) error {
			return eachConflict(c, func(c *cli.Context, m *node.Client, p *printer, found []node.Conflict) error {
				if len(found) > 1 {
					var paths []string
					for _, k := range found {
						paths = append(paths, k.Path)
					}
					return fmt.Errorf("%s has %d conflict copies; say which one to keep: %s", found[0].Of, len(found), strings.Join(paths, ", "))
				}
				k, err := m.KeepConflict(c.Context, found[0].Path)
				if err != nil {
					return err
				}
				return p.event("kept", "kept "+k.Path+" as "+k.Of, "path", k.Path, "of", k.Of)
			})
		},
	}
}

func conflictsDropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "remove conflict copies", ArgsUsage: "/PATH...",
		Description: "Removes the conflict copy at /PATH, or all those of the file /PATH, and nothing that is not one. The file stays\n" +
			"as it is, and `aether store undo` brings a copy back.\n" +
			"JSON: dropped {path, of}. Exit status: 1 when a /PATH has no conflict copy." +
			examples("aether store conflicts drop /docs/plan.txt", "aether store conflicts drop '/docs/plan (conflict 2025-01-31 1405 abcdefg-12).txt'"),
		Flags:        []cli.Flag{dirFlag(), timeoutFlag()},
		BashComplete: completeConflicts,
		Action: func(c *cli.Context) error {
			return eachConflict(c, func(c *cli.Context, m *node.Client, p *printer, found []node.Conflict) error {
				for _, k := range found {
					if _, err := m.DropConflict(c.Context, k.Path); err != nil {
						return err
					}
					if err := p.event("dropped", "dropped "+k.Path, "path", k.Path, "of", k.Of); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// eachConflict runs f for each argument with the conflict copies that it means, until one
// fails.
func eachConflict(c *cli.Context, f func(*cli.Context, *node.Client, *printer, []node.Conflict) error) error {
	if c.NArg() == 0 {
		return usage("want the /PATH of a conflict copy or of its file; see aether store conflicts list")
	}
	return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
		for _, path := range c.Args().Slice() {
			found, err := conflictsOf(c.Context, m, path)
			if err == nil {
				err = f(c, m, p, found)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// conflictsOf returns the conflict copies that p means: the one at p, else those of the
// file p, of which there is at least one.
func conflictsOf(ctx context.Context, m *node.Client, p string) (found []node.Conflict, err error) {
	k, err := m.Conflict(ctx, p)
	if err == nil {
		return []node.Conflict{k}, nil
	}
	if !errors.Is(err, tree.ErrNoConflict) && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	p = path.Clean(p)
	lerr := m.Conflicts(ctx, path.Dir(p), func(k node.Conflict) error {
		if k.Of == p {
			found = append(found, k)
		}
		return nil
	})
	switch {
	case len(found) > 0 && lerr == nil:
		return found, nil
	case errors.Is(err, tree.ErrNoConflict):
		err = fmt.Errorf("%s is no conflict copy and has none", p)
	}
	return nil, err
}

// completeTime bounds how long the shell waits for conflict copies to be named, and
// completeMax how many are.
const (
	completeTime = time.Second
	completeMax  = 200
)

// completeConflicts names the conflict copies of a machine that a node runs for. Failing
// that it names nothing: completion must not complain.
func completeConflicts(c *cli.Context) {
	ctx, cancel := context.WithTimeout(c.Context, completeTime)
	defer cancel()
	m, err := node.Connect(ctx, storeDir(c))
	if err != nil {
		return
	}
	defer m.Close()
	n := 0
	_ = m.Conflicts(ctx, "/", func(k node.Conflict) error {
		fmt.Fprintln(c.App.Writer, printable(k.Path))
		if n++; n == completeMax {
			return context.Canceled
		}
		return nil
	})
}
