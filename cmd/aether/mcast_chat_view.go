package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/aether-lan/aether/multicast/chat"
)

const (
	// maxScroll bounds the entries of the scroll.
	maxScroll = 5000
	// peopleWidth is the width of the pane of who is here, which shows when the
	// terminal has at least peopleFrom columns.
	peopleWidth, peopleFrom = 22, 70
)

// chatEntry is one message or note in the scroll.
type chatEntry struct {
	at    time.Time
	stamp uint64
	msg   *chat.Message // nil for a note
	note  string
	fresh bool // the first that was not seen: a line above it says so
	// lines is the entry as drawn for width.
	lines []string
	width int
}

// chatScroll is what was said and noted, and which part of it shows.
type chatScroll struct {
	entries []chatEntry
	below   int // lines under the part that shows
	unread  int
	width   int
	height  int
}

func (s *chatScroll) atBottom() bool { return s.below == 0 }

// note adds a line that nobody said.
func (s *chatScroll) note(text string, at time.Time) {
	stamp := uint64(0)
	if n := len(s.entries); n > 0 {
		stamp = s.entries[n-1].stamp
	}
	s.insert(len(s.entries), chatEntry{at: at, stamp: stamp, note: text})
}

// message adds a message: one from before we came, or late, where it belongs, any
// other at the end.
func (s *chatScroll) message(m chat.Message, at time.Time, unseen bool) {
	i := len(s.entries)
	if m.Past || m.Late {
		at = m.Sent.Local()
		for i > 0 && s.entries[i-1].stamp > m.Stamp {
			i--
		}
	}
	e := chatEntry{at: at, stamp: m.Stamp, msg: &m}
	if i == len(s.entries) && i > 0 {
		e.stamp = max(e.stamp, s.entries[i-1].stamp)
	}
	if unseen {
		if s.unread == 0 {
			for j := range s.entries {
				s.entries[j].mark(false)
			}
			e.fresh = true
		}
		s.unread++
	}
	s.insert(i, e)
}

func (e *chatEntry) mark(fresh bool) {
	if e.fresh != fresh {
		e.fresh, e.lines = fresh, nil
	}
}

// insert puts an entry in place i. What shows stays where it is, unless it is the
// end.
func (s *chatScroll) insert(i int, e chatEntry) {
	s.entries = slices.Insert(s.entries, i, e)
	if s.below > 0 && s.width > 0 {
		s.below += len(s.entries[i].draw(s.width))
	}
	if len(s.entries) > maxScroll {
		s.entries = s.entries[1:]
	}
}

func (s *chatScroll) up(n int)   { s.below += n; s.clamp() }
func (s *chatScroll) down(n int) { s.below -= n; s.clamp() }
func (s *chatScroll) bottom()    { s.below = 0 }

// read takes the mark of what was not seen away, and shows the end.
func (s *chatScroll) read() {
	s.below, s.unread = 0, 0
	for i := range s.entries {
		s.entries[i].mark(false)
	}
}

// clamp keeps the part that shows inside of what there is.
func (s *chatScroll) clamp() {
	total := 0
	for i := range s.entries {
		total += len(s.entries[i].draw(s.width))
	}
	s.below = max(min(s.below, total-s.height), 0)
}

// resize changes the size of the part that shows.
func (s *chatScroll) resize(width, height int) {
	if s.width != width || s.height != height {
		s.width, s.height = width, height
		s.clamp()
	}
}

// view returns exactly height lines.
func (s *chatScroll) view() []string {
	var lines []string // from the end, backwards
	skip := s.below
	for i := len(s.entries) - 1; i >= 0 && len(lines) < s.height; i-- {
		drawn := s.entries[i].draw(s.width)
		for j := len(drawn) - 1; j >= 0 && len(lines) < s.height; j-- {
			if skip > 0 {
				skip--
				continue
			}
			lines = append(lines, drawn[j])
		}
	}
	for len(lines) < s.height {
		lines = append(lines, "")
	}
	slices.Reverse(lines)
	return lines
}

// nameColours are the colours of names: those of the 16 of every terminal that can
// be read on dark and light ground.
var nameColours = []string{"1", "2", "3", "4", "5", "6", "9", "10", "12", "13", "14"}

func nameStyle(id chat.MemberID) lipgloss.Style {
	sum := 0
	for _, b := range id {
		sum += int(b)
	}
	return lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Color(nameColours[sum%len(nameColours)]))
}

// draw returns the entry's lines for width, made printable, wrapped, and indented
// behind the time.
func (e *chatEntry) draw(width int) []string {
	if e.lines != nil && e.width == width {
		return e.lines
	}
	e.width = width
	faint := lipgloss.NewStyle().Faint(true)
	head := faint.Render(e.at.Format("15:04")) + " "
	body := faint.Italic(true).Render(printable(e.note))
	if e.msg != nil {
		body = chatBody(e.msg)
	}
	if width < 24 { // no room for the time
		head = ""
	}
	indent := lipgloss.Width(head)
	wrapped := lipgloss.NewStyle().Width(max(width-indent, 1)).Render(body)
	e.lines = nil
	if e.fresh {
		e.lines = append(e.lines, ruled("new", width))
	}
	for i, line := range strings.Split(wrapped, "\n") {
		if i > 0 {
			head = strings.Repeat(" ", indent)
		}
		e.lines = append(e.lines, head+strings.TrimRight(line, " "))
	}
	return e.lines
}

