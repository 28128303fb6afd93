package paxos

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Diagram draws lines of a sequence diagram: a column a party, time going down.
type Diagram struct {
	Columns []string // what the parties are called
	// Width is the distance of columns in characters; 0 is 16.
	Width int
}

func (d Diagram) width() int {
	if d.Width == 0 {
		return 16
	}
	return d.Width
}

// Header returns the names over their columns.
func (d Diagram) Header() string {
	var b strings.Builder
	for _, c := range d.Columns {
		fmt.Fprintf(&b, "%-*s", d.width(), c)
	}
	return strings.TrimRight(b.String(), " ")
}

// rails returns the line in which nothing happens.
func (d Diagram) rails() []rune {
	line := []rune(strings.Repeat(" ", d.width()*len(d.Columns)))
	for i := range d.Columns {
		line[i*d.width()] = '│'
	}
	return line
}

// Arrow returns the line of a message between columns from and to. A label that does
// not fit stands behind the diagram.
func (d Diagram) Arrow(from, to int, label string) string {
	line := d.rails()
	left, right := min(from, to)*d.width(), max(from, to)*d.width()
	for i := left + 1; i < right; i++ {
		line[i] = '─'
	}
	if to > from {
		line[right-1] = '►'
	} else {
		line[left+1] = '◄'
	}
	room := right - left - 5
	text := []rune(label)
	if len(text) <= room {
		at := left + 3 + (room-len(text))/2
		copy(line[at:], text)
		return strings.TrimRight(string(line), " ")
	}
	return string(line) + " " + label
}

// At returns a line in which column at does something by itself.
func (d Diagram) At(at int, label string) string {
	line := d.rails()
	line[at*d.width()] = '●'
	start := at*d.width() + 2
	end := start + utf8.RuneCountInString(label)
	for i := start; i < min(end+1, len(line)); i++ {
		line[i] = ' '
	}
	for len(line) < end {
		line = append(line, ' ')
	}
	copy(line[start:], []rune(label))
	return strings.TrimRight(string(line), " ")
}

// Describe returns a message in a few words: "prepare 3.1 from 5".
func Describe(b Body) string {
	switch v := b.(type) {
	case Hello:
		return fmt.Sprintf("hello, chosen %v", v.Chosen)
	case HelloReply:
		return fmt.Sprintf("known as %v", v.Known)
	case Poll:
		return fmt.Sprintf("would you promise %v?", v.Ballot)
	case PollReply:
		if v.Granted {
			return fmt.Sprintf("would promise %v", v.Ballot)
		}
		return fmt.Sprintf("would not: promised %v, leader %v", v.Highest, v.Leader)
	case Prepare:
		return fmt.Sprintf("prepare %v from %v", v.Ballot, v.First)
	case Promise:
		return fmt.Sprintf("promise %v, chosen %v%s", v.Ballot, v.Chosen, describeEntries(v.Accepted, true))
	case Accept:
		if len(v.Entries) == 0 {
			return fmt.Sprintf("lead %v, chosen %v", v.Ballot, v.Chosen)
		}
		return fmt.Sprintf("accept %v%s, chosen %v", v.Ballot, describeEntries(v.Entries, false), v.Chosen)
	case Accepted:
		if v.Want > 0 {
			return fmt.Sprintf("want %v, accepted to %v", v.Want, v.Through)
		}
		return fmt.Sprintf("accepted %v to %v", v.Ballot, v.Through)
	case Nack:
		return fmt.Sprintf("no: %v < %v", v.Ballot, v.Promised)
	case CatchUp:
		return fmt.Sprintf("what is chosen from %v?", v.First)
	case CaughtUp:
		return fmt.Sprintf("chosen%s", describeEntries(v.Entries, false))
	case Offer:
		return fmt.Sprintf("have snapshot %v", v.Snapshot.Slot)
	case TakeOver:
		return fmt.Sprintf("take over from %v", v.Ballot)
	case Removed:
		return fmt.Sprintf("you were removed before %v", v.Slot)
	}
	return fmt.Sprintf("%T", b)
}

func describeEntries(list []Entry, ballots bool) string {
	k := len(list)
	switch {
	case k == 0:
		return ""
	case ballots && k == 1:
		return fmt.Sprintf(", accepted %v in %v", list[0].Slot, list[0].Ballot)
	case ballots:
		return fmt.Sprintf(", accepted %v..%v", list[0].Slot, list[k-1].Slot)
	case k == 1 && list[0].Kind != Command:
		return fmt.Sprintf(" %v=%v", list[0].Slot, list[0].Kind)
	case k == 1:
		return fmt.Sprintf(" slot %v", list[0].Slot)
	}
	return fmt.Sprintf(" slots %v..%v", list[0].Slot, list[k-1].Slot)
}
