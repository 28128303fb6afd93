package webdav

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// litmusSuites are the suites of litmus, and how many tests they run: all pass.
var litmusSuites = []struct {
	name string
	pass int
}{
	{"basic", 16}, {"copymove", 13}, {"http", 4}, {"props", 30}, {"locks", 41},
}

var (
	litmusSummary = regexp.MustCompile("<- summary for `\\w+': of \\d+ tests run: (\\d+) passed")
	litmusFailed  = regexp.MustCompile(`(?m)^ *\d+\. (\w+)\.+ (FAIL|WARNING)`)
)

// litmus is the test suite of a WebDAV client library, by other people.
func TestHandler_Litmus(t *testing.T) {
	bin := need(t, "litmus", "litmus")
	f := newSecretFace(t)
	for _, s := range litmusSuites {
		cmd := exec.Command(bin, "-k", f.url+"/", "aether", testToken)
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
		if m[1] != strconv.Itoa(s.pass) || len(failed) > 0 {
			t.Errorf("%s: %s passed and %q did not, want %d\n%s", s.name, m[1], failed, s.pass, text)
		}
	}
}
