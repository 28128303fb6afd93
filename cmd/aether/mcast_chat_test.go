package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/exp/teatest/v2"

	"github.com/aether-lan/aether/multicast/chat"
)

// chatFake is a conversation that only remembers what was said.
type chatFake struct {
	said    []string
	members []chat.Member
	stats   chat.Stats
	err     error
}

func (f *chatFake) Say(_ context.Context, text string) error {
	if f.err == nil {
		f.said = append(f.said, text)
	}
	return f.err
}

func (f *chatFake) Act(ctx context.Context, text string) error { return f.Say(ctx, "* "+text) }

func (f *chatFake) Members(context.Context) ([]chat.Member, error) { return f.members, nil }

func (f *chatFake) Stats(context.Context) (chat.Stats, error) { return f.stats, nil }

func chatMember(n byte, name string) chat.Member {
	return chat.Member{ID: chat.MemberID{n}, Name: name, Label: name}
}

// chatDesk is a screen under test.
type chatDesk struct {
	t *testing.T
	*chatScreen
	fake *chatFake
}

func newChatDesk(t *testing.T, width, height int) *chatDesk {
	f := &chatFake{members: []chat.Member{chatMember(1, "ana"), chatMember(2, "bob")}}
	d := &chatDesk{t, newChatScreen(t.Context(), f, chatPlace{room: "kitchen", self: chat.MemberID{1}, where: "eth0"}), f}
	d.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return d
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;:]*[a-zA-Z]")

// shown returns the screen without colours.
func (d *chatDesk) shown() string { return escapes.ReplaceAllString(d.View().Content, "") }

func (d *chatDesk) press(keys ...string) (cmd tea.Cmd) {
	special := map[string]tea.KeyPressMsg{
		"enter": {Code: tea.KeyEnter}, "up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "esc": {Code: tea.KeyEscape},
		"tab": {Code: tea.KeyTab}, "pgup": {Code: tea.KeyPgUp}, "pgdown": {Code: tea.KeyPgDown},
		"ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "ctrl+d": {Code: 'd', Mod: tea.ModCtrl}, "ctrl+j": {Code: 'j', Mod: tea.ModCtrl},
	}
	for _, k := range keys {
		if msg, ok := special[k]; ok {
			_, cmd = d.Update(msg)
			continue
		}
		for _, r := range k {
			_, cmd = d.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
	return cmd
}

func (d *chatDesk) hear(n int, text string) {
	d.Update(chatHeard{chat.Message{From: chatMember(2, "bob"), Sequence: uint64(n), Stamp: uint64(n), Text: text, Sent: time.Now()}})
}

func (d *chatDesk) wantShown(parts ...string) {
	d.t.Helper()
	text := d.shown()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			d.t.Errorf("the screen does not show %q:\n%s", p, text)
		}
	}
}

func (d *chatDesk) wantNotShown(p string) {
	d.t.Helper()
	if text := d.shown(); strings.Contains(text, p) {
		d.t.Errorf("the screen shows %q:\n%s", p, text)
	}
}

func (d *chatDesk) wantSaid(want ...string) {
	d.t.Helper()
	if fmt.Sprintf("%q", d.fake.said) != fmt.Sprintf("%q", want) {
		d.t.Errorf("said %q, want %q", d.fake.said, want)
	}
}

func quits(cmd tea.Cmd) bool {
	if cmd == nil {
		return false
	}
	_, ok := cmd().(tea.QuitMsg)
	return ok
}

func TestChatScreen_ShowsWhatIsSaid(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.wantShown("kitchen", "NOT ENCRYPTED", "2 here", "ana (you)", "bob", "eth0", "/help lists")
	d.hear(1, "hello\nthere")
	d.Update(chatHeard{chat.Message{From: chatMember(2, "bob"), Sequence: 2, Stamp: 2, Kind: chat.KindAction, Text: "waves"}})
	d.Update(chatHeard{chat.Left{Member: chatMember(2, "bob")}})
	d.wantShown("bob: hello", "there", "* bob waves", "bob left")
	d.press("hi", "ctrl+j", "you", "enter", "/me sits", "enter", "//path", "enter")
	d.wantSaid("hi\nyou", "* sits", "/path")
}

func TestChatScreen_SealedRoomIsNotCalledOpen(t *testing.T) {
	s := newChatScreen(t.Context(), &chatFake{}, chatPlace{room: "kitchen", sealed: true})
	if text := escapes.ReplaceAllString(s.View().Content, ""); strings.Contains(text, "NOT") || !strings.Contains(text, "sealed") {
		t.Error(text)
	}
}

