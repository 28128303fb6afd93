package webdav

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// davfsScript mounts $URL with davfs2 in a mount namespace of its own, works with it,
// and checks what it finds.
const davfsScript = `set -e
mount.davfs -o "conf=$PWD/conf" "$URL" mnt
trap 'umount mnt || true' EXIT
mkdir mnt/dir
cp body mnt/dir/file
printf hello > "mnt/dir/with space"
mv mnt/dir/file mnt/dir/renamed
mkdir mnt/gone
printf x > mnt/gone/x
rm -r mnt/gone
cmp body mnt/dir/renamed
ls mnt/dir
printf ' again' >> "mnt/dir/with space"
cp mnt/there here
mv mnt/dir mnt/moved
df mnt
trap - EXIT
umount mnt
`

func TestNew_Davfs2(t *testing.T) {
	need(t, "mount.davfs", "davfs2")
	unshare := need(t, "unshare", "util-linux")
	if os.Geteuid() != 0 {
		missing(t, "mounting needs the rights of root: sudo go test ./store/webdav")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("/dev/fuse is missing: modprobe fuse")
	}
	f := newSecretFace(t)
	f.want(201, "PUT", "/there", "from here", "Authorization", basic("", testToken))
	dir := t.TempDir()
	body := string(randomBytes(6, 1<<20))
	mnt := filepath.Join(dir, "mnt")
	// With the usual buf_size it lists no directory under Linux 6.16 and later.
	writeFiles(t, dir, map[string]string{
		"body":    body,
		"conf":    "secrets " + filepath.Join(dir, "secrets") + "\ncache_dir " + filepath.Join(dir, "cache") + "\ndelay_upload 0\nuse_locks 1\nbuf_size 64\n",
		"secrets": mnt + " aether " + testToken + "\n",
	})
	if err := os.Chmod(filepath.Join(dir, "secrets"), 0o600); err != nil {
		t.Fatal(err)
	}
	// The program gives up its rights and becomes a user who must reach its cache.
	cache := filepath.Join(dir, "cache")
	err := errors.Join(os.Mkdir(mnt, 0o755), os.Mkdir(cache, 0o755), os.Chmod(cache, 0o777), os.Chmod(filepath.Dir(dir), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(unshare, "--mount", "--propagation", "private", "sh", "-c", davfsScript)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "URL="+f.url+"/", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "with space") {
		t.Fatalf("%v\n%s", err, out)
	}
	f.holds("", map[string]string{"there": "from here", "moved/renamed": body, "moved/with space": "hello again"})
	if got, err := os.ReadFile(filepath.Join(dir, "here")); err != nil || string(got) != "from here" {
		t.Errorf("read %q, %v", got, err)
	}
}
