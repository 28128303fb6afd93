package drive

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	long := strings.Repeat("n", 255)
	for p, want := range map[string]string{
		"/": "/", "//": "/", "/a": "/a", "/a/": "/a", "/a//b": "/a/b", "/a/./b": "/a/b", "/.": "/", "/...": "/...", "/..a": "/..a", "/a..": "/a..",
		"/" + long: "/" + long, "/ ": "/ ", "/ä/日本": "/ä/日本", "/\n": "/\n", `/a\b`: `/a\b`, "/-rf": "/-rf",
	} {
		if got, err := Clean(p); err != nil || got != want {
			t.Errorf("Clean %q = %q, %v, want %q", p, got, err, want)
		}
	}
	for _, p := range []string{
		"", "a", ".", "..", "a/b", "/..", "/../a", "/a/..", "/a/../b", "/a/../../b", "/\x00", "/a\x00b", "/\xff", "/a/\xc3", "/" + long + "n",
		"/x/" + long + "n/y", strings.Repeat("/nnnnnnn", 512) + "n", `\`, "C:/x",
	} {
		if got, err := Clean(p); !errors.Is(err, ErrBadPath) {
			t.Errorf("Clean %q = %q, %v", p, got, err)
		}
	}
}

// A clean path stays as it is and stays below the root.
func FuzzClean(f *testing.F) {
	for _, p := range []string{"/", "//a/./b/", "/..", "/a/../b", "/\x00", "/\xff", "/" + strings.Repeat("n", 256)} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, err := Clean(p)
		if err != nil {
			if !errors.Is(err, ErrBadPath) || got != "" {
				t.Errorf("Clean %q = %q, %v", p, got, err)
			}
			return
		}
		if got[0] != '/' || path.Clean(got) != got || len(got) > len(p) || strings.Contains(got+"/", "/../") {
			t.Errorf("Clean %q = %q", p, got)
		}
		if again, err := Clean(got); err != nil || again != got {
			t.Errorf("Clean %q = %q, and again %q, %v", p, got, again, err)
		}
	})
}