func TestChatScreen_FitsEveryTerminal(t *testing.T) {
	d := newChatDesk(t, 80, 24)
	for i := range 60 {
		d.hear(i+1, strings.Repeat("word ", i)+"żółć 漢字漢字 🦆")
	}
	d.press("a long text in the prompt that needs more than one line of any narrow terminal, and more, and more")
	for width := 1; width < 130; width += 7 {
		for _, height := range []int{1, 4, 5, 8, 24, 70} {
			d.Update(tea.WindowSizeMsg{Width: width, Height: height})
			lines := strings.Split(d.View().Content, "\n")
			if height >= 5 && len(lines) > height {
				t.Errorf("%d lines on a terminal of %d x %d", len(lines), width, height)
			}
			for _, l := range lines {
				if w := lipgloss.Width(l); width >= 10 && w > width {
					t.Errorf("a line of %d columns on a terminal of %d x %d: %q", w, width, height, l)
				}
			}
		}
	}
}

func TestChatScreen_NarrowTerminalHasNoPeople(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.wantShown("│ 2 here", "│ bob")
	d.Update(tea.WindowSizeMsg{Width: 60, Height: 20})
	d.wantNotShown("│ bob")
}

func TestChatScreen_ScrollsAndCountsWhatIsUnread(t *testing.T) {
	d := newChatDesk(t, 80, 12)
	for i := range 50 {
		d.hear(i+1, fmt.Sprintf("message %d.", i))
	}
	d.wantShown("message 49.")
	d.press("pgup", "pgup")
	d.wantNotShown("message 49.")
	d.wantShown("esc shows the newest")
	before := strings.Split(d.shown(), "\n")[1:9]
	d.hear(51, "fresh one")
	d.hear(52, "fresh two")
	if after := strings.Split(d.shown(), "\n")[1:9]; strings.Join(before, "\n") != strings.Join(after, "\n") {
		t.Errorf("the part that shows moved from\n%s\nto\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	d.wantShown("2 new below")
	if title := d.View().WindowTitle; title != "(2) kitchen" {
		t.Errorf("window title %q", title)
	}
	d.press("esc")
	d.wantShown("fresh one", "fresh two", "─ new ─")
	d.wantNotShown("new below")
	d.press("ok", "enter")
	d.wantNotShown("─ new ─")
	for range 40 {
		d.press("pgup")
	}
	d.wantShown("You are in the room kitchen")
}

func TestChatScreen_MarksWhatCameWhileAway(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.Update(tea.BlurMsg{})
	d.hear(1, "are you there?")
	if title := d.View().WindowTitle; title != "(1) kitchen" {
		t.Errorf("window title %q", title)
	}
	d.Update(tea.FocusMsg{})
	d.wantShown("─ new ─")
	if title := d.View().WindowTitle; title != "kitchen" {
		t.Errorf("window title %q", title)
	}
}

func TestChatScreen_PutsThePastWhereItBelongs(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	past := func(stamp uint64, text string) {
		d.Update(chatHeard{chat.Message{From: chatMember(2, "bob"), Stamp: stamp, Text: text, Past: true}})
	}
	past(3, "third")
	d.hear(9, "ninth")
	past(1, "first")
	past(2, "second")
	text := d.shown()
	for i, w := range []string{"first", "second", "third"} {
		if next := []string{"second", "third", "ninth"}[i]; strings.Index(text, w) > strings.Index(text, next) {
			t.Errorf("%s after %s:\n%s", w, next, text)
		}
	}
}

func TestChatScreen_Commands(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.press("/names", "enter")
	d.wantShown("Here: ana (you), bob")
	d.press("/help", "enter")
	d.wantShown("/me TEXT", "not of which member")
	d.press("/hepl", "enter")
	d.wantShown("no such command: /hepl", "> /hepl")
	d.press("x")
	d.wantNotShown("no such command")
	if !quits(d.press("ctrl+c")) {
		t.Error("ctrl+c does not quit")
	}
	d = newChatDesk(t, 80, 20)
	if !quits(d.press("/quit", "enter")) {
		t.Error("/quit does not quit")
	}
	if quits(d.press("a", "ctrl+d")) {
		t.Error("ctrl+d quits with a text in the prompt")
	}
	d.wantSaid()
}

func TestChatScreen_KeepsWhatWasNotSent(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.fake.err = fmt.Errorf("chat: say: %w", chat.ErrBusy)
	d.press("important", "enter")
	d.wantShown("> important", "not sent: too much waits")
	d.fake.err = nil
	d.press("enter")
	d.wantSaid("important")
}

func TestChatScreen_RecallsWhatWasSaid(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.press("one", "enter", "two", "ctrl+j", "lines", "enter", "draft", "up")
	d.wantShown("> two")
	d.press("up") // within the message
	d.press("up")
	d.wantShown("> one")
	d.press("down", "down", "down", "down")
	d.wantShown("> draft")
	d.press("enter")
	d.wantSaid("one", "two\nlines", "draft")
}

func TestChatScreen_PasteOfManyLinesIsOneMessage(t *testing.T) {
	d := newChatDesk(t, 80, 24)
	text := strings.TrimSuffix(strings.Repeat("a line of code\n", 300), "\n")
	d.Update(tea.PasteMsg{Content: text})
	d.press("enter")
	d.wantSaid(text)
}

func TestChatScreen_CompletesNames(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.press("B", "tab", "come", "enter", "ask an", "tab", "enter")
	d.wantSaid("bob: come", "ask ana")
}

// What comes from the network must not drive the terminal.
func TestChatScreen_IsNotDrivenByWhatIsHeard(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	evil := "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
	d.fake.members = append(d.fake.members, chatMember(3, "e"+evil))
	d.Update(chatHeard{chat.Joined{Member: chatMember(3, "e"+evil)}})
	d.Update(chatHeard{chat.Message{From: chatMember(3, "e"+evil), Text: evil}})
	for _, r := range escapes.ReplaceAllString(d.View().Content, "") {
		if r == 0x1b || r == 7 || r == 0x9b || r == 0x202e {
			t.Fatalf("the screen has %q in it:\n%q", r, d.View().Content)
		}
	}
}

func TestChatScreen_TellsOfAnotherPassphrase(t *testing.T) {
	d := newChatDesk(t, 80, 20)
	d.fake.stats.Mark = 3
	d.Update(chatTick{})
	d.fake.stats.Mark = 5
	d.Update(chatTick{})
	d.wantShown("Somebody uses a room of this name with a")
	if n := strings.Count(d.shown(), "Somebody"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// The program as it runs, from keys to the bytes of the terminal.
func TestChatScreen_AsAProgram(t *testing.T) {
	f := &chatFake{members: []chat.Member{chatMember(1, "ana")}}
	tm := teatest.NewTestModel(t, newChatScreen(t.Context(), f, chatPlace{room: "kitchen", self: chat.MemberID{1}}), teatest.WithInitialTermSize(90, 24))
	tm.Send(chatHeard{chat.Message{From: chatMember(2, "bob"), Sequence: 1, Text: "knock knock"}})
	teatest.WaitFor(t, tm.Output(), func(b []byte) bool { return bytes.Contains(b, []byte("knock")) }, teatest.WithDuration(20*time.Second))
	tm.Type("come in")
	tm.Send(tea.KeyPressMsg{Code: tea.KeyEnter})
	tm.Type("/quit")
	tm.Send(tea.KeyPressMsg{Code: tea.KeyEnter})
	tm.WaitFinished(t, teatest.WithFinalTimeout(20*time.Second))
	if fmt.Sprint(f.said) != "[come in]" {
		t.Errorf("said %q", f.said)
	}
}

func TestWholeRunes(t *testing.T) {
	for s, want := range map[string]string{"": "", "abc": "abc", "漢字": "漢字", "漢字"[:5]: "漢", "a\xff": "a\xff", "\x80\x80": "\x80\x80", "🦆"[:3]: ""} {
		if got := wholeRunes(s); got != want {
			t.Errorf("wholeRunes(%q) = %q, want %q", s, got, want)
		}
	}
}

// A line without end becomes messages that are whole characters and lose nothing.
func TestPlainChat_CutsLinesThatAreTooLong(t *testing.T) {
	long := strings.Repeat("漢", chat.MaxText) // three bytes each
	var got strings.Builder
	for text, err := range chatLines(strings.NewReader("short\n\r\n" + long + "\nlast")) {
		if !utf8.ValidString(text) || len(text) > chat.MaxText || err != nil {
			t.Fatalf("a message of %d bytes, %v", len(text), err)
		}
		got.WriteString(text)
	}
	if got.String() != "short"+long+"last" {
		t.Errorf("%d bytes, want %d", got.Len(), len(long)+9)
	}
}
