package webdav

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aether-lan/aether/store/tree"
)

// need returns the path of another's program. Without it the test is skipped, or
// fails where all must be there.
func need(t *testing.T, program, pkg string) string {
	t.Helper()
	bin, err := exec.LookPath(program)
	if err != nil {
		missing(t, program+" is missing: apt-get install "+pkg)
	}
	return bin
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// writeFiles writes local files, by name and content.
func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// holds fails unless the drive has exactly the files below dir.
func (f *face) holds(dir string, files map[string]string) {
	f.t.Helper()
	n := 0
	count := func(p string) {
		if want, ok := files[strings.TrimPrefix(p, dir+"/")]; !ok {
			f.t.Errorf("%s is there", p)
		} else if got, _ := f.content(p); got != want {
			f.t.Errorf("%s has %d bytes, want %d", p, len(got), len(want))
		}
		n++
	}
	err := f.tree.Walk(f.kv, dir, func(e tree.Entry) bool {
		if !e.Dir {
			count(e.Path)
		}
		return true
	})
	if err != nil {
		f.t.Error(err)
	}
	if n != len(files) {
		f.t.Errorf("%d files in %s, want %d", n, dir, len(files))
	}
}

// some are files of which a client may make something: empty, large, in directories,
// with names that need escaping.
func some() map[string]string {
	return map[string]string{
		"empty": "", "big": string(randomBytes(4, 3<<20)), "a/b/deep": "deep",
		"name with space & + % # ?.txt": "odd", "ünï/çødé ☃": "unicode", "a/<xml>&\"quotes\"": "marked",
	}
}

func TestNew_Rclone(t *testing.T) {
	bin := need(t, "rclone", "rclone")
	f := newSecretFace(t)
	dir, home := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "HOME="+home, "RCLONE_CONFIG="+filepath.Join(home, "none"), "RCLONE_CONFIG_DAV_TYPE=webdav",
		"RCLONE_CONFIG_DAV_URL="+f.url, "RCLONE_CONFIG_DAV_VENDOR=owncloud", "RCLONE_CONFIG_DAV_USER=aether")
	obscure := exec.Command(bin, "obscure", "-")
	obscure.Stdin, obscure.Env = strings.NewReader(testToken), env
	hidden, err := obscure.Output()
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "RCLONE_CONFIG_DAV_PASS="+strings.TrimSpace(string(hidden)))
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(bin, args...)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("rclone %s: %v\n%s", args, err, out)
		}
	}
	files := some()
	if runtime.GOOS == "windows" {
		delete(files, "a/<xml>&\"quotes\"")
	}
	writeFiles(t, dir, files)
	run("copy", dir, "dav:tree")
	f.holds("/tree", files)
	run("check", "--download", dir, "dav:tree")
	local, err := os.Stat(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := f.drive.Stat("/tree/big"); err != nil || e.Version.ModTime.Unix() != local.ModTime().Unix() {
		t.Errorf("modification time %v of %v, %v", e.Version.ModTime, local.ModTime(), err)
	}
	delete(files, "a/b/deep")
	files["big"], files["more"] = "small now", "more"
	if err := os.RemoveAll(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"big": "small now", "more": "more"})
	run("sync", dir, "dav:tree")
	f.holds("/tree", files)
	run("copy", "dav:tree", "dav:copy")
	f.holds("/copy", files)
	run("moveto", "dav:copy", "dav:moved")
	f.holds("/moved", files)
	back := t.TempDir()
	run("copy", "dav:moved", back)
	run("check", "--download", back, "dav:tree")
	run("purge", "dav:tree")
	run("purge", "dav:moved")
	f.holds("", nil)
}

func TestNew_Cadaver(t *testing.T) {
	bin := need(t, "cadaver", "cadaver")
	f := newSecretFace(t)
	dir := t.TempDir()
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	netrc := fmt.Sprintf("machine %s login aether password %s\n", u.Hostname(), testToken)
	if err := os.WriteFile(filepath.Join(dir, ".netrc"), []byte(netrc), 0o600); err != nil {
		t.Fatal(err)
	}
	body := string(randomBytes(5, 200000))
	writeFiles(t, dir, map[string]string{"up": body})
	cmd := exec.Command(bin, f.url+"/")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir)
	cmd.Stdin = strings.NewReader(strings.Join([]string{
		"mkcol dir", "put up dir/file", "cd dir", "ls", "set namespace urn:x", "propset file colour blue", "propget file colour",
		"lock file", "discover file", "unlock file", "move file moved", "propget moved colour",
		"copy moved copy", "get copy down", "delete moved", "mkcol sub", "rmcol sub", "quit", "",
	}, "\n"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cadaver: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "failed") || strings.Count(string(out), "blue") < 2 {
		t.Errorf("cadaver says\n%s", out)
	}
	f.holds("/dir", map[string]string{"copy": body})
	if got, err := os.ReadFile(filepath.Join(dir, "down")); err != nil || string(got) != body {
		t.Errorf("%d bytes down, %v", len(got), err)
	}
}
