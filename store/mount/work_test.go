//go:build linux

package mount_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What people do all day, done on the drive by the programs they do it with.
func TestWork(t *testing.T) {
	if testing.Short() {
		t.Skip("these programs take minutes on a drive that is watched for races: run without -short")
	}
	dir, again := remountable(t)
	for _, job := range []struct {
		name  string
		do    func(w *desk)
		check func(w *desk) // once more, after mounting again; nil is nothing
	}{
		{"git", commitAndMerge, checkGit},
		{"git clone", cloneAndPush, checkGit},
		{"go", buildAndTest, nil},
		{"sqlite WAL", func(w *desk) { transact(w, "WAL") }, checkSQLite},
		{"sqlite DELETE", func(w *desk) { transact(w, "DELETE") }, checkSQLite},
		{"editors", editAndSave, checkEdited},
		{"cp and tar", copyTrees, checkCopies},
		{"unzip", unpack, nil},
		{"disk image", formatImage, checkImage},
	} {
		w := &desk{T: t, dir: filepath.Join(dir, job.name)}
		if !t.Run(job.name, func(t *testing.T) {
			w.T = t
			w.must(os.Mkdir(w.dir, 0o755))
			began := time.Now()
			job.do(w)
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
		}) || job.check == nil {
			continue
		}
		defer func() {
			t.Run(job.name+" after mounting again", func(t *testing.T) {
				if _, err := os.Stat(filepath.Join(w.dir, ".skipped")); err == nil {
					t.Skip("it was not done")
				}
				w.T = t
				job.check(w)
			})
		}()
	}
	again()
}

// desk is the directory that somebody works in.
type desk struct {
	*testing.T
	dir string
}

func (w *desk) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *desk) at(name string) string { return filepath.Join(w.dir, name) }

func (w *desk) file(name, text string) {
	w.Helper()
	w.must(os.WriteFile(w.at(name), []byte(text), 0o644))
}

// needs skips the test where a program is missing, and leaves a note for the check.
func (w *desk) needs(names ...string) {
	w.Helper()
	for _, n := range names {
		if _, err := exec.LookPath(n); err != nil {
			w.file(".skipped", n)
		}
		program(w.T, n)
	}
}

