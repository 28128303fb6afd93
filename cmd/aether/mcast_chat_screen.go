package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"charm.land/bubbles/v2/textarea"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/aether-lan/aether/multicast/chat"
)

// chatTalker is what the screen needs of a conversation.
type chatTalker interface {
	Say(ctx context.Context, text string) error
	Act(ctx context.Context, text string) error
	Members(ctx context.Context) ([]chat.Member, error)
	Stats(ctx context.Context) (chat.Stats, error)
}

// screen talks on a terminal until the user quits or ctx ends.
func (s *chatSession) screen(ctx context.Context, out io.Writer, colour string) error {
	talk, err := chat.Join(ctx, s.cfg)
	if err != nil {
		return err
	}
	defer talk.Close()
	env := os.Environ()
	switch colour {
	case "never":
		env = append(env, "NO_COLOR=1")
	case "always":
		env = append(env, "CLICOLOR_FORCE=1")
	}
	m := newChatScreen(ctx, talk, chatPlace{room: s.cfg.Room, self: talk.Self(), sealed: talk.Sealed(), where: chatWhere(talk)})
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(s.in), tea.WithOutput(out), tea.WithEnvironment(env), tea.WithoutSignalHandler())
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for {
			e, err := talk.Next(context.Background())
			if err != nil {
				p.Send(chatEnded{err})
				return
			}
			p.Send(chatHeard{e})
		}
	}()
	_, err = p.Run()
	_ = talk.Close() // says goodbye, and ends the feeding
	<-fed
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil
	}
	return err
}

// What the screen is told beside keys.
type (
	chatHeard struct{ event chat.Event }
	chatEnded struct{ err error }
	chatTick  struct{}
)

// chatTickEvery is how often the counters are looked at.
const chatTickEvery = 5 * time.Second

// chatPlace is where the user is.
type chatPlace struct {
	room   string
	self   chat.MemberID
	sealed bool
	where  string // the interfaces
}

// chatScreen is the terminal's model: a scroll of what was said, who is here, and
// a prompt.
type chatScreen struct {
	ctx     context.Context
	talk    chatTalker
	place   chatPlace
	width   int
	height  int
	scroll  chatScroll
	prompt  chatPrompt
	members []chat.Member
	notice  string // an error or a hint, until the next key
	blurred bool   // the terminal's window is not in front
	hints   chatHints
}

func newChatScreen(ctx context.Context, talk chatTalker, place chatPlace) *chatScreen {
	m := &chatScreen{ctx: ctx, talk: talk, place: place, width: 80, height: 24, prompt: newChatPrompt()}
	m.scroll.note("You are in the room "+place.room+". /help lists the commands.", time.Now())
	if !place.sealed {
		m.scroll.note("This room is NOT encrypted: everybody on the network can read it, and speak as anybody. With --passphrase-file it is sealed.", time.Now())
	}
	m.census()
	return m
}

// Init starts the clock and the cursor.
func (m *chatScreen) Init() tea.Cmd { return tea.Batch(m.prompt.area.Focus(), chatTicks()) }

func chatTicks() tea.Cmd {
	return tea.Tick(chatTickEvery, func(time.Time) tea.Msg { return chatTick{} })
}

// Update takes a key or an event.
func (m *chatScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(msg.Width, 1), max(msg.Height, 1)
	case tea.FocusMsg:
		m.blurred = false
	case tea.BlurMsg:
		m.blurred = true
	case tea.KeyPressMsg:
		m.notice = ""
		cmd = m.key(msg)
	case chatHeard:
		m.heard(msg.event)
	case chatEnded:
		m.notice = "the conversation has ended: " + msg.err.Error()
		if errors.Is(msg.err, net.ErrClosed) {
			cmd = tea.Quit
		}
	case chatTick:
		m.look()
		cmd = chatTicks()
	default:
		cmd = m.prompt.update(msg)
	}
	m.arrange()
	return m, cmd
}

// key does what a key asks for.
func (m *chatScreen) key(k tea.KeyPressMsg) tea.Cmd {
	switch k.String() {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+d":
		if m.prompt.area.Value() == "" {
			return tea.Quit
		}
	case "enter":
		return m.enter()
	case "alt+enter", "shift+enter", "ctrl+j":
		m.prompt.area.InsertString("\n")
		return nil
	case "pgup":
		m.scroll.up(m.pageHeight())
		return nil
	case "pgdown":
		m.scroll.down(m.pageHeight())
		return nil
	case "esc", "ctrl+end":
		m.scroll.bottom()
		return nil
	case "tab":
		m.prompt.complete(m.members)
		return nil
	case "up", "down":
		if m.prompt.recall(k.String() == "up") {
			return nil
		}
	}
	return m.prompt.update(k)
}

// enter says what was typed, or does what it commands. What fails stays typed.
func (m *chatScreen) enter() tea.Cmd {
	text := strings.TrimRight(m.prompt.area.Value(), " \n")
	if strings.TrimSpace(text) == "" {
		m.prompt.area.Reset()
		return nil
	}
	cmd, err := m.speak(text)
	if err != nil {
		m.notice = chatFailure(err)
		return nil
	}
	m.prompt.done(text)
	m.scroll.read()
	return cmd
}

// errChatCommand says what was wrong with a command.
var errChatCommand = errors.New("no such command")

