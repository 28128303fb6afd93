package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
)

func paxosExampleCommand() *cli.Command {
	return &cli.Command{
		Name:  "example",
		Usage: "replay the worked example of single-decree Paxos as a sequence diagram",
		Description: "Acceptors X, Y and Z; proposers A (n=2, v=8), B (n=4, v=5) and C (n=6, v=7). B learns of 8 and must\n" +
			"propose it, 8 is chosen, and C can only confirm it. In the textbook's form a promise tells the highest-numbered\n" +
			"proposal that was accepted; in the text's form, the highest-numbered one that was seen.\n" +
			"JSON events: prepare, promise, ignored, accept, accepted, refused, chosen {from, to, n, value, told, why}.\n" +
			"Exit status: 0." +
			examples(`aether paxos example`, `aether paxos example --form text`),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "form", Value: string(paxos.Textbook), Usage: "what promises tell: `FORM` is textbook or text"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			form := paxos.Form(c.String("form"))
			if form != paxos.Textbook && form != paxos.Text {
				return usage("--form takes textbook or text, not %q", c.String("form"))
			}
			return paxosExample(out, form)
		},
	}
}

// exampleNotes say what is special about a form.
var exampleNotes = map[paxos.Form]string{
	paxos.Textbook: "Textbook form: a promise tells what the acceptor has accepted. X had accepted 8 when B asked, so B must propose\n" +
		"8. Had A's accept come to X after B's prepare, B would have heard of nothing and proposed 5; see --form text.",
	paxos.Text: "The text's form: a promise tells what the acceptor has seen, accepted or not. X and Y had only promised to A, yet B\n" +
		"proposes 8. Lamport's algorithm does not need that; see --form textbook.",
}

func paxosExample(out *printer, form paxos.Form) error {
	steps, err := paxos.WorkedExample(form)
	if err != nil {
		return err
	}
	if out.json {
		for _, s := range steps {
			if err := out.event(s.Kind, "", exampleFields(s)...); err != nil {
				return err
			}
		}
		return nil
	}
	for _, l := range paxos.DrawExample(steps) {
		if err := out.line(l); err != nil {
			return err
		}
	}
	return out.line(exampleNotes[form])
}

func exampleFields(s paxos.Step) []any {
	kv := []any{"from", s.From}
	if s.To != "" {
		kv = append(kv, "to", s.To)
	}
	kv = append(kv, "n", s.N)
	if s.Told > 0 {
		kv = append(kv, "told", s.Told)
	}
	if s.Value != "" {
		kv = append(kv, "value", s.Value)
	}
	if s.Why != "" {
		kv = append(kv, "why", s.Why)
	}
	return kv
}
