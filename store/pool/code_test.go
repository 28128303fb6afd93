package pool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestWords_AreThoseOfTheDice(t *testing.T) {
	list := wordList()
	if len(list) != 6*6*6*6*6 {
		t.Errorf("%d words", len(list))
	}
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Error("the words are not sorted, or one is there twice")
	}
	for _, w := range list {
		if len(w) < 3 || len(w) > 9 || strings.Trim(w, "abcdefghijklmnopqrstuvwxyz") != "" {
			t.Errorf("word %q", w)
		}
	}
}

func TestCode_Text(t *testing.T) {
	for range 100 {
		c := NewCode()
		for _, s := range []string{c.Text(), strings.ToUpper(c.Text()), strings.ReplaceAll(c.Text(), " ", "-"), "\n" + strings.ReplaceAll(c.Text(), " ", ",\r\n") + "\n"} {
			if got, err := ParseCode(s); err != nil || got != c {
				t.Fatalf("%q is another code, %v", s, err)
			}
		}
	}
	if c, d := NewCode(), NewCode(); c == d {
		t.Error("twice the same code")
	}
}

func TestParseCode_NamesTheWrongWord(t *testing.T) {
	for s, want := range map[string]string{
		"abacus abdomen abide able abruptly":                 "5 words, want 6",
		"abacus abdomen abide able abruptly absence absence": "7 words, want 6",
		"": "0 words",
		"abacus abdomen abide able abruptyl absence": `word 5, "abruptyl", is not in the list; the nearest is "abruptly"`,
		"abakus abdomen abide able abruptly absence": `word 1, "abakus", is not in the list; the nearest is "abacus"`,
		strings.Repeat("x", 5000):                    "5000 characters",
		"a b c d e " + strings.Repeat("z", 900):      "word 1",
	} {
		if _, err := ParseCode(s); !errors.Is(err, ErrBadCode) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", s, err, want)
		}
	}
}

func TestCode_IsNotShown(t *testing.T) {
	c := NewCode()
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s %x", c, c, c, c), c.LogValue().String()} {
		for _, w := range strings.Fields(c.Text()) {
			if strings.Contains(s, w) && !strings.Contains(hiddenCode, w) {
				t.Errorf("%q shows %q", s, w)
			}
		}
	}
}

func TestCode_Key(t *testing.T) {
	c, d := NewCode(), NewCode()
	salt := []byte("0123456789abcdef")
	k := c.Key(salt)
	if len(k) != 32 || !bytes.Equal(k, c.Key(salt)) {
		t.Error("the key does not follow from code and salt")
	}
	if bytes.Equal(k, d.Key(salt)) || bytes.Equal(k, c.Key([]byte("0123456789abcdeg"))) {
		t.Error("another code or salt gives the same key")
	}
}

func FuzzParseCode(f *testing.F) {
	f.Add("abacus abdomen abide able abruptly absence")
	f.Add("-,\n")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			return
		}
		if again, err := ParseCode(c.Text()); err != nil || again != c {
			t.Errorf("%q is read and written as %q", s, c.Text())
		}
	})
}
