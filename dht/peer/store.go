package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
	"github.com/aether-lan/aether/dht/tasks"
)

// store is the loop's side of the records: the engine, who waits for it, and its disk.
type store struct {
	n       *Node
	engine  *records.Engine
	waiting map[records.RequestID]*wanted
	watches map[records.RequestID]*watch
	saving  bool // a batch is with the saver
	// engineOfTasks sees to the tasks among the records that this node leads, of which
	// the watch called tasks tells.
	engineOfTasks *tasks.Engine
	tasks         records.RequestID
}

// job is a batch for the saver.
type job struct {
	batch records.Batch
	seq   uint64
}

// newStore makes the engine from what the disk has.
func newStore(n *Node, seed uint64) (*store, error) {
	s := &store{n: n, waiting: map[records.RequestID]*wanted{}, watches: map[records.RequestID]*watch{}}
	cfg := records.Config{Space: Space(), Self: n.self, Seed: seed, Copies: n.cfg.Copies, MaxBytes: n.cfg.MaxBytes}
	s.engineOfTasks = tasks.New(tasks.Config{Seed: seed})
	rows, failure := n.disk.records()
	var err error
	s.engine, err = records.Restore(cfg, rows)
	if err := errors.Join(failure(), err); err != nil {
		return nil, err
	}
	return s, nil
}

// handle takes a message of another node; false refuses it.
func (s *store) handle(now time.Time, from dht.Peer, body []byte) bool {
	m, err := records.ParseMessage(body)
	if err != nil {
		return false
	}
	s.engine.HandleMessage(now, from, m)
	return true
}

// send hands the engine's messages to the loop.
func (s *store) send(l *loop) {
	for _, p := range s.engine.Outgoing() {
		l.sendTo(p.To, parcel{layerRecords, records.AppendMessage(nil, p.Message)})
	}
}

// save gives the saver what is to be saved, when it has nothing to do: meanwhile, what
// comes gathers for the next sync.
func (s *store) save() {
	if s.saving {
		return
	}
	if b, seq, ok := s.engine.Unsaved(); ok {
		s.saving = true
		s.n.save <- job{b, seq} // has room
	}
}

func (s *store) saved(seq uint64) {
	s.saving = false
	s.engine.Saved(time.Now(), seq)
}

// settled reports whether nothing waits for the disk.
func (s *store) settled() bool { return !s.saving }

// events acts on what the engine tells, and reports whether it told anything.
func (s *store) events() bool {
	list := s.engine.Events()
	log := s.n.cfg.Logger
	for _, e := range list {
		switch e := e.(type) {
		case records.Answered:
			if w := s.waiting[e.Response.ID]; w != nil {
				delete(s.waiting, e.Response.ID)
				w.to <- answered{e.Response, w.early} // has room
			}
		case records.Changed:
			if e.Watch == s.tasks {
				s.handleTask(e.Record)
				continue
			}
			s.tell(e.Watch, change{record: e.Record})
		case records.Ended:
			s.tell(e.Watch, change{moved: true, record: records.Record{Name: e.Name}})
		case records.Lost:
			if e.Watch == s.tasks {
				s.engineOfTasks.HandleLost(time.Now(), e.Name)
				continue
			}
			s.tell(e.Watch, change{moved: true, record: records.Record{Name: e.Name}})
		case records.Led:
			log.Debug("leads", "group", e.Group.String())
		case records.Ceded:
			log.Debug("leads no more", "group", e.Group.String())
		case records.Founded:
			log.Info("first write of the ring", "group", e.Group.String())
		case records.Merged:
			log.Warn("two rings had a record of the same name", "name", e.Kept.Name,
				"kept_version", e.Kept.Version, "dropped_version", e.Dropped.Version)
		case records.Refused:
			log.Debug("refused", "from", e.From.Address, "why", e.Why)
		}
	}
	return len(list) > 0
}

// runSaver saves what the loop gives it. A failed save ends the node: what the disk
// holds is not known.
func (n *Node) runSaver(ctx context.Context) {
	failed := func(err error) {
		n.stop(fmt.Errorf("dht/peer: the disk failed, and the node must stop: %w", err))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.disk.db.disk.Failed():
			failed(named(n.disk.db.disk.Err()))
			return
		case j := <-n.save:
			if err := n.disk.save(j.batch); err != nil {
				failed(err)
				return
			}
			select {
			case n.in.saved <- j.seq:
			case <-ctx.Done():
				return
			}
		}
	}
}

// save makes a batch durable. After an error nobody knows what the disk holds.
func (d *disk) save(list records.Batch) (err error) {
	b := d.db.NewBatch()
	for _, op := range list {
		key := append(keyRecords[:1:1], op.Key...)
		if op.Value == nil {
			err = b.Delete(key, nil)
		} else {
			err = b.Set(key, checked(key, append([]byte(nil), op.Value...)), nil)
		}
		if err != nil {
			return err
		}
	}
	return d.db.commit(b, pebble.Sync)
}

// NewRequestID returns the name of a request that nobody has made.
func NewRequestID() (id records.RequestID) {
	_, _ = rand.Read(id[:]) // does not fail
	return id
}
