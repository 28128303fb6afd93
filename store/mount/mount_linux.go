package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/aether-lan/aether/store/drive"
)

// request is the greatest read or write that the kernel makes at once.
const request = 1 << 20

// Server is a mounted drive.
type Server struct {
	dir    string
	minor  uint64 // of the device number: what the kernel calls the connection
	fuse   *fuse.Server
	kernel *kernelFS
	done   chan struct{} // closed when it is no longer mounted
	closed sync.Once
}

// Mount shows d in the directory dir, which must exist, until Close or until
// somebody unmounts it. What a process that died left mounted there is taken off
// first. It needs root, or the program fusermount3. A process must not use its own
// mount.
func Mount(ctx context.Context, d *drive.Drive, dir string, cfg Config) (*Server, error) {
	if err := recoverStale(dir); err != nil {
		return nil, err
	}
	dir, err := real(dir)
	if err != nil {
		return nil, err
	}
	if err := usable(dir); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		cfg.Name = "aether"
	}
	if cfg.Sync == 0 {
		cfg.Sync = 2 * time.Second
	}
	k := newKernelFS(ctx, d, cfg)
	opts := &fuse.MountOptions{
		Name: "aether", FsName: cfg.Name, AllowOther: cfg.AllowOther,
		MaxWrite: request, MaxReadAhead: request, MaxBackground: 64,
		ExtraCapabilities:        fuse.CAP_WRITEBACK_CACHE | fuse.CAP_ATOMIC_O_TRUNC | fuse.CAP_EXPORT_SUPPORT | fuse.CAP_HANDLE_KILLPRIV_V2,
		DisabledCapabilities:     fuse.CAP_PASSTHROUGH | fuse.CAP_NO_OPEN_SUPPORT,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		DirectMount:              os.Geteuid() == 0,
		Logger:                   log.New(io.Discard, "", 0),
	}
	if os.Geteuid() != 0 || cfg.AllowOther {
		// The kernel checks modes. Root alone may do everything anyway; to find that out
		// the kernel would ask for the attributes of a directory after each change in it.
		opts.Options = append(opts.Options, "default_permissions")
	}
	if cfg.ReadOnly {
		opts.Options = append(opts.Options, "ro")
	}
	fs, err := fuse.NewServer(k, dir, opts)
	if err != nil {
		k.stop()
		return nil, fmt.Errorf("mount: %s: %w", dir, explain(err))
	}
	s := &Server{dir: dir, fuse: fs, kernel: k, done: make(chan struct{})}
	back := letReadersWait()
	go func() {
		defer close(s.done)
		defer back()
		fs.Serve()
		k.stop()
	}()
	if err := fs.WaitMount(); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("mount: %s: %w", dir, err)
	}
	s.minor, _ = device(dir)
	readAhead(s.minor)
	return s, nil
}

// real returns dir as the kernel's table of mounts has it.
func real(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	return dir, nil
}

// explain says what to do about what mount(2) and fusermount3 refuse.
func explain(err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: install fuse3, or mount as root: %w", syscall.EPERM, err)
	case strings.Contains(err.Error(), "fusermount exited"): // it has said why on standard error
		return fmt.Errorf("%w: fusermount3 refused: %w", syscall.EPERM, err)
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("this kernel has no /dev/fuse: %w", err)
	}
	return err
}

// usable says why dir cannot be mounted on.
func usable(dir string) error {
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("mount: %s: %w", dir, syscall.ENOTDIR)
	}
	if _, mounted := device(dir); mounted {
		return fmt.Errorf("mount: %s: something is mounted there already: %w", dir, syscall.EBUSY)
	}
	return nil
}

// device returns the device number of the drive mounted on dir, from the kernel's
// table of mounts: asking the mount itself could wait for whoever serves it.
func device(dir string) (minor uint64, mounted bool) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(table)) {
		before, after, ok := strings.Cut(line, " - ")
		f := strings.Fields(before) // proc_pid_mountinfo(5): ID, parent, device, root, directory
		if !ok || len(f) < 5 || unescape(f[4]) != dir {
			continue
		}
		mounted = strings.HasPrefix(after, fileSystem+" ")
		_, number, _ := strings.Cut(f[2], ":")
		minor, _ = strconv.ParseUint(number, 10, 32)
	}
	return minor, mounted
}

