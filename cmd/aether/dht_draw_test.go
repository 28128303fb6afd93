package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aether-lan/aether/dht"
)

func bookRing() (nodes []ringNode) {
	for _, n := range dht.NewExample().Nodes() {
		nodes = append(nodes, ringNode{at: float64(n) / 32, label: fmt.Sprint(n), self: n == 18})
	}
	return nodes
}

func TestDrawRing_TheBooksRing(t *testing.T) {
	want := strings.Trim(bookPicture, "\n")
	if got := drawRing(bookRing(), []string{"9 nodes", "this is 18"}, 60, 17); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
}

const bookPicture = `
                         ········●·· 1 15.6%
                     ····           ····
         28 21.9% ·●·                   ·●· 4 9.4%
                 ··                       ··
                ··                         ··
               ··                           ··
              ··                             ··
              ·            9 nodes            ·
              ·          this is 18           ·
              ·                               ·
              ··                             ·● 9 15.6%
               ··                           ··
        21 3.1% ·●                         ●· 11 6.2%
                 ··                       ··
          20 6.2% ·●·                   ···
            18 12.5% ···◆           ●··· 14 9.4%
                         •••••••••••
`

// A terminal that is too small gets a list, and one that is smaller a part of it.
func TestDrawRing_Narrow(t *testing.T) {
	want := "● 1 15.6%\n● 4 9.4%\n● 9 15.6%\n… and 6 more"
	if got := drawRing(bookRing(), nil, 24, 4); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := drawRing(bookRing(), nil, 24, 20); strings.Count(got, "\n") != 8 || !strings.Contains(got, "◆ 18 12.5%") {
		t.Errorf("%s", got)
	}
	if got := drawRing(nil, nil, 80, 24); got != "" {
		t.Errorf("nobody is drawn as %q", got)
	}
}

// Of many nodes it shows how many are at a place, and whose labels find a line.
func TestDrawRing_Crowd(t *testing.T) {
	var nodes []ringNode
	for i := range 500 {
		nodes = append(nodes, ringNode{at: float64(i) / 500, label: fmt.Sprintf("n%d", i), self: i == 100})
	}
	got := drawRing(nodes, nil, 80, 24)
	for _, want := range []string{"◆", "n100 0.2%", "n0 0.2%", "n260 0.2%"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Count(got, "%") != 2*23 || !strings.ContainsAny(got, "3456789") || strings.ContainsAny(got, "·") {
		t.Errorf("%d labels in\n%s", strings.Count(got, "%"), got)
	}
}

// The dead are there and own nothing; a node that is alone owns everything.
func TestDrawRing_TheDeadOwnNothing(t *testing.T) {
	nodes := []ringNode{{at: 0.25, label: "a", dead: true}, {at: 0.75, label: "b", self: true}}
	got := drawRing(nodes, nil, 60, 13)
	if !strings.Contains(got, "b 100.0%") || !strings.Contains(got, "○ a dead") || strings.Contains(got, "·") {
		t.Errorf("%s", got)
	}
}

func TestPlaceOnRing(t *testing.T) {
	for bits, want := range map[int]float64{5: 0.75, 160: 0} {
		space, err := dht.NewSpace(bits)
		if err != nil {
			t.Fatal(err)
		}
		if got := placeOnRing(space, space.Int(24)); got != want && !(bits == 160 && got < 1e-40) {
			t.Errorf("24 of 2^%d lies at %v, want %v", bits, got, want)
		}
	}
}

// Whatever is drawn fits.
func TestDrawRing_KeepsItsSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var nodes []ringNode
		for i := range rng.IntN(200) >> rng.IntN(8) {
			nodes = append(nodes, ringNode{at: rng.Float64(), label: fmt.Sprintf("node%d", i), self: i == 0, dead: rng.IntN(9) == 0})
		}
		width, height := rng.IntN(120), rng.IntN(40)
		text := drawRing(nodes, []string{"some", "words that stand in the middle"}, width, height)
		lines := strings.Split(text, "\n")
		if len(lines) > max(height, 1) {
			t.Fatalf("%d lines, want %d at most:\n%s", len(lines), height, text)
		}
		for _, l := range lines {
			if utf8.RuneCountInString(l) > max(width, 1) {
				t.Fatalf("%d columns, want %d at most: %q", utf8.RuneCountInString(l), width, l)
			}
		}
		if len(nodes) > 0 && height > 8 && width > 60 && strings.Count(text, string(markSelf)) != 1 {
			t.Fatalf("self is marked %d times:\n%s", strings.Count(text, string(markSelf)), text)
		}
	}
}