// sh runs a script by bash, in which $1 and so on are args, and returns what it says.
func (w *desk) sh(script string, args ...string) string {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append([]string{"-euc", script, "bash"}, args...)...)
	cmd.Dir = w.dir
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "HOME="+w.TempDir(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func commitAndMerge(w *desk) {
	w.needs("git")
	w.sh(`
git init -q -b main .
for i in $(seq 300); do mkdir -p d$((i % 10)); for j in $(seq $((i % 40))); do echo "line $j of $i"; done >d$((i % 10))/f$i; done
git add .
git commit -qm first
git checkout -qb other
for i in $(seq 1 3 300); do echo other >>d$((i % 10))/f$i; done
git mv d1 moved
git commit -qam other
git checkout -q main
for i in $(seq 2 3 300); do echo main >>d$((i % 10))/f$i; done
git rm -q $(for i in $(seq 3 3 300); do ((i % 10 == 1)) || echo d$((i % 10))/f$i; done)
git commit -qam main
git merge -q -m merge other
git stash list
echo change >>moved/f1
git stash -q
git stash pop -q
git checkout -q -- .
git tag -a -m v1 v1
`)
	checkGit(w)
	w.sh(`git gc -q --aggressive --prune=now; git repack -qad`)
	checkGit(w)
}

func checkGit(w *desk) {
	out := w.sh(`
[[ -d .git ]] || cd clone
git fsck --full --strict
git status --porcelain
git diff --stat HEAD
git log --oneline | wc -l`)
	for line := range strings.Lines(out) {
		if n, err := strconv.Atoi(strings.TrimSpace(line)); (err != nil || n < 3) && !strings.HasPrefix(line, "dangling") {
			w.Errorf("git says %s", line)
		}
	}
}

func cloneAndPush(w *desk) {
	w.needs("git")
	w.sh(`
git init -q -b main $1/source
cd $1/source
for i in $(seq 500); do mkdir -p d$((i % 25)); echo $i >d$((i % 25))/f$i; done
for n in 1 2 3; do echo $n >n; git add .; git commit -qm $n; done
git clone -q --bare . $1/bare
cd "$2"
git clone -q file://$1/bare clone
cd clone
git checkout -qb feature
echo more >>n
git commit -qam more
git push -q origin feature
git fetch -q --all
git clone -q --no-hardlinks . ../clone2
git clone -q . ../clone3
git -C ../clone3 fsck --full
diff -r --exclude .git . ../clone2`, w.TempDir(), w.dir)
	checkGit(w)
}

func buildAndTest(w *desk) {
	w.needs("go")
	if testing.Short() {
		w.Skip("compiling the standard library takes long; run without -short")
	}
	w.file("go.mod", "module example.org/m\n\ngo 1.24\n")
	w.must(os.Mkdir(w.at("sum"), 0o755))
	w.file("sum/sum.go", "// Package sum adds.\npackage sum\n\n// Of adds.\nfunc Of(a, b int) int { return a + b }\n")
	w.file("sum/sum_test.go", "package sum\n\nimport \"testing\"\n\nfunc TestOf(t *testing.T) {\n\tif Of(1, 2) != 3 {\n\t\tt.Fatal()\n\t}\n}\n")
	w.file("main.go", "package main\n\nimport \"example.org/m/sum\"\n\nfunc main() { println(sum.Of(40, 2)) }\n")
	out := w.sh(`
export GOFLAGS=-mod=mod GOCACHE="$PWD/.cache" GOTMPDIR="$PWD/.tmp" CGO_ENABLED=0
mkdir .tmp
go build -o prog .
./prog
go test ./...
go test ./...
sed -i s/40/41/ main.go
go run .`)
	for _, want := range []string{"42\n", "43\n", "(cached)"} {
		if !strings.Contains(out, want) {
			w.Errorf("there is no %q in\n%s", want, out)
		}
	}
}

// transact has two programs change one database at once.
func transact(w *desk, mode string) {
	w.needs("sqlite3")
	w.sh(`sqlite3 db 'PRAGMA journal_mode='$1'; CREATE TABLE t (id INTEGER PRIMARY KEY, who INT, n INT, v BLOB); CREATE INDEX i ON t(n);'`, mode)
	const each = 250
	var jobs sync.WaitGroup
	for who := range 2 {
		var script strings.Builder
		script.WriteString(".timeout 60000\n")
		for n := range each {
			fmt.Fprintf(&script, "BEGIN IMMEDIATE; INSERT INTO t (who, n, v) VALUES (%d, %d, randomblob(%d)); UPDATE t SET n = n WHERE who = %d AND n = %d; COMMIT;\n", who, n, 100+n*7%3000, who, n/2)
		}
		cmd := exec.CommandContext(w.Context(), "sqlite3", "-bail", w.at("db"))
		cmd.Stdin = strings.NewReader(script.String())
		jobs.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				w.Errorf("sqlite3: %v\n%s", err, out)
			}
		})
	}
	jobs.Wait()
	checkSQLite(w)
	w.sh(`sqlite3 db 'DELETE FROM t WHERE n % 3 = 0; VACUUM;'`)
	w.sh(`sqlite3 db 'INSERT INTO t (who, n) WITH RECURSIVE c(x) AS (SELECT 0 UNION ALL SELECT x+3 FROM c WHERE x+3 < ` + fmt.Sprint(each) + `) SELECT w, x FROM c, (SELECT 0 AS w UNION SELECT 1)'`)
	checkSQLite(w)
}

func checkSQLite(w *desk) {
	const want = "ok\n2|500\n"
	if got := w.sh(`sqlite3 db '.timeout 60000' 'PRAGMA integrity_check; SELECT count(DISTINCT who), count(*) FROM t;'`); !strings.HasSuffix(got, want) {
		w.Errorf("sqlite3 says %q instead of %q", got, want)
	}
}

// editAndSave saves in each of the ways that editors have.
func editAndSave(w *desk) {
	w.needs("vim")
	w.sh(`
for f in renamed copied sed ed atomic append; do echo one >$f; chmod 640 $f; done
touch -d '2001-02-03 04:05:06.789' atomic
for n in two three; do
	# vim: the old file becomes the backup, and a new one is written,
	vim -es -N -u NONE -i NONE -c 'set backup backupskip= backupcopy=no' -c "normal Go$n" -c wq renamed
	# or the backup is a copy, and the file is written in place.
	vim -es -N -u NONE -i NONE -c 'set backup backupskip= backupcopy=yes' -c "normal Go$n" -c wq copied
	sed -i "\$a$n" sed
	# emacs: the backup is a copy with its time, the file is written in place, with fsync.
	cp -p ed ed~
	{ cat ed~; echo $n; } | dd of=ed conv=fsync status=none
	# Others: a new file, with fsync of it and of the directory, over the old one.
	{ cat atomic; echo $n; } | dd of=.atomic.tmp conv=fsync status=none
	chmod --reference=atomic .atomic.tmp
	mv .atomic.tmp atomic
	sync .
	echo $n >>append
done
mv append append.moved
ln -s append.moved append`)
	checkEdited(w)
}

