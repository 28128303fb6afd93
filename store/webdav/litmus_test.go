package webdav

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// litmusSuites are the suites of litmus 0.13 and how many of their tests pass. What
// fails is said for each.
var litmusSuites = []struct {
	name       string
	pass, fail int
}{
	{"basic", 16, 0},
	{"copymove", 13, 0},
	{"http", 4, 0},
	{"props", 30, 0},
	{"locks", 41, 0},
}

var litmusSummary = regexp.MustCompile("<- summary for `(\\w+)': of (\\d+) tests run: (\\d+) passed, (\\d+) failed")

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
		m := litmusSummary.FindStringSubmatch(strings.ReplaceAll(string(out), "\r", "\n"))
		if m == nil {
			t.Errorf("%s: no summary in\n%s", s.name, out)
			continue
		}
		pass, _ := strconv.Atoi(m[3])
		fail, _ := strconv.Atoi(m[4])
		if pass != s.pass || fail != s.fail {
			t.Errorf("%s: %d passed and %d failed, want %d and %d\n%s", s.name, pass, fail, s.pass, s.fail, out)
		}
	}
}