func (m *chatScreen) speak(text string) (tea.Cmd, error) {
	ctx, cancel := context.WithTimeout(m.ctx, time.Second)
	defer cancel()
	command, rest, _ := strings.Cut(text, " ")
	switch {
	case strings.HasPrefix(text, "//"): // a message that begins with a slash
		return nil, m.talk.Say(ctx, text[1:])
	case !strings.HasPrefix(text, "/") || strings.Contains(command, "\n"):
		return nil, m.talk.Say(ctx, text)
	case command == "/me" && strings.TrimSpace(rest) != "":
		return nil, m.talk.Act(ctx, strings.TrimSpace(rest))
	case command == "/me":
		return nil, fmt.Errorf("%w: /me wants to know what you do, as in /me waves", errChatCommand)
	case command == "/quit":
		return tea.Quit, nil
	case command == "/names":
		m.census()
		m.scroll.note("Here: "+strings.Join(m.names(), ", "), time.Now())
		return nil, nil
	case command == "/help":
		for _, line := range chatHelp {
			m.scroll.note(line, time.Now())
		}
		return nil, nil
	}
	return nil, fmt.Errorf("%w: %s; /help lists them, // begins a message with a slash", errChatCommand, command)
}

// chatHelp is what /help says.
var chatHelp = []string{
	"/me TEXT  say what you do    /names  who is here    /quit  leave (also ctrl+c)",
	"enter  send    alt+enter or ctrl+j  new line    up, down  what you said before    tab  complete a name",
	"page up, page down  scroll    esc  to the newest    //text  a message that begins with a slash",
	"A passphrase proves that a message is of somebody who knows it, not of which member.",
}

// chatFailure says in plain words why a message was not sent.
func chatFailure(err error) string {
	switch {
	case errors.Is(err, chat.ErrBusy):
		return "not sent: too much waits to be sent already; try again in a second"
	case errors.Is(err, chat.ErrText):
		return fmt.Sprintf("not sent: a message has at most %d bytes", chat.MaxText)
	case errors.Is(err, errChatCommand):
		return err.Error()
	}
	return "not sent: " + err.Error()
}

// heard shows an event.
func (m *chatScreen) heard(e chat.Event) {
	now := time.Now()
	unseen := m.blurred || !m.scroll.atBottom()
	switch e := e.(type) {
	case chat.Message:
		m.scroll.message(e, now, unseen && !e.Own && !e.Past)
	case chat.Lost:
		m.scroll.note(e.String(), now)
	default:
		m.scroll.note(e.String(), now)
		m.census()
	}
}

// census asks who is here.
func (m *chatScreen) census() {
	ctx, cancel := context.WithTimeout(m.ctx, time.Second)
	defer cancel()
	if list, err := m.talk.Members(ctx); err == nil {
		m.members = list
	}
}

// look tells, each once, what keeps people apart who mean to meet.
func (m *chatScreen) look() {
	ctx, cancel := context.WithTimeout(m.ctx, time.Second)
	defer cancel()
	if st, err := m.talk.Stats(ctx); err == nil {
		for _, text := range m.hints.next(st, m.place.sealed) {
			m.scroll.note(text, time.Now())
		}
	}
}

// names returns who is here, this user marked.
func (m *chatScreen) names() (list []string) {
	for _, p := range m.members {
		label := printable(p.Label)
		if p.ID == m.place.self {
			label += " (you)"
		}
		list = append(list, label)
	}
	return list
}

// chatPrompt is where the user types: a few lines, and what was typed before.
type chatPrompt struct {
	area textarea.Model
	said []string
	at   int    // of said; len(said) is the draft
	kept string // the draft, while an older one is shown
}

// maxSaid bounds the messages that up recalls, maxPromptLines the prompt's height.
const (
	maxSaid        = 200
	maxPromptLines = 6
)

func newChatPrompt() chatPrompt {
	a := textarea.New()
	a.Prompt = "> "
	a.ShowLineNumbers = false
	a.CharLimit = chat.MaxText
	a.DynamicHeight, a.MinHeight, a.MaxHeight, a.MaxContentHeight = true, 1, maxPromptLines, 4096
	a.KeyMap.InsertNewline.SetEnabled(false)
	styles := textarea.DefaultStyles(true)
	styles.Focused.CursorLine = lipgloss.NewStyle()
	styles.Focused.Prompt = lipgloss.NewStyle().Bold(true)
	styles.Cursor.Blink = false
	a.SetStyles(styles)
	a.Focus()
	return chatPrompt{area: a}
}

func (p *chatPrompt) update(msg tea.Msg) (cmd tea.Cmd) {
	p.area, cmd = p.area.Update(msg)
	return cmd
}

// done empties the prompt and remembers what was said.
func (p *chatPrompt) done(text string) {
	if len(p.said) == 0 || p.said[len(p.said)-1] != text {
		p.said = append(p.said, text)
	}
	if len(p.said) > maxSaid {
		p.said = p.said[1:]
	}
	p.at, p.kept = len(p.said), ""
	p.area.Reset()
}

// recall shows what was said before or after, where the cursor cannot go further
// up or down in the text itself. It reports whether it did.
func (p *chatPrompt) recall(up bool) bool {
	at := p.at + 1
	if up {
		at = p.at - 1
	}
	if up && p.area.Line() > 0 || !up && p.area.Line() < p.area.LineCount()-1 || at < 0 || at > len(p.said) {
		return false
	}
	if p.at == len(p.said) {
		p.kept = p.area.Value()
	}
	p.at = at
	if at == len(p.said) {
		p.area.SetValue(p.kept)
	} else {
		p.area.SetValue(p.said[at])
	}
	return true
}

// complete completes the name that the last word begins.
func (p *chatPrompt) complete(members []chat.Member) {
	text := p.area.Value()
	word := text[strings.LastIndexAny(text, " \n")+1:]
	if word == "" {
		return
	}
	for _, m := range members {
		if len(m.Label) > len(word) && strings.EqualFold(m.Label[:len(word)], word) {
			end := " "
			if word == text {
				end = ": "
			}
			p.area.SetValue(strings.TrimSuffix(text, word) + m.Label + end)
			return
		}
	}
}
