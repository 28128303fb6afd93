package script

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// newCalculator answers "add N..." with the sum of all that was added so far, and
// "say W..." with a word a line.
func newCalculator(t testing.TB) func(args []string) string {
	sum := 0
	return func(args []string) string {
		switch args[0] {
		case "add":
			for _, a := range args[1:] {
				n, err := strconv.Atoi(a)
				if err != nil {
					t.Error(err)
				}
				sum += n
			}
			return strconv.Itoa(sum)
		case "say":
			return strings.Join(args[1:], "\n") + "\n"
		}
		return ""
	}
}

func TestRun_AcceptsWhatIsExpected(t *testing.T) {
	Run(t, "testdata/*.txt", newCalculator)
}

func TestRun_UpdateRewritesOutputOnly(t *testing.T) {
	golden, err := os.ReadFile("testdata/echo.txt")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "wrong.txt")
	wrong := strings.NewReplacer("\n5\n", "\n6\nand more\n", "two\nwords\n", "").Replace(string(golden))
	if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	defer func(was bool) { *update = was }(*update)
	*update = true
	Run(t, file, newCalculator)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(golden) {
		t.Errorf("rewritten as\n%s\nwant\n%s", got, golden)
	}
}
