package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever a machine, a service or a file is called, printing it must not steer the
// terminal, and JSON must give back what is text.
func TestPrinter_OddNames(t *testing.T) {
	b, err := os.ReadFile("../../testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		what, quoted, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(what, "#") {
			continue
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %s: %v", what, quoted, err)
		}
		n++
		var text, object bytes.Buffer
		plain, asJSON := &printer{out: &text}, &printer{out: &object, json: true}
		if err := plain.event("add", name); err != nil {
			t.Fatal(err)
		}
		if err := asJSON.event("add", name, "name", name); err != nil {
			t.Fatal(err)
		}
		if steers(text.String()) && what != "tab" || steers(object.String()) {
			t.Errorf("%s: steers the terminal: %q, %q", what, text.String(), object.String())
		}
		if strings.Count(object.String(), "\n") != 1 {
			t.Errorf("%s: not one line: %q", what, object.String())
		}
		var back struct{ Name string }
		if err := json.Unmarshal(object.Bytes(), &back); err != nil || utf8.ValidString(name) && back.Name != name {
			t.Errorf("%s: JSON gives back %q, %v", what, back.Name, err)
		}
	}
	if n < 30 {
		t.Errorf("only %d names", n)
	}
}
