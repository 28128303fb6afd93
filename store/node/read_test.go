package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/segment"
)

// ids names n machines.
func ids(n int) (all []store.MachineID) {
	for i := range n {
		all = append(all, store.MachineID{byte(i + 1)})
	}
	return all
}

// answers is an asker whose machines answer after so long: a negative time is one that
// has not got it.
func answers(after ...time.Duration) asker {
	return func(ctx context.Context, peer store.MachineID) ([]byte, error) {
		d := after[peer[0]-1]
		select {
		case <-time.After(max(d, -d)):
			if d < 0 {
				return nil, nil
			}
			return []byte{peer[0]}, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func TestReads_Race(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name  string
		after []time.Duration
		from  byte
		took  time.Duration
	}{
		{"the first is quick", []time.Duration{10 * ms, ms, ms}, 1, 10 * ms},
		{"the first is slow", []time.Duration{900 * ms, 10 * ms, ms}, 2, replicate.HedgeFirst + 10*ms},
		{"two are slow", []time.Duration{900 * ms, 900 * ms, 10 * ms}, 3, 2*replicate.HedgeFirst + 10*ms},
		{"the first has not got it", []time.Duration{-5 * ms, 10 * ms}, 2, 15 * ms},
		{"never more than three at a time", []time.Duration{900 * ms, 900 * ms, 900 * ms, ms}, 1, 900 * ms},
		{"nobody else has it", []time.Duration{400 * ms, -ms, -ms, -ms}, 1, 400 * ms},
		{"nobody has it", []time.Duration{-ms, -2 * ms}, 0, 3 * ms},
		{"nobody is there", nil, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				b, err := newReads().race(t.Context(), ids(len(c.after)), answers(c.after...))
				if took := time.Since(began); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if c.from == 0 {
					if !errors.Is(err, drive.ErrUnreachable) {
						t.Errorf("err = %v", err)
					}
				} else if err != nil || !bytes.Equal(b, []byte{c.from}) {
					t.Errorf("from %v, %v, want %d", b, err, c.from)
				}
				synctest.Wait()
			})
		})
	}
}

// Who waits no longer is not answered, and no goroutine stays.
func TestReads_RaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 120*time.Millisecond)
		defer cancel()
		r := newReads()
		_, err := r.race(ctx, ids(3), answers(time.Hour, time.Hour, time.Hour))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
	})
}

// A holder whose chunks have rotted, or that lies, is found out, named and routed
// round; what is read is right.
func TestRead_RottenHolder(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	c := serve(t, filepath.Join(dir, "c"), secret, a.addr, b.addr)
	hosts := []*host{a, b, c}
	for _, h := range hosts {
		eventually(t, "all are connected", func() bool { return len(h.sources(nil)) == 2 })
		eventually(t, "all know all", func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.Machines) == 3
		})
	}
	var far []string // files that c does not keep
	for i := 0; len(far) < 4; i++ {
		n := fmt.Sprint("f", i)
		a.put(t, n, randomBytes(byte(i), 300<<10))
		eventually(t, "c knows it", func() bool { return len(c.names(t)) == i+1 })
		if n = "/" + n; !slices.Contains(c.holders(t, n), c.ID()) {
			far = append(far, n)
		}
	}
	c.flush(t)
	rot(t, b.Machine)
	for _, n := range far {
		var i byte
		_, _ = fmt.Sscanf(n, "/f%d", &i)
		if got := c.cat(t, n); !bytes.Equal(got, randomBytes(i, 300<<10)) {
			t.Errorf("%s: wrong bytes", n)
		}
	}
	s, err := c.client.Status(t.Context())
	if err != nil || len(s.Faults) != 1 || s.Faults[0].Machine != b.ID() || s.Faults[0].What != FaultRot {
		t.Fatalf("faults %+v, %v", s.Faults, err)
	}
	if s.Faults[0].Count > 3 {
		t.Errorf("it was asked again %d times", s.Faults[0].Count)
	}
	c.await(t, func(ev Event) bool { return ev.Kind == EventFault && ev.Machine == b.ID() })
}

// rot replaces every chunk of a machine by other bytes of the same length.
func rot(t *testing.T, m *Machine) {
	t.Helper()
	var refs []store.Ref
	if err := m.bodies.Each(store.Ref{}, func(ref store.Ref, _ int64, c segment.Class) bool {
		if c != segment.Log {
			refs = append(refs, ref)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, ref := range refs {
		body, err := m.bodies.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		body[len(body)/2] ^= 1
		if err := errors.Join(m.bodies.Delete(ref), m.bodies.Put(ref, body, segment.Replica)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaults_Bounded(t *testing.T) {
	var f faults
	now := time.Now()
	for i := range maxFaults + 5 {
		f.note(now.Add(time.Duration(i)), store.MachineID{byte(i >> 8), byte(i)}, FaultRot, "x")
	}
	if all := f.list(); len(all) != maxFaults || all[len(all)-1].Machine != (store.MachineID{0, 5}) {
		t.Errorf("%d faults, the oldest of %v", len(all), all[len(all)-1].Machine)
	}
	if f.note(now, store.MachineID{1, 4}, FaultRot, "y") {
		t.Error("the same again is a new one")
	}
}
