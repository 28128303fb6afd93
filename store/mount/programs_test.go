package mount_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// in runs a shell script in dir and returns what it prints.
func in(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// A repository made, cloned, committed to and packed on the drive is whole.
func TestMount_Git(t *testing.T) {
	program(t, "git")
	dir := mounted(t)
	in(t, dir, `
export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q one; cd one
for i in $(seq 200); do mkdir -p d$((i % 7)); seq $i $((i * 9)) >d$((i % 7))/$i; done
git add -A; git commit -qm first
git checkout -qb other; git mv d0 e0; git rm -qr d1; echo x >>d2/2; git commit -qam second
git checkout -q -; echo y >new; git add new; git commit -qm third; git merge -q -m merge other
cd ..; git clone -q "file://$PWD/one" two; cd two
echo z >>new; git commit -qam fourth; git gc -q --prune=now; git push -q origin HEAD:refs/heads/back
git fsck --full --strict; test -z "$(git status --porcelain)"
cd ../one; git fsck --full --strict; git reset -q --hard back; diff -r --exclude .git . ../two`)
}

// Two programs that change one database at once leave it whole, in either of SQLite's
// ways to commit.
func TestMount_SQLite(t *testing.T) {
	program(t, "sqlite3")
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			dir := mounted(t)
			var script strings.Builder
			script.WriteString("set -e\nsqlite3 db 'PRAGMA journal_mode=" + mode + "; CREATE TABLE t (who, n, v);' >&2\n")
			for who := range 2 {
				fmt.Fprintf(&script, "(for i in $(seq 60); do echo \"BEGIN IMMEDIATE; INSERT INTO t VALUES (%d, $i, randomblob(3000)); COMMIT;\"; done) | sqlite3 -bail -cmd '.timeout 60000' db & p%d=$!\n", who, who)
			}
			script.WriteString("wait $p0; wait $p1\nsqlite3 db 'PRAGMA integrity_check; SELECT count(*), count(DISTINCT who) FROM t; VACUUM; PRAGMA integrity_check;'\n")
			if got := in(t, dir, script.String()); !strings.HasSuffix(got, "ok\n120|2\nok\n") {
				t.Errorf("%q", got)
			}
		})
	}
}