func checkEdited(w *desk) {
	for _, name := range []string{"renamed", "copied", "sed", "ed", "atomic", "append"} {
		b, err := os.ReadFile(w.at(name))
		if string(b) != "one\ntwo\nthree\n" || err != nil {
			w.Errorf("%s is %q, %v", name, b, err)
		}
		if st, err := os.Stat(w.at(name)); err != nil || st.Mode() != 0o640 {
			w.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for _, name := range []string{"renamed~", "copied~", "ed~"} {
		if b, err := os.ReadFile(w.at(name)); string(b) != "one\ntwo\n" || err != nil {
			w.Errorf("the backup %s is %q, %v", name, b, err)
		}
	}
}

// source returns a directory with some hundred files.
func (w *desk) source() string {
	w.Helper()
	return filepath.Join(strings.TrimSpace(w.sh("go env GOROOT")), "src", "net")
}

func copyTrees(w *desk) {
	w.needs("go")
	w.sh(`
cp -a "$1" copy
tar -C "$1" --format=pax -cf net.tar .
mkdir untarred
tar -C untarred -xpf net.tar
tar -C untarred --format=pax -cf - . | (mkdir piped && tar -C piped -xpf -)
cp -a copy moved.tmp
mv moved.tmp moved
cp -a copy gone
rm -rf gone
[[ ! -e gone ]]
tar -df net.tar -C untarred`, w.source())
	checkCopies(w)
}

func checkCopies(w *desk) {
	want := told(w, w.source())
	if len(want) < 200 {
		w.Fatalf("%d files are too few", len(want))
	}
	for _, name := range []string{"copy", "untarred", "piped", "moved"} {
		got := told(w, w.at(name))
		if maps.Equal(got, want) {
			continue
		}
		for _, path := range slices.Sorted(maps.Keys(want)) {
			if got[path] != want[path] {
				w.Errorf("%s of %s is %s instead of %s", path, name, got[path], want[path])
				break
			}
		}
		w.Errorf("%s has %d files instead of %d, or others", name, len(got), len(want))
	}
}

// told returns what there is to know of all files below root.
func told(w *desk, root string) map[string]string {
	w.Helper()
	files := map[string]string{}
	w.must(filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %d", st.Mode(), st.ModTime().UnixNano())
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", st.Size(), sha256.Sum256(b))
		}
		files[path[len(root):]] = line
		return nil
	}))
	return files
}

func unpack(w *desk) {
	w.needs("zip", "unzip")
	w.sh(`
mkdir -p $1/in
cd $1/in
for i in $(seq 1000); do mkdir -p d$((i % 30)); echo "file $i" >"d$((i % 30))/file $i ü.txt"; done
zip -qr $1/a.zip .
cd "$2"
unzip -q $1/a.zip -d out
diff -r $1/in out
zip -qr b.zip out
unzip -qt b.zip
unzip -qo b.zip
diff -r $1/in out
[[ $(find out -type f | wc -l) == 1000 ]]`, w.TempDir(), w.dir)
}

// formatImage makes a file system in a file, of which most is holes.
func formatImage(w *desk) {
	w.needs("mkfs.ext4", "e2fsck", "debugfs")
	w.sh(`
truncate -s 1G image
mkfs.ext4 -q -F image
e2fsck -fn image
head -c 3000000 /dev/urandom >payload
debugfs -w -R "write payload payload" image`)
	checkImage(w)
}

func checkImage(w *desk) {
	w.sh(`
e2fsck -fn image
debugfs -R "dump payload $1" image
cmp $1 payload`, filepath.Join(w.TempDir(), "payload"))
	if st, err := os.Stat(w.at("image")); err != nil || st.Size() != 1<<30 {
		w.Errorf("the image is %v, %v", st, err)
	}
	f, err := os.Open(w.at("image"))
	w.must(err)
	defer f.Close()
	b := make([]byte, 1<<20)
	if _, err := f.ReadAt(b, 999<<20); err != nil || !bytes.Equal(b, make([]byte, len(b))) {
		w.Errorf("a hole of the image has something in it, %v", err)
	}
}