// fileSystem is what the kernel calls the type of our mounts.
const fileSystem = "fuse.aether"

// unescape undoes how the kernel writes odd characters in its table of mounts.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// recoverStale takes off what a process that died left: every use of it fails with
// "transport endpoint is not connected".
func recoverStale(dir string) error {
	for range 16 { // mounts can lie on top of each other
		var st unix.Statx_t // asked anew: the kernel keeps attributes of the dead
		err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_FORCE_SYNC, unix.STATX_MODE, &st)
		if !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNABORTED) {
			return nil
		}
		if err := detach(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("mount: %s: a mount that died cannot be taken off: %w", dir, err)
		}
	}
	return nil
}

// detach unmounts dir, as root or by fusermount3.
func detach(dir string, flags int) error {
	err := unix.Unmount(dir, flags)
	if err == nil || !errors.Is(err, unix.EPERM) {
		return err
	}
	args := []string{"-u", dir}
	if flags&unix.MNT_DETACH != 0 {
		args = []string{"-u", "-z", dir}
	}
	out, xerr := exec.Command("fusermount3", args...).CombinedOutput()
	if xerr != nil {
		return fmt.Errorf("%w: fusermount3: %s", err, out)
	}
	return nil
}

// Unmount takes the mount off dir, whoever made it. It fails with [ErrBusy] while
// programs use it.
func Unmount(dir string) error {
	if err := recoverStale(dir); err != nil {
		return err
	}
	dir, err := real(dir)
	if err != nil {
		return err
	}
	if _, mounted := device(dir); !mounted {
		return fmt.Errorf("mount: %s: nothing of ours is mounted there: %w", dir, syscall.EINVAL)
	}
	err = detach(dir, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %s", ErrBusy, dir)
	}
	if err != nil {
		return fmt.Errorf("mount: unmount %s: %w", dir, err)
	}
	return nil
}

// readAhead lets the kernel read as far ahead as a request is long. It needs root;
// without, reading goes by smaller requests.
func readAhead(minor uint64) {
	name := fmt.Sprintf("/sys/class/bdi/0:%d/read_ahead_kb", minor)
	_ = os.WriteFile(name, []byte(fmt.Sprint(2*request>>10)), 0)
}

// Dir returns the directory that shows the drive.
func (s *Server) Dir() string { return s.dir }

// Wait returns when the drive is no longer mounted.
func (s *Server) Wait() { <-s.done }

// closeGrace is how long Close waits for programs to let go.
const closeGrace = 2 * time.Second

// Close brings everything to the disk and unmounts. Programs that still use the
// mount get errors from then on. Where the kernel lets nobody cut them off (not root,
// and no fusectl in /sys/fs/fuse/connections), it fails with [ErrBusy], and they are
// served until this process ends.
func (s *Server) Close() error {
	var err error
	s.closed.Do(func() {
		if err = s.unmount(); err == nil {
			<-s.done
		}
	})
	return err
}

func (s *Server) unmount() error {
	select {
	case <-s.done:
		return nil // somebody else was first
	default:
	}
	end := time.Now().Add(closeGrace)
	for {
		err := detach(s.dir, 0)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINVAL) || time.Now().After(end):
			if derr := detach(s.dir, unix.MNT_DETACH); derr != nil && !errors.Is(derr, unix.EINVAL) {
				return fmt.Errorf("mount: unmount %s: %w", s.dir, derr)
			}
			return s.abort()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// abort ends the connection to the kernel, for those who still use the mount.
func (s *Server) abort() error {
	s.kernel.sync()
	err := s.abortBy("/sys/fs/fuse/connections")
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	// Containers have no fusectl.
	dir, err := os.MkdirTemp("", "aether-fusectl-")
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	defer os.Remove(dir)
	if err := unix.Mount("none", dir, "fusectl", 0, ""); err != nil {
		return fmt.Errorf("%w: %s: mount fusectl: %w", ErrBusy, s.dir, err)
	}
	err = s.abortBy(dir)
	return errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH))
}

// abortBy ends the connection by what fusectl shows in dir.
func (s *Server) abortBy(dir string) error {
	err := os.WriteFile(fmt.Sprintf("%s/%d/abort", dir, s.minor), []byte("1"), 0)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrBusy, s.dir, err)
	}
	return nil
}
