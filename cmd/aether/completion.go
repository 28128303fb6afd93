package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a completion script for bash, zsh or fish", ArgsUsage: "bash|zsh|fish",
		Description: "Prints a script that completes commands and flags." +
			examples("source <(aether completion bash)", "aether completion fish > ~/.config/fish/completions/aether.fish"),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one of bash, zsh, fish")
			}
			switch shell := c.Args().First(); shell {
			case "bash":
				_, err := io.WriteString(c.App.Writer, bashCompletion)
				return err
			case "zsh":
				_, err := io.WriteString(c.App.Writer, zshCompletion)
				return err
			case "fish":
				s, err := c.App.ToFishCompletion()
				if err == nil {
					_, err = fmt.Fprint(c.App.Writer, s)
				}
				return err
			default:
				return usage("no completion for %q; want bash, zsh or fish", shell)
			}
		},
	}
}

// The scripts ask the program itself: it knows what may come next. "--" alone would
// end the flags for it, so they ask with "-" then and let the shell choose.
const bashCompletion = `_aether() {
  local cur="${COMP_WORDS[COMP_CWORD]}" ask words
  if [[ "$cur" == -* ]]; then
    ask="$cur"
    [[ "$ask" == -- ]] && ask=-
    words=$("${COMP_WORDS[@]:0:COMP_CWORD}" "$ask" --generate-bash-completion 2>/dev/null)
  else
    words=$("${COMP_WORDS[@]:0:COMP_CWORD}" --generate-bash-completion 2>/dev/null)
  fi
  local w typed="${cur//\\/}"
  COMPREPLY=()
  while IFS= read -r w; do # a line is a word, also one with spaces
    [[ -n "$w" && "$w" == "$typed"* ]] && COMPREPLY+=("$(printf %q "$w")")
  done <<<"$words"
}
complete -o bashdefault -o default -F _aether aether
`

const zshCompletion = `#compdef aether
_aether() {
  local -a words_
  local cur="${words[-1]}" ask
  if [[ "$cur" == -* ]]; then
    ask="$cur"
    [[ "$ask" == -- ]] && ask=-
    words_=("${(@f)$(${words[1,-2]} ${ask} --generate-bash-completion 2>/dev/null)}")
  else
    words_=("${(@f)$(${words[1,-2]} --generate-bash-completion 2>/dev/null)}")
  fi
  if [[ -n "${words_[1]}" ]]; then
    compadd -- "${words_[@]}"
  else
    _files
  fi
}
compdef _aether aether
`
