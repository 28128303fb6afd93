package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gofrs/flock"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// What lies in a machine's directory, beside the two files of package pool.
const (
	lockName     = "lock"         // held while a process has the machine open
	socketName   = "node.sock"    // the control socket of a running node
	settingsName = "machine.json" // Settings
	indexName    = "index"        // keys and values
	segmentsName = "segments"     // chunk bodies
)

// The defaults of Settings.
const (
	// DefaultSpace is what a machine sets aside: 10 GiB.
	DefaultSpace = 10 << 30
	// DefaultCopies is how many machines keep each file.
	DefaultCopies = 2
	// DefaultRetention is how long old versions and removed files are kept.
	DefaultRetention = 30 * 24 * time.Hour
	// DefaultLease is how long a machine may be silent before it is retired.
	DefaultLease = 90 * 24 * time.Hour
)

// ErrInUse reports a directory that another process has open.
var ErrInUse = errors.New("another process has this machine open")

// Settings are what a machine remembers of how it was set up.
type Settings struct {
	// Name is what people call the machine. Empty means the host's name.
	Name string `json:"name"`
	// Space is the bytes set aside for the pool. Zero means DefaultSpace.
	Space int64 `json:"space"`
	// Copies is how many machines shall keep a file written here, this one
	// included if it is chosen. Zero means DefaultCopies.
	Copies int `json:"copies"`
	// Retention is how long old versions and removed files are kept, in seconds. Zero
	// means DefaultRetention, a negative number not at all. They yield sooner where
	// room is wanted.
	Retention int64 `json:"retention,omitempty"`
	// Laptop says whether the machine is often away, "yes" or "no": such a machine is
	// given less to keep, and never the only copies where there are others. Empty means
	// that a machine with a battery is.
	Laptop string `json:"laptop,omitempty"`
	// Lease is how long a machine may be silent, in seconds, until the others retire it and
	// forget what it may not have heard of. Zero means DefaultLease, and it is at least a
	// day.
	Lease int64 `json:"lease,omitempty"`
	// Preallocate takes Space from the disk at once, where the file system can, so that
	// nobody else can have it. Once set it stays.
	Preallocate bool `json:"preallocate,omitempty"`
}

// check refuses what the machine could not be opened with again.
func (s Settings) check() error {
	switch {
	case len(s.Name) > maxName || !utf8.ValidString(s.Name) || strings.ContainsFunc(s.Name, unicode.IsControl):
		return fmt.Errorf("node: a name is at most %d bytes of text", maxName)
	case s.Lease != 0 && s.Lease < int64(minLease/time.Second):
		return fmt.Errorf("node: a lease is at least %v", minLease)
	case s.Space < 0 || s.Copies < 0:
		return errors.New("node: space and copies cannot be negative")
	case s.Laptop != "" && s.Laptop != "yes" && s.Laptop != "no":
		return fmt.Errorf("node: laptop is yes or no, not %q", s.Laptop)
	}
	return nil
}

// Config says which machine to open, and what to change of its settings.
type Config struct {
	// Dir is the machine's directory.
	Dir string
	// Passphrase opens sealed keys; empty where they are not.
	Passphrase []byte
	// Later are the secrets of later generations of the pool that [Init] gives to a new
	// machine.
	Later []pool.Secret
	// Set changes settings: its fields that are not zero replace remembered ones.
	Set Settings
	// Logger hears what the machine does; nil is silent.
	Logger *slog.Logger
}

// Machine is a member of a pool, opened: its files, and the way to change them.
// It works without a network; Serve gives it one.
type Machine struct {
	cfg        Config
	settings   Settings
	log        *slog.Logger
	pool       *pool.Pool
	lock       *flock.Flock
	kv         kv
	bodies     *segment.Store
	keys       *chunk.Keys
	tree       *tree.Tree
	drive      *drive.Drive
	core       *core
	mesh       atomic.Pointer[link.Mesh]
	serving    atomic.Pointer[serving] // nil: no node runs
	mounts     mounts
	names      *nameLog
	alarms     alarms
	census     census
	traffic    traffic
	windows    windows
	limits     limits
	proved     atomic.Int64 // when it was last looked whether all is here, in Unix nanoseconds
	happenings happenings
	outside
	reads  *reads
	faults faults
	clocks clocks

	scrubbing atomic.Bool
	secrets   secrets
	rekeying  rekeying

	demands     demands
	ceding      ceding
	credentials credentials
	refusals    refusals
	inviting    atomic.Bool
	left        atomic.Bool // the directory is emptied when the machine is closed
	comparing   atomic.Bool // the drive with that of another machine

	balanceOne sync.Mutex // held by a look at all files
	balancing  balancing

	// background ends when the machine is closed; jobs run until then.
	background context.Context
	end        context.CancelFunc
	jobs       sync.WaitGroup
	close      sync.Once
	closeErr   error
}

// kv is where the index lies.
type kv interface {
	store.KV
	Close() error
}