// chatBody is a message with its author.
func chatBody(m *chat.Message) string {
	name := nameStyle(m.From.ID).Render(printable(m.From.Label))
	lines := strings.Split(m.Text, "\n")
	for i := range lines {
		lines[i] = printable(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	text := strings.Join(lines, "\n")
	mark := ""
	if m.Late {
		mark = " (late)"
	}
	if m.Kind == chat.KindAction {
		return "* " + name + " " + text + mark
	}
	return name + ": " + text + mark
}

// ruled is a rule with a word in it.
func ruled(word string, width int) string {
	side := max((width-len(word)-2)/2, 0)
	rule := strings.Repeat("─", side) + " " + word + " " + strings.Repeat("─", max(width-side-len(word)-2, 0))
	return lipgloss.NewStyle().Foreground(lipgloss.Color("1")).MaxWidth(width).Render(rule)
}

// pageHeight is how many lines page up and down move.
func (m *chatScreen) pageHeight() int { return max(m.scroll.height-1, 1) }

func (m *chatScreen) hasPeople() bool { return m.width >= peopleFrom }

// arrange divides the terminal: title, scroll and people, status, prompt.
func (m *chatScreen) arrange() {
	m.prompt.area.MaxHeight = min(maxPromptLines, max(m.height/3, 1))
	m.prompt.area.SetWidth(m.width)
	width := m.width
	if m.hasPeople() {
		width -= peopleWidth + 1
	}
	m.scroll.resize(width, max(m.height-2-m.prompt.area.Height(), 1))
	if m.scroll.atBottom() && !m.blurred {
		m.scroll.unread = 0 // the mark stays until the user speaks
	}
}

// View draws the screen.
func (m *chatScreen) View() tea.View {
	lines := append([]string{m.title()}, m.middle()...)
	lines = append(lines, m.status(), m.prompt.area.View())
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen, v.ReportFocus = true, true
	v.WindowTitle = printable(m.place.room)
	if m.scroll.unread > 0 {
		v.WindowTitle = fmt.Sprintf("(%d) %s", m.scroll.unread, v.WindowTitle)
	}
	return v
}

// title says where we are, and whether others can listen.
func (m *chatScreen) title() string {
	bar := lipgloss.NewStyle().Reverse(true)
	lock := bar.Render(" sealed ")
	if !m.place.sealed {
		lock = lipgloss.NewStyle().Reverse(true).Bold(true).Foreground(lipgloss.Color("1")).Render(" NOT ENCRYPTED ")
	}
	text := fmt.Sprintf(" %s ", printable(m.place.room))
	rest := fmt.Sprintf(" %d here · %s", len(m.members), printable(m.place.where))
	line := bar.Bold(true).Render(text) + lock + bar.Render(rest)
	if pad := m.width - lipgloss.Width(line); pad > 0 {
		line += bar.Render(strings.Repeat(" ", pad))
	}
	return lipgloss.NewStyle().MaxWidth(m.width).Render(line)
}

// middle is the scroll, and beside it who is here.
func (m *chatScreen) middle() []string {
	lines := m.scroll.view()
	if !m.hasPeople() {
		return lines
	}
	people := m.people(len(lines))
	for i := range lines {
		pad := max(m.width-peopleWidth-lipgloss.Width(lines[i]), 0)
		lines[i] += strings.Repeat(" ", pad) + people[i]
	}
	return lines
}

// people returns height lines of who is here.
func (m *chatScreen) people(height int) []string {
	side := lipgloss.NewStyle().Faint(true).Render("│ ")
	list := []string{side + lipgloss.NewStyle().Faint(true).Render(fmt.Sprintf("%d here", len(m.members)))}
	names := m.names()
	for i, p := range m.members {
		if len(list) == height-1 && i < len(names)-1 {
			list = append(list, side+fmt.Sprintf("and %d more", len(names)-i))
			break
		}
		list = append(list, side+nameStyle(p.ID).Inline(true).MaxWidth(peopleWidth-3).Render(names[i]))
	}
	for len(list) < height {
		list = append(list, side)
	}
	return list[:height]
}

// status is the line above the prompt: what went wrong, what was not read, or how
// to get help.
func (m *chatScreen) status() string {
	style, text := lipgloss.NewStyle().Faint(true), strings.Repeat("─", m.width)
	switch {
	case m.notice != "":
		style, text = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true), printable(m.notice)
	case m.scroll.unread > 0:
		style, text = lipgloss.NewStyle().Reverse(true), fmt.Sprintf(" %d new below, esc shows them ", m.scroll.unread)
	case !m.scroll.atBottom():
		style, text = lipgloss.NewStyle().Reverse(true), " older messages, esc shows the newest "
	}
	return style.Inline(true).MaxWidth(m.width).Render(text)
}
