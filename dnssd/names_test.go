package dnssd_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/aether-lan/aether/dnssd"
)

// RFC 6763 section 4.3: dots and backslashes of an instance are escaped, so that
// any label survives being written down.
func TestFullName_RFC6763_4_3_KeepsOddNames(t *testing.T) {
	b, err := os.ReadFile("../testdata/names.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		what, quoted, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || strings.HasPrefix(what, "#") {
			continue
		}
		instance, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %s: %v", what, quoted, err)
		}
		n++
		name := dnssd.FullName{Instance: instance, Service: "_http._tcp", Domain: "local"}
		for _, form := range []string{name.String(), name.Presentation()} {
			if got, err := dnssd.ParseName(form); err != nil || got != name {
				t.Errorf("%s: %q is read as %+v, %v", what, form, got, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d names", n)
	}
}