// outside is what a machine sees of the world; a simulation has its own.
type outside struct {
	fs      vfs.FS           // where the segments lie
	now     func() time.Time // the clock
	network network          // nil: the mesh, while there is one
	single  bool             // nothing runs beside the caller

	// misread plants a mistake into what others' operations say. Only tests set it.
	misread func(tree.Op) tree.Op
}

// network is how a machine asks others.
type network interface {
	// Call asks a peer and waits for the answer; link.ErrNotConnected says that it
	// cannot be asked.
	Call(ctx context.Context, peer link.PeerID, req link.Message) (link.Message, error)
	// Connected returns who can be asked.
	Connected() []link.PeerID
}

// Init makes the machine of cfg.Dir: the first of a new pool, or with a secret a
// member of the pool that it opens. It fails with pool.ErrExists where the
// directory has a machine of another pool, or has one and no secret was given.
func Init(cfg Config, secret pool.Secret) (*pool.Pool, error) {
	if err := cfg.Set.check(); err != nil {
		return nil, err
	}
	unlock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var p *pool.Pool
	if secret.IsZero() {
		if secretLost(cfg.Dir) {
			return nil, fmt.Errorf("node: init: %s: %w", cfg.Dir, ErrSecretLost)
		}
		p, err = pool.Create(cfg.Dir, cfg.Passphrase)
	} else {
		p, err = pool.Join(cfg.Dir, secret, cfg.Passphrase)
	}
	if err == nil {
		err = p.Ring().AddAll(cfg.Dir, cfg.Later, cfg.Passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("node: init: %w", err)
	}
	if _, err := updateSettings(cfg.Dir, cfg.Set); err != nil {
		return nil, err
	}
	return p, nil
}

// lockDir makes dir where it is missing and takes its lock.
func lockDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	l := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("node: lock: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("node: %s: %w", dir, ErrInUse)
	}
	if err := finishMove(dir); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return func() { _ = l.Close() }, nil
}

// ChangePassphrase seals the key files of the machine in dir under another passphrase;
// see [pool.ChangePassphrase]. It fails with ErrInUse while another process has the
// machine open.
func ChangePassphrase(dir string, old, fresh []byte) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("node: passphrase: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return pool.ChangePassphrase(dir, old, fresh)
}

