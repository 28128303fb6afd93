package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aether-lan/aether/store/node"
)

// safety answers in a sentence whether the data is safe.
func safety(s node.Status) string {
	if s.Files == 0 {
		return strings.Join(append([]string{"no files yet"}, conflictsText(s)...), "; ")
	}
	t := fmt.Sprintf("%s, %s: ", thousands(s.Files, "file"), formatBytes(s.Bytes))
	var parts []string
	switch c := s.Census; {
	case c.Files == 0:
		parts = append(parts, "their copies are being counted")
	case c.Whole >= c.Files:
		parts = append(parts, "all have "+wanted(c))
	case c.Whole == 0:
		parts = append(parts, "none has "+wanted(c))
	default:
		parts = append(parts, fmt.Sprintf("%s have %s", share(c.Whole, c.Files), wanted(c)))
	}
	if s.OnlyHere > 0 {
		parts = append(parts, fmt.Sprintf("%s only on this machine", thousands(s.OnlyHere, "")))
	}
	if s.Unreachable > 0 {
		parts = append(parts, fmt.Sprintf("%s cannot be read now", thousands(s.Unreachable, "")))
	}
	parts = append(parts, conflictsText(s)...)
	t += strings.Join(parts, "; ")
	if old := time.Since(s.Counted); s.Counting && !s.Counted.IsZero() && old > 5*time.Second {
		t += fmt.Sprintf(" (copies as counted %s ago)", ago(old))
	}
	return t
}

// wanted says how many copies there shall be.
func wanted(c node.Census) string {
	if c.FewestWanted == c.MostWanted {
		return thousands(int64(c.MostWanted), "copy")
	}
	return fmt.Sprintf("as many copies as they shall (%d to %d)", c.FewestWanted, c.MostWanted)
}

func conflictsText(s node.Status) []string {
	if s.Conflicts == 0 {
		return nil
	}
	return []string{thousands(s.Conflicts, "conflict")}
}

// share is a part of something, neither nothing nor all of it, in per cent, and never
// says 0 or 100.
func share(n, all int64) string {
	p := math.Floor(float64(n)/float64(all)*10000) / 100
	return strconv.FormatFloat(max(0.01, min(p, 99.99)), 'f', -1, 64) + " %"
}

// thousands is a number with commas, and things that many.
func thousands(n int64, thing string) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	switch {
	case thing == "":
		return s
	case n == 1:
		return s + " " + thing
	case strings.HasSuffix(thing, "y"):
		return s + " " + strings.TrimSuffix(thing, "y") + "ies"
	}
	return s + " " + thing + "s"
}

// columns sets rows of cells one below the other.
func columns(rows [][]string) string {
	var width []int
	for _, r := range rows {
		for i, cell := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		line := ""
		for i, cell := range r {
			if width[i] > 0 {
				line += cell + strings.Repeat(" ", width[i]-len([]rune(cell))+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
