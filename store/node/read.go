package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/segment"
)

// maxHedged is how many machines are asked for one chunk at the same time.
const maxHedged = 3

// reads decides whom to ask for chunks that somebody waits for. It is safe for
// concurrent use.
type reads struct {
	mu      sync.Mutex
	sources replicate.Sources
	rng     *rand.Rand
}

func newReads() *reads {
	return &reads{rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

func (r *reads) order(ids, likely []store.MachineID) []store.MachineID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sources.Order(time.Now(), ids, likely, r.rng)
}

// asked notes that peer is asked and returns how long to wait before another is, too.
func (r *reads) asked(now time.Time, peer store.MachineID) (patience time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	patience = r.sources.Hedge(peer)
	r.sources.Asked(now, peer)
	return patience
}

// ended notes how a request that began at began ended.
func (r *reads) ended(began time.Time, peer store.MachineID, answered bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if answered {
		r.sources.Answered(now, peer, now.Sub(began))
	} else {
		r.sources.GaveUp(now, peer, now.Sub(began))
	}
}

func (r *reads) wrong(now time.Time, peer store.MachineID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources.Wrong(now, peer)
}

// got is what became of asking one machine for a chunk.
type got struct {
	body []byte // nil: it has not got it
	err  error
}

// fetchBody brings one chunk that is not here: from one of its holders, else from any
// machine that is connected. Who is likely to be quickest is asked first; when it takes
// longer than usual a second one is asked besides, and the slower of the two is told
// that it is no longer wanted. The chunk is kept as cache when there is room.
func (m *Machine) fetchBody(ctx context.Context, ref store.Ref, holders []store.MachineID) ([]byte, error) {
	order, ask := m.reads.order, m.reads.race
	if m.single {
		order, ask = m.inTurn, oneByOne
	}
	body, err := ask(ctx, order(m.sources(nil), holders), func(ctx context.Context, peer store.MachineID) (body []byte, err error) {
		err = m.ask(ctx, peer, []store.Ref{ref}, func(_ store.Ref, b []byte) error {
			body = append(make([]byte, 0, len(b)), b...)
			return nil
		})
		return body, err
	})
	if err != nil {
		return nil, fmt.Errorf("node: chunk %.8s: %w", ref, err)
	}
	// A full disk is no reason not to read: the chunk is only not kept.
	_ = m.drive.Keep(ref, body, segment.Cache)
	return body, nil
}

// asker asks a machine for a chunk; a nil body says that it has not got it.
type asker func(ctx context.Context, peer store.MachineID) (body []byte, err error)

// race asks the machines of order, at most maxHedged at the same time, and returns what
// comes first. It fails with drive.ErrUnreachable when nobody has it.
func (r *reads) race(ctx context.Context, order []store.MachineID, ask asker) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the losers
	answers := make(chan got, len(order))
	patience := time.NewTimer(time.Hour)
	defer patience.Stop()
	var errs []error
	for under := 0; under > 0 || len(order) > 0; {
		if len(order) > 0 && under < maxHedged {
			patience.Reset(r.begin(ctx, order[0], ask, answers))
			order = order[1:]
			under++
		}
		for waiting := true; waiting; {
			select {
			case a := <-answers:
				if a.body != nil {
					return a.body, nil
				}
				if a.err != nil {
					errs = append(errs, a.err)
				}
				under--
				waiting = under > 0 && len(order) == 0
			case <-patience.C:
				waiting = len(order) == 0 || under >= maxHedged
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	return nil, errors.Join(append(errs, drive.ErrUnreachable)...)
}

// inTurn is the order of a simulation, which must be the same each time.
func (m *Machine) inTurn(_, likely []store.MachineID) []store.MachineID {
	return m.sources(likely)
}

// oneByOne is race without a goroutine.
func oneByOne(ctx context.Context, order []store.MachineID, ask asker) ([]byte, error) {
	errs := []error{drive.ErrUnreachable}
	for _, peer := range order {
		body, err := ask(ctx, peer)
		if body != nil {
			return body, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// begin asks one machine and returns how long to wait for it alone.
func (r *reads) begin(ctx context.Context, peer store.MachineID, ask asker, answers chan<- got) (patience time.Duration) {
	began := time.Now()
	patience = r.asked(began, peer)
	go func() {
		var a got
		a.body, a.err = ask(ctx, peer)
		r.ended(began, peer, a.body != nil)
		answers <- a
	}()
	return patience
}