// updateSettings reads the settings of dir, puts what set says in their place, and
// writes them back where that changed something.
func updateSettings(dir string, set Settings) (Settings, error) {
	file := filepath.Join(dir, settingsName)
	var s Settings
	b, err := os.ReadFile(file)
	if err == nil {
		if err := json.Unmarshal(b, &s); err != nil {
			return s, fmt.Errorf("node: %s: %w", file, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("node: settings: %w", err)
	}
	old := s
	if set.Name != "" {
		s.Name = set.Name
	}
	if set.Space != 0 {
		s.Space = set.Space
	}
	if set.Copies != 0 {
		s.Copies = set.Copies
	}
	if set.Lease != 0 {
		s.Lease = set.Lease
	}
	if set.Retention != 0 {
		s.Retention = set.Retention
	}
	if set.Laptop != "" {
		s.Laptop = set.Laptop
	}
	s.Preallocate = s.Preallocate || set.Preallocate
	if cerr := s.check(); cerr != nil {
		return s, cerr
	}
	if s == old && err == nil {
		return s, nil
	}
	if b, err = json.MarshalIndent(s, "", "  "); err != nil {
		return s, fmt.Errorf("node: settings: %w", err)
	}
	return s, replaceFile(file, append(b, '\n'))
}

// replaceFile gives file new content, whole or not at all, also after a crash.
func replaceFile(file string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	d, err := vfs.Default.OpenDir(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open opens the machine in cfg.Dir. It fails with ErrInUse while another process
// has it, and with pool.ErrNoPool where there is none.
func Open(cfg Config) (_ *Machine, err error) {
	m := &Machine{
		cfg: cfg, log: cfg.Logger, outside: outside{fs: vfs.Default, now: time.Now},
		secrets: secrets{wanted: make(chan struct{}, 1)}, rekeying: rekeying{wanted: make(chan struct{}, 1)},
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.background, m.end = context.WithCancel(context.Background())
	if _, err := os.Stat(cfg.Dir); err != nil {
		return nil, fmt.Errorf("node: open: %w", err)
	}
	defer func() {
		if err != nil {
			_ = m.Close()
		}
	}()
	if err := resumeMove(cfg.Dir); err != nil {
		return nil, err
	}
	if m.pool, err = pool.Open(cfg.Dir, cfg.Passphrase); err != nil {
		return nil, fmt.Errorf("node: open: %w", checkRemains(cfg.Dir, err))
	}
	m.lock = flock.New(filepath.Join(cfg.Dir, lockName), flock.SetPermissions(0o600))
	ok, err := m.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("node: lock: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("node: %s: %w", cfg.Dir, ErrInUse)
	}
	if m.settings, err = updateSettings(cfg.Dir, cfg.Set); err != nil {
		return nil, err
	}
	if err := m.openRooms(); err != nil {
		return nil, fmt.Errorf("node: open: %w", err)
	}
	return m, nil
}

// openRooms opens what lies in the directory, from the disk upwards.
func (m *Machine) openRooms() (err error) {
	sealed := index.Config{Key: m.pool.Secret().Derive("aether index")}
	p, err := index.Open(m.fs, filepath.Join(m.cfg.Dir, indexName), sealed)
	if err != nil {
		return err
	}
	m.kv = p
	if err := m.furnish(); err != nil {
		return err
	}
	clean, err := m.openedClean()
	if err != nil {
		return err
	}
	m.core.proving = !clean
	if err := m.core.start(); err != nil {
		return err
	}
	if !clean {
		m.jobs.Go(func() { m.proveHoldings(m.background) })
	}
	m.meetNeighbours()
	m.jobs.Go(func() { m.upkeep(m.background) })
	return nil
}

// furnish opens the rooms above the index. Nothing runs yet.
func (m *Machine) furnish() (err error) {
	m.reads = newReads()
	if m.bodies, err = segment.Open(m.fs, filepath.Join(m.cfg.Dir, segmentsName), m.kv, segment.Config{Space: m.space(), Preallocate: m.settings.Preallocate}); err != nil {
		return err
	}
	if m.keys, err = chunkKeys(m.pool.Ring()); err != nil {
		return err
	}
	m.keys.LimitCompression(drive.ShareOfTime())
	if err := m.alarms.load(m.kv, m.now()); err != nil {
		return err
	}
	if m.tree, err = tree.Open(m.kv, m.pool.Machine); err != nil {
		return err
	}
	if m.core, err = newCore(m); err != nil {
		return err
	}
	m.drive = drive.New(drive.Config{
		KV: m.kv, Tree: m.tree, Keys: m.keys, Bodies: m.bodies, Journal: m.core,
		Holders: m.core.holders, Mine: m.mustKeep, OthersTake: m.othersTake, Space: m.PoolSpace, Fetch: m.fetchBody, Context: m.background,
	})
	if m.names, err = newNameLog(m); err != nil {
		return err
	}
	n, err := m.names.rebuild()
	if err != nil {
		return err
	}
	if n > 0 {
		m.log.Warn("the index was lost and has been made anew", "operations", n)
	}
	if err := m.core.suspect(n); err != nil {
		return err
	}
	return nil
}

// Close ends everything and makes what is open durable. A closed Machine is of no
// use.
func (m *Machine) Close() error {
	m.close.Do(func() {
		errs := []error{m.unmountAll()}
		m.end()
		if m.core != nil {
			errs = append(errs, m.core.stop())
		}
		m.jobs.Wait()
		if m.names != nil {
			if err := m.names.write(); err != nil { // the index has them
				m.log.Warn("names are not in the segments", "error", err)
			}
		}
		if m.bodies != nil {
			errs = append(errs, m.bodies.Close())
		}
		if m.kv != nil {
			errs = append(errs, m.closedClean(errors.Join(errs...)), m.kv.Close())
		}
		if m.left.Load() {
			errs = append(errs, finishMove(m.cfg.Dir))
		}
		if m.lock != nil {
			errs = append(errs, m.lock.Close())
		}
		m.closeErr = errors.Join(errs...)
	})
	return m.closeErr
}

// Left reports whether the machine has left its pool: see [Machine.Leave].
func (m *Machine) Left() bool { return m.left.Load() }

// ID returns the machine's ID.
func (m *Machine) ID() store.MachineID { return m.pool.Machine }

// Pool returns the pool that the machine belongs to.
func (m *Machine) Pool() *pool.Pool { return m.pool }

// Name returns what the machine is called.
func (m *Machine) Name() string {
	if m.settings.Name == "" {
		return defaultName()
	}
	return m.settings.Name
}

func (m *Machine) space() int64 {
	if m.settings.Space == 0 {
		return DefaultSpace
	}
	return m.settings.Space
}

func (m *Machine) copiesWanted() int {
	if m.settings.Copies == 0 {
		return DefaultCopies
	}
	return m.settings.Copies
}

func (m *Machine) laptop() bool {
	if m.settings.Laptop == "" {
		return hasBattery()
	}
	return m.settings.Laptop == "yes"
}

// retention is how long the past is kept.
func (m *Machine) retention() time.Duration {
	switch r := m.settings.Retention; {
	case r == 0:
		return DefaultRetention
	case r < 0:
		return 0
	default:
		return time.Duration(r) * time.Second
	}
}

// Drive returns the drive as this machine sees it.
func (m *Machine) Drive() *drive.Drive { return m.drive }

// copies returns how many of the machines that shall keep e's bytes are known to.
func (m *Machine) copies(e tree.Entry) int {
	n := 0
	_ = m.core.call(m.background, func() { n = m.core.copies(e) })
	return n
}
