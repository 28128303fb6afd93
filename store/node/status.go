package node

import (
	"context"
	"errors"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/tree"
)

// Status is the state of a machine and of the pool as the machine sees it. The
// first question it answers is whether the data is safe: FullyReplicated against
// Files, and Pending.
type Status struct {
	// Pool is the public ID of the pool.
	Pool string `json:"pool"`
	// Machine is this machine.
	Machine store.MachineID `json:"machine"`
	// Name is what this machine is called.
	Name string `json:"name"`
	// Dir is the machine's directory.
	Dir string `json:"dir"`
	// Running says whether a node serves the machine now.
	Running bool `json:"running"`
	// Listen is where other machines reach the node; empty when none runs.
	Listen string `json:"listen,omitempty"`
	// WebDAV is the address of the WebDAV face; empty when there is none.
	WebDAV string `json:"webdav,omitempty"`
	// Metrics is where the state is served for Prometheus; empty when it is not.
	Metrics string `json:"metrics,omitempty"`
	// Mounts are the directories that show the drive.
	Mounts []string `json:"mounts,omitempty"`
	// Machines are the members that this one knows, itself included.
	Machines []MachineStatus `json:"machines"`
	// Files counts files, conflict copies included; Bytes adds up their sizes.
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Copies is how many machines shall keep each file.
	Copies int `json:"copies"`
	// FullyReplicated counts the files whose holders all are known to keep them,
	// as many holders as Copies asks.
	FullyReplicated int64 `json:"fully_replicated"`
	// Pending counts files that this machine still has to fetch.
	Pending int64 `json:"pending"`
	// Conflicts counts the conflict copies shown.
	Conflicts int64 `json:"conflicts"`
	// Space is the room on this machine.
	Space Space `json:"space"`
	// Drive is how large the whole drive is.
	Drive DriveSpace `json:"drive"`
	// Balance is how far this machine has come with giving files other holders.
	Balance Balance `json:"balance"`
	// State is how the whole is, in one of six words, and Reason says why where it is not
	// plain.
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Census is how many copies the files have, counted a moment ago.
	Census `json:"census"`
	// Queue is what this machine has to fetch.
	Queue Queue `json:"queue"`
	// Received and Sent are the bytes of chunks that came from other machines and went to
	// them.
	Received Flow `json:"received"`
	Sent     Flow `json:"sent"`
	// Rekey is how far the sealing anew has come, as of the last look; nil where it was
	// never ordered.
	Rekey *Rekey `json:"rekey,omitempty"`
	// Clock is how the clock of this machine compares with those of others.
	Clock Clock `json:"clock"`
	// Alarms are what is wrong, oldest first.
	Alarms []Alarm `json:"alarms"`
	// Faults are what other machines did that an honest and healthy one does not.
	Faults []Fault `json:"faults,omitempty"`
	// Refused are the machines that did not come in, or did not let this one in, the
	// newest first.
	Refused []Refusal `json:"refused,omitempty"`
}

// DriveSpace is the size of the whole drive in bytes, each byte counted once however
// many machines keep it; see [Machine.PoolSpace].
type DriveSpace struct {
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
}

// Queue is what a machine has to fetch.
type Queue struct {
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
	// Seconds is about how long it will take, at the rate of now; 0 when nobody can say.
	Seconds int64 `json:"seconds,omitempty"`
}

// Flow is bytes since the machine was opened, and how many a second of late.
type Flow struct {
	Bytes int64 `json:"bytes"`
	Rate  int64 `json:"rate"`
}

// Space is the room that a machine sets aside, in bytes.
type Space struct {
	Total    int64 `json:"total"`
	Replicas int64 `json:"replicas"`
	Cache    int64 `json:"cache"`
	Free     int64 `json:"free"`
}

// MachineStatus is a member as another one sees it.
type MachineStatus struct {
	ID        store.MachineID `json:"id"`
	Name      string          `json:"name"`
	Self      bool            `json:"self"`
	Connected bool            `json:"connected"`
	// State is how it is, as this machine sees it.
	State   State  `json:"state"`
	Address string `json:"address,omitempty"`
	Space   uint64 `json:"space"`
	// LastSeen is when a connection to it last stood; zero when never.
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Room is how it uses its space, and Queue what it has to fetch, as it last told; of
	// this machine as it is. A Room without a Total is not known.
	Room  Space `json:"room"`
	Queue Queue `json:"queue"`
	// Lag is what it should keep and is not known to; see [Census].
	Lag Queue `json:"lag"`
}

