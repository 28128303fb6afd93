package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aether-lan/aether/multicast/chat"
)

// chatBusyPause is how long input waits when it is faster than the group's pace.
const chatBusyPause = 50 * time.Millisecond

// plain says each line of input and prints each message as a line, until the input
// or ctx ends.
func (s *chatSession) plain(ctx context.Context) error {
	talk, err := chat.Join(ctx, s.cfg)
	if err != nil {
		return err
	}
	defer talk.Close()
	if err := s.entered(talk); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	printed := make(chan error, 1)
	go func() {
		err := s.print(talk)
		cancel(err) // whoever reads our output has enough
		printed <- err
	}()
	go s.look(ctx, talk)
	said := make(chan error, 1)
	go func() { said <- s.speak(ctx, talk) }()

	// At the end of ctx the input may still be waited for: it is left alone.
	waiting := 0
	select {
	case <-ctx.Done():
	case err = <-said:
		if err == nil {
			waiting, err = s.settle(ctx, talk)
		}
	}
	_ = talk.Close()
	if perr := <-printed; perr != nil {
		return perr
	}
	if s.out.json {
		err = errors.Join(err, s.out.event("ended", "", "waiting", waiting))
	}
	if n := talk.Missed(); n > 0 {
		s.note("%d messages were dropped, since the output was not read fast enough", n)
	}
	return err
}

// look tells what keeps people apart, until ctx ends.
func (s *chatSession) look(ctx context.Context, talk *chat.Conversation) {
	var hints chatHints
	for tick := time.NewTicker(chatTickEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
		st, err := talk.Stats(ctx)
		if err != nil {
			continue
		}
		for _, text := range hints.next(st, talk.Sealed()) {
			s.note("%s", text)
		}
	}
}

// chatHints are the hints that were given.
type chatHints struct{ key, mark, oneWay bool }

// next returns what there is to say about st that was not said yet.
func (h *chatHints) next(st chat.Stats, sealed bool) (texts []string) {
	once := func(said *bool, is bool, text string) {
		if is && !*said {
			*said, texts = true, append(texts, text)
		}
	}
	once(&h.key, st.OtherKey > 0, "Somebody uses a room of this name with another passphrase.")
	if sealed {
		once(&h.mark, st.Mark > 0, "Somebody uses a room of this name without a passphrase.")
	} else {
		once(&h.mark, st.Mark > 0, "Somebody uses a room of this name with a passphrase.")
	}
	once(&h.oneWay, st.OneWay > 0, "Somebody in this room is heard but does not hear this machine: does a firewall drop what comes in there, or goes out here?")
	return texts
}

// listensOnly reports whether the input is a device without an end to wait for,
// such as /dev/null.
func listensOnly(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && !isTerminal(f)
}

// speak says the lines of input, until they or ctx end.
func (s *chatSession) speak(ctx context.Context, talk *chat.Conversation) error {
	any := false
	for text, err := range chatLines(s.in) {
		if err == nil {
			any, err = true, sayPatiently(ctx, talk, text)
		}
		if err != nil {
			return err
		}
	}
	if !any && listensOnly(s.in) {
		<-ctx.Done()
	}
	return nil
}

// chatLines gives the lines of r that are not blank, in parts where they are longer
// than a message can be. An error other than the end comes last.
func chatLines(r io.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in, line := bufio.NewReader(r), ""
		for {
			part, err := in.ReadSlice('\n')
			line += string(part)
			ended := !errors.Is(err, bufio.ErrBufferFull)
			if ended {
				line = strings.TrimRight(line, "\r\n")
			}
			for len(line) > chat.MaxText {
				head := wholeRunes(line[:chat.MaxText])
				if line = line[len(head):]; !yield(head, nil) {
					return
				}
			}
			if !ended {
				continue
			}
			if strings.TrimSpace(line) != "" && !yield(line, nil) {
				return
			}
			if line = ""; err != nil {
				if !errors.Is(err, io.EOF) {
					yield("", fmt.Errorf("input: %w", err))
				}
				return
			}
		}
	}
}

// wholeRunes cuts a last character off that is not whole.
func wholeRunes(s string) string {
	for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i]
			}
			break
		}
	}
	return s
}

// sayPatiently says text as soon as the pace of the group allows.
func sayPatiently(ctx context.Context, talk *chat.Conversation, text string) error {
	for {
		err := talk.Say(ctx, text)
		if !errors.Is(err, chat.ErrBusy) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(chatBusyPause):
		}
	}
}

// settle waits until everybody has what was said, and returns how many have not:
// half of the grace for somebody to come, all of it for those who are here.
func (s *chatSession) settle(ctx context.Context, talk *chat.Conversation) (waiting int, err error) {
	for try := 0; try < 2 && ctx.Err() == nil; try++ {
		within, cancel := context.WithTimeout(ctx, s.grace/2)
		waiting, err = talk.Flush(within)
		cancel()
		if !errors.Is(err, chat.ErrUnsettled) || waiting == 0 {
			break
		}
	}
	switch {
	case ctx.Err() != nil: // interrupted: nobody waits any more
		waiting, err = 0, nil
	case !errors.Is(err, chat.ErrUnsettled):
	case waiting == 0:
		s.note("nobody was here to hear it")
		err = nil
	default:
		err = fmt.Errorf("%d present had not got everything after %v", waiting, s.grace)
	}
	return waiting, err
}

// print prints what happens until the conversation has ended.
func (s *chatSession) print(talk *chat.Conversation) error {
	for e := range talk.Events(context.Background()) {
		if err := s.show(e); err != nil {
			return err
		}
	}
	return nil
}

func (s *chatSession) show(e chat.Event) error {
	switch e := e.(type) {
	case chat.Message:
		return s.showMessage(e)
	case chat.Joined:
		return s.showMember("joined", e.Member, e, "new", e.New)
	case chat.Returned:
		return s.showMember("returned", e.Member, e)
	case chat.Left:
		return s.showMember("left", e.Member, e)
	case chat.Vanished:
		return s.showMember("vanished", e.Member, e)
	case chat.Lost:
		if s.out.json {
			return s.out.event("lost", "", "from", e.From.Label, "id", memberID(e.From.ID), "first", e.First, "last", e.Last)
		}
		s.note("%v", e)
	}
	return nil
}

func (s *chatSession) showMember(event string, m chat.Member, e chat.Event, more ...any) error {
	if s.out.json {
		return s.out.event(event, "", append([]any{"member", m.Label, "id", memberID(m.ID)}, more...)...)
	}
	s.note("%v", e)
	return nil
}

// showMessage prints a message of somebody else: a line of output for each of its.
func (s *chatSession) showMessage(m chat.Message) error {
	if m.Own {
		return nil
	}
	if s.out.json {
		kind := "say"
		if m.Kind == chat.KindAction {
			kind = "action"
		}
		return s.out.event("message", "", "from", m.From.Label, "id", memberID(m.From.ID), "sequence", m.Sequence,
			"kind", kind, "text", m.Text, "sent", m.Sent.Format(time.RFC3339Nano), "past", m.Past, "late", m.Late)
	}
	head := m.From.Label + ": "
	if m.Kind == chat.KindAction {
		head = "* " + m.From.Label + " "
	}
	lines := strings.Split(m.Text, "\n")
	for i := range lines {
		lines[i] = head + lines[i]
	}
	return s.out.line(strings.Join(lines, "\n"))
}

// memberID returns an ID as JSON has it: all of it, in hexadecimal.
func memberID(id chat.MemberID) string { return hex.EncodeToString(id[:]) }
