package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/chat"
)

func mcastChatCommand() *cli.Command {
	return &cli.Command{
		Name:  "chat",
		Usage: "talk with everybody on the network who is in the same room",
		Description: "Without flags: the room \"lobby\", on all networks of this machine. No server keeps the room; its members repeat\n" +
			"what somebody missed, and tell who comes late what was said. On a terminal /help lists the commands.\n" +
			"With --plain, or when input or output is no terminal, each line of input is a message and each message a line\n" +
			"NAME: TEXT of output; who comes and goes is told on standard error. At the end of input it waits until everybody\n" +
			"present has all, at most --grace, and leaves. With /dev/null as input it only listens.\n\n" +
			"A room without a passphrase is open: everybody on the network can read it, and speak as anybody. With one, only\n" +
			"those who know it can. A shared passphrase proves that a message is of somebody in the group, not of which\n" +
			"member: members can speak in each other's names.\n\n" +
			"JSON: entered {room, name, id, sealed, group, interfaces}, message {from, id, sequence, kind, text, sent, past, late},\n" +
			"joined {member, id, new}, returned, left, vanished {member, id}, lost {from, id, first, last}, ended {waiting}.\n" +
			"Exit status: 1 when at the end of input somebody present had not got everything in time." +
			examples(`aether mcast chat`, `aether mcast chat --room kitchen --name ana --passphrase-file kitchen.txt`,
				`dmesg --follow | aether mcast chat --room logs --plain`),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "room", Value: "lobby", Usage: "`NAME` of the room"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` to be shown as", DefaultText: "USER@HOST"},
			&cli.StringFlag{Name: "passphrase-file", Usage: "seal the room with the passphrase in the first line of `FILE`"},
			&cli.BoolFlag{Name: "ask-passphrase", Usage: "seal the room with a passphrase that is asked for"},
			&cli.BoolFlag{Name: "plain", Usage: "lines in, lines out"},
			&cli.StringFlag{Name: "group", Usage: "use `GROUP:PORT` instead of the group of all rooms"},
			&cli.IntFlag{Name: "recall", Value: 100, Usage: "ask for the last `N` messages of each member on coming late"},
			&cli.DurationFlag{Name: "grace", Value: 10 * time.Second, Usage: "at the end of input, wait `TIME` at most until everybody has it, half of it for somebody to come"},
			waitFlag("leave after `TIME` (0: never)", 0),
			interfaceFlag("use `IF` only (repeatable; default: all that can multicast)"),
			&cli.BoolFlag{Name: "4", Usage: "IPv4 (default)"},
			&cli.BoolFlag{Name: "6", Usage: "IPv6"},
		},
		Action: mcastChat,
	}
}

// mcastChat reads the flags and runs the one or the other way to talk.
func mcastChat(c *cli.Context) error {
	if c.NArg() != 0 {
		return usage("chat takes no arguments; a passphrase is in a file, where others cannot see it")
	}
	out, err := newPrinter(c)
	if err != nil {
		return err
	}
	cfg, err := chatConfig(c)
	if err != nil {
		return err
	}
	s := chatSession{cfg: cfg, in: c.App.Reader, out: out, errw: c.App.ErrWriter, grace: c.Duration("grace")}
	if c.Duration("timeout") < 0 || s.grace < 0 {
		return usage("--timeout and --grace must not be negative")
	}
	plain := c.Bool("plain") || out.json || !isTerminal(c.App.Reader) || !isTerminal(c.App.Writer)
	if cfg.Passphrase, err = chatPassphrase(c); err != nil {
		return err
	}
	ctx, cancel := zeroconf{timeout: c.Duration("timeout")}.within(c.Context)
	defer cancel()
	if plain {
		cfg.Logger = newLogger(c)
		s.cfg = cfg
		return s.plain(ctx)
	}
	s.cfg = cfg
	return s.screen(ctx, c.App.Writer, c.String("color"))
}

// chatSession is one run of the command.
type chatSession struct {
	cfg   chat.Config
	in    io.Reader
	out   *printer
	errw  io.Writer
	grace time.Duration
}

func chatConfig(c *cli.Context) (cfg chat.Config, err error) {
	cfg = chat.Config{Interfaces: c.StringSlice("interface"), IPv6: c.Bool("6")}
	if c.Bool("4") && c.Bool("6") {
		return cfg, usage("either -4 or -6: a room is on one of them")
	}
	if cfg.Room, err = chat.CleanName(c.String("room")); err != nil {
		return cfg, usage("--room: %w", err)
	}
	if cfg.Name, err = chat.CleanName(cmp.Or(c.String("name"), loginName())); err != nil {
		return cfg, usage("--name: %w", err)
	}
	if cfg.Recall = c.Int("recall"); cfg.Recall <= 0 {
		cfg.Recall = -1
	}
	if g := c.String("group"); g != "" {
		if cfg.Group, err = netip.ParseAddrPort(g); err != nil {
			return cfg, usage("--group takes an address and a port as 239.255.1.2:5000 or [ff15::1]:5000, not %q", g)
		}
		a := cfg.Group.Addr().Unmap()
		switch {
		case !a.IsMulticast() || cfg.Group.Port() == 0:
			return cfg, usage("--group: %v is no group with a port", cfg.Group)
		case c.Bool("4") && a.Is6() || c.Bool("6") && a.Is4():
			return cfg, usage("--group: %v is of the other family", a)
		case multicast.SourceSpecific(a):
			return cfg, usage("--group: %v is for one sender only (RFC 4607)", a)
		}
		if multicast.Flooded(a) {
			fmt.Fprintf(c.App.ErrWriter, "%swarning: switches send %v to every port, members or not\n", programPrefix, a)
		}
	}
	return cfg, nil
}

// loginName is how somebody is shown who gives no name: USER@HOST.
func loginName() string {
	name := cmp.Or(os.Getenv("USER"), os.Getenv("USERNAME"))
	if u, err := user.Current(); err == nil {
		name = cmp.Or(u.Username, name)
	}
	name = name[strings.LastIndexByte(name, '\\')+1:] // of Windows: DOMAIN\USER
	host, err := os.Hostname()
	if host, _, _ = strings.Cut(host, "."); err == nil && host != "" {
		name = cmp.Or(name, "somebody") + "@" + host
	}
	clean, err := chat.CleanName(name)
	if err != nil {
		return "somebody"
	}
	return clean
}

// chatPassphrase returns the passphrase of the room, nil when it is open.
func chatPassphrase(c *cli.Context) ([]byte, error) {
	switch path := c.String("passphrase-file"); {
	case path != "" && c.Bool("ask-passphrase"):
		return nil, usage("either --passphrase-file or --ask-passphrase")
	case path != "":
		return readChatPassphrase(path, c.App.ErrWriter)
	case c.IsSet("passphrase-file"):
		return nil, usage("--passphrase-file needs the name of a file")
	case c.Bool("ask-passphrase"):
		return askChatPassphrase(c)
	}
	return nil, nil
}

// readChatPassphrase reads the first line of a file.
func readChatPassphrase(path string, errw io.Writer) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Mode().IsRegular() && st.Mode()&0o077 != 0 && os.PathSeparator == '/' {
		fmt.Fprintf(errw, "%swarning: others on this machine can read %s; chmod 600 helps\n", programPrefix, printable(path))
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("%s: the first line is empty, but is the passphrase", path)
	}
	return line, nil
}

// askChatPassphrase asks on the terminal, without echo.
func askChatPassphrase(c *cli.Context) ([]byte, error) {
	tty := c.App.Reader
	if !isTerminal(tty) { // lines come in by standard input, but a person may be there
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) || err != nil {
			return nil, usage("--ask-passphrase needs a terminal to ask on; take --passphrase-file")
		}
		defer f.Close()
		tty = f
	}
	fmt.Fprint(c.App.ErrWriter, "Passphrase of the room: ")
	b, err := term.ReadPassword(int(tty.(*os.File).Fd()))
	fmt.Fprintln(c.App.ErrWriter)
	if err == nil && len(b) == 0 {
		err = errors.New("an empty passphrase; leave --ask-passphrase out for an open room")
	}
	return b, err
}

// entered tells the room that was entered.
func (s *chatSession) entered(talk *chat.Conversation) error {
	if s.out.json {
		return s.out.event("entered", "", "room", s.cfg.Room, "name", s.cfg.Name, "id", memberID(talk.Self()),
			"sealed", talk.Sealed(), "group", talk.Group(), "interfaces", talk.Interfaces())
	}
	how := "sealed with a passphrase"
	if !talk.Sealed() {
		how = "NOT ENCRYPTED: everybody on the network can read and write here"
	}
	s.note("room %s as %s, group %v on %s, %s", s.cfg.Room, s.cfg.Name, talk.Group(), chatWhere(talk), how)
	return nil
}

// chatWhere names the interfaces in use.
func chatWhere(talk *chat.Conversation) string {
	if names := talk.Interfaces(); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return "no interface yet: none has an address"
}

// note tells something on standard error.
func (s *chatSession) note(format string, args ...any) {
	fmt.Fprintln(s.errw, "-- "+printable(fmt.Sprintf(format, args...)))
}