// Status returns the machine's state and what it knows of the pool. It takes the same
// short time however many files there are; see [Census].
func (m *Machine) Status(ctx context.Context) (Status, error) {
	s := m.Summary()
	now := m.now()
	s.Alarms, _ = m.alarms.list(now)
	s.Rekey = m.rekeyState()
	s.Clock = m.clocks.status()
	u := m.usage()
	s.Refused = m.refusals.all()
	s.Space = Space{Total: u.Space, Replicas: u.Replicas, Cache: u.Cache, Free: u.Free}
	s.Received.Bytes, s.Received.Rate = m.traffic.received.read(now)
	s.Sent.Bytes, s.Sent.Rate = m.traffic.sent.read(now)
	s.Faults = m.faults.list()
	err := m.core.call(ctx, func() {
		files, bytes := m.core.copying.Pending()
		s.Pending, s.Queue = int64(files), Queue{Files: int64(files), Bytes: bytes}
		s.Machines = m.machines()
		s.Copies = m.core.wanted(m.kv, func() (store.FileID, error) { return tree.Root, nil })
	})
	if err != nil {
		return s, err
	}
	s.Drive.Total, s.Drive.Free = m.PoolSpace()
	if s.Received.Rate > 0 {
		s.Queue.Seconds = (s.Queue.Bytes + s.Received.Rate - 1) / s.Received.Rate
	}
	if s.Census, err = m.count(ctx); err != nil {
		return s, err
	}
	for i := range s.Machines {
		x := &s.Machines[i]
		x.Lag = s.lag[x.ID]
		if x.Self {
			x.Room, x.Queue, x.Lag = s.Space, s.Queue, s.Queue
		}
	}
	totals, err := m.tree.Totals(m.kv)
	s.Balance = m.balanceState(totals.Files)
	s.Files, s.Bytes, s.Conflicts, s.FullyReplicated = totals.Files, totals.Bytes, totals.Conflicts, s.Whole
	s.judge()
	return s, err
}

// machines lists the members. It runs alone with the core.
func (m *Machine) machines() []MachineStatus {
	var out []MachineStatus
	mesh := m.mesh.Load()
	for _, x := range m.core.members.list() {
		ms := MachineStatus{ID: x.ID, Name: x.Name, Space: x.Space, Self: x.ID == m.ID()}
		if seen := m.core.members.byID[x.ID].Seen; seen != 0 {
			ms.LastSeen = time.UnixMilli(seen).UTC()
		}
		if mesh != nil {
			if c := mesh.Conn(link.PeerID(x.ID)); c != nil {
				ms.Connected, ms.Address = true, c.RemoteAddr().String()
			}
		}
		told := m.core.soft.of[x.ID]
		if u := told.Usage; u != nil {
			ms.Room = Space{Total: u.Space, Replicas: u.Replicas, Cache: u.Cache, Free: u.Free}
		}
		ms.Queue = Queue{Files: told.Queue.Files, Bytes: told.Queue.Bytes}
		out = append(out, ms)
	}
	return out
}

// replicated counts the files at and below p of which as many holders as they
// shall have are known to keep the bytes.
func (m *Machine) replicated(ctx context.Context, p string) (int64, error) {
	var full int64
	var batch []tree.Entry
	flush := func() error {
		err := m.core.call(ctx, func() {
			for _, e := range batch {
				if m.core.replicated(e) {
					full++
				}
			}
		})
		batch = batch[:0]
		return err
	}
	var inner error
	err := m.tree.Walk(m.kv, p, func(e tree.Entry) bool {
		if !e.Dir {
			batch = append(batch, e)
		}
		if len(batch) == statusBatch {
			inner = flush()
		}
		return inner == nil
	})
	return full, errors.Join(err, inner, flush())
}

// statusBatch is how many files are looked at in one turn of the core.
const statusBatch = 256

// flushInterval is how often Flush looks.
const flushInterval = 100 * time.Millisecond

// Flush waits until every file at and below p has the copies that it shall have.
func (m *Machine) Flush(ctx context.Context, p string) error {
	p, err := drive.Clean(p)
	if err != nil {
		return err
	}
	for {
		top, err := m.drive.Stat(p)
		if err != nil {
			return err
		}
		var files, full int64
		if top.Dir {
			full, err = m.replicated(ctx, p)
			if err == nil {
				files, err = m.countFiles(p)
			}
		} else {
			files = 1
			err = m.core.call(ctx, func() {
				if m.core.replicated(top) {
					full = 1
				}
			})
		}
		if err != nil || full >= files {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(flushInterval):
		}
	}
}

func (m *Machine) countFiles(p string) (n int64, err error) {
	err = m.tree.Walk(m.kv, p, func(e tree.Entry) bool {
		if !e.Dir {
			n++
		}
		return true
	})
	return n, err
}

// Summary is the part of the Status that costs nothing.
func (m *Machine) Summary() Status {
	s := Status{Pool: m.pool.ID.String(), Machine: m.ID(), Name: m.Name(), Dir: m.cfg.Dir, Copies: m.copiesWanted(), Mounts: m.Mounts()}
	if sv := m.serving.Load(); sv != nil {
		s.Running, s.Listen = true, sv.listen.String()
		if sv.webdav.IsValid() {
			s.WebDAV = "http://" + sv.webdav.String() + "/"
		}
		if sv.metrics.IsValid() {
			s.Metrics = "http://" + sv.metrics.String() + "/metrics"
		}
	}
	return s
}

// NameOf returns what a machine is called, or the short form of its ID.
func (m *Machine) NameOf(id store.MachineID) string {
	name := id.Short()
	_ = m.core.call(m.background, func() { name = m.core.nameOf(id) })
	return name
}
