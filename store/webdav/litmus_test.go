package webdav

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// litmusSuites are the suites of litmus, how many of their tests pass, and which
// fail: golang.org/x/net/webdav has no shared locks (RFC 4918 section 6.2), takes
// an entity tag in an If header for true (section 10.4) and a namespace prefix that
// is declared empty for well formed; and the drive keeps no
// properties of others (section 4.4), which PROPPATCH answers with 403 each.
var litmusSuites = []struct {
	name string
	pass int
	fail []string
}{
	{"basic", 16, nil},
	{"copymove", 13, nil},
	{"http", 4, nil},
	{"props", 10, []string{"propfind_invalid2", "propset", "propmanyns", "propget"}},
	{"locks", 30, []string{"owner_modify", "fail_complex_cond_put", "lock_shared", "owner_modify"}},
}

var (
	litmusSummary = regexp.MustCompile("<- summary for `\\w+': of \\d+ tests run: (\\d+) passed")
	litmusFailed  = regexp.MustCompile(`(?m)^ *\d+\. (\w+)\.+ FAIL`)
)

// litmus is the test suite of a WebDAV client library, by other people.
func TestHandler_Litmus(t *testing.T) {
	bin, err := exec.LookPath("litmus")
	if err != nil {
		if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
			t.Fatal("litmus is missing: apt-get install litmus")
		}
		t.Skip("litmus is missing: apt-get install litmus")
	}
	f := newFace(t)
	for _, s := range litmusSuites {
		cmd := exec.Command(bin, "-k", f.url+"/")
		cmd.Dir = t.TempDir() // litmus writes its logs where it runs
		cmd.Env = append(os.Environ(), "TESTS="+s.name)
		out, _ := cmd.CombinedOutput() // the status says what the summary says
		text := strings.ReplaceAll(string(out), "\r", "\n")
		m := litmusSummary.FindStringSubmatch(text)
		if m == nil {
			t.Errorf("%s: no summary in\n%s", s.name, out)
			continue
		}
		var failed []string
		for _, f := range litmusFailed.FindAllStringSubmatch(text, -1) {
			failed = append(failed, f[1])
		}
		if m[1] != strconv.Itoa(s.pass) || !slices.Equal(failed, s.fail) {
			t.Errorf("%s: %s passed and %q failed, want %d and %q\n%s", s.name, m[1], failed, s.pass, s.fail, text)
		}
	}
}
