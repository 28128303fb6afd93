package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder brings the flags of a command line in front of its arguments, because
// urfave/cli v2 stops reading flags at the first argument and would pass the rest
// through as arguments. It finds unknown commands and flags on the way. The flags
// that every command has may also stand before the command.
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || args[len(args)-1] == "--generate-bash-completion" {
		return args, nil
	}
	done, rest := args[:1:1], args[1:]
	cmds, name := app.Commands, app.Name
	var early []string
	for len(rest) > 0 {
		word := rest[0]
		if word == "-h" || word == "--help" || word == "-help" {
			return append(done, "--help"), nil
		}
		if strings.HasPrefix(word, "-") {
			n := earlyFlag(rest)
			if n == 0 {
				return nil, usage("unknown flag %s; see %s --help", word, name)
			}
			early, rest = append(early, rest[:n]...), rest[n:]
			continue
		}
		i := slices.IndexFunc(cmds, func(c *cli.Command) bool { return c.HasName(word) })
		if i < 0 {
			return nil, usage("unknown command %q%s; see %s --help", word, didYouMean(word, cmds), name)
		}
		done, rest, name = append(done, word), rest[1:], name+" "+word
		if len(cmds[i].Subcommands) == 0 {
			flags, arguments, err := split(cmds[i], name, slices.Concat(early, rest))
			if err != nil {
				return nil, err
			}
			return append(append(append(done, flags...), "--"), arguments...), nil
		}
		cmds = cmds[i].Subcommands
	}
	if len(early) > 0 {
		return nil, usage("flag %s needs a command; see %s --help", early[0], name)
	}
	return done, nil
}

// earlyFlag returns how many of words are a flag that every command has, with its
// value: 0 when the first is none.
func earlyFlag(words []string) int {
	key, _, hasValue := strings.Cut(strings.TrimLeft(words[0], "-"), "=")
	b, ok := findFlag(&cli.Command{Flags: common()}, key).(cli.DocGenerationFlag)
	switch {
	case !ok:
		return 0
	case hasValue || !b.TakesValue():
		return 1
	}
	return min(2, len(words))
}

// split parts what follows a leaf command into flags with their values and
// arguments. "--" ends the flags. Who asks for help gets help and nothing else.
func split(c *cli.Command, name string, words []string) (flags, arguments []string, err error) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w == "--" {
			return flags, append(arguments, words[i+1:]...), nil
		}
		if len(w) < 2 || w[0] != '-' {
			arguments = append(arguments, w)
			continue
		}
		key, _, hasValue := strings.Cut(strings.TrimLeft(w, "-"), "=")
		if key == "h" || key == "help" {
			return []string{"--help"}, nil, nil
		}
		f := findFlag(c, key)
		if bundle := unbundle(c, w); f == nil && bundle != nil {
			flags = append(flags, bundle...)
			continue
		}
		if f == nil && isNumber(w) {
			arguments = append(arguments, w)
			continue
		}
		if f == nil {
			return nil, nil, usage("unknown flag %s; see %s --help", w, name)
		}
		flags = append(flags, w)
		if b, ok := f.(cli.DocGenerationFlag); hasValue || ok && !b.TakesValue() {
			continue
		}
		if i++; i == len(words) {
			return nil, nil, usage("flag %s needs a value; see %s --help", w, name)
		}
		flags = append(flags, words[i])
	}
	return flags, arguments, nil
}

// isNumber reports whether w is a negative number, which is an argument. -4 and -6
// are not: they mean address families, also where a command does not know them.
func isNumber(w string) bool {
	if w == "-4" || w == "-6" || strings.HasPrefix(w, "--") || w[1] != '.' && (w[1] < '0' || w[1] > '9') {
		return false
	}
	_, err := strconv.ParseFloat(w, 64)
	return err == nil
}

// unbundle turns -lr into -l -r where every letter is a flag without a value.
func unbundle(c *cli.Command, w string) (flags []string) {
	if strings.HasPrefix(w, "--") {
		return nil
	}
	for _, letter := range w[1:] {
		b, ok := findFlag(c, string(letter)).(cli.DocGenerationFlag)
		if !ok || b.TakesValue() {
			return nil
		}
		flags = append(flags, "-"+string(letter))
	}
	return flags
}

func findFlag(c *cli.Command, key string) cli.Flag {
	for _, f := range c.Flags {
		if slices.Contains(f.Names(), key) {
			return f
		}
	}
	return nil
}

// didYouMean suggests the command whose name is nearest to word, if one is near.
func didYouMean(word string, cmds []*cli.Command) string {
	best, at := "", 3
	for _, c := range cmds {
		if d := distance(word, c.Name); d < at {
			best, at = c.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance is the number of letters to insert, delete or replace to make b of a
// (Levenshtein 1966).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		last := row[0]
		row[0] = i + 1
		for j := range b {
			cost := last
			if a[i] != b[j] {
				cost = 1 + min(last, row[j], row[j+1])
			}
			last, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
