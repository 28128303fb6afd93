package paxos

import (
	"slices"
	"testing"
)

func kinds(steps []Step, kind, from string) (n int) {
	for _, s := range steps {
		if s.Kind == kind && (s.From == from || s.To == from) {
			n++
		}
	}
	return n
}

func TestWorkedExample(t *testing.T) {
	for form, refused := range map[Form]int{Textbook: 2, Text: 3} {
		steps, err := WorkedExample(form)
		if err != nil {
			t.Fatal(err)
		}
		var chosen []string
		for _, s := range steps {
			if s.Kind == "chosen" {
				chosen = append(chosen, s.From+s.Value)
			}
		}
		if want := []string{"B8", "C8"}; !slices.Equal(chosen, want) {
			t.Errorf("%s: chosen %q, want %q", form, chosen, want)
		}
		if n := kinds(steps, "ignored", "A"); n != 1 {
			t.Errorf("%s: %d prepares of A are ignored, want that at Z", form, n)
		}
		if n := kinds(steps, "refused", "A"); n != refused {
			t.Errorf("%s: %d accepts of A are refused, want %d", form, n, refused)
		}
	}
	if _, err := WorkedExample("other"); err == nil {
		t.Error("an unknown form is accepted")
	}
}
