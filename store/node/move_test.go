package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/aether-lan/aether/store/pool"
)

// A machine that is alone with an empty drive may change its mind; one with a file, or
// that has met another, may not.
func TestJoin_GivesUpAPoolWithNothingInIt(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	a.put(t, "letter", []byte("welcome"))
	b := serve(t, filepath.Join(dir, "b"), pool.Secret{})
	old := b.ID()
	i := invite(t, a)
	how := JoinConfig{Code: i.code(t), At: i.at()}
	if _, err := a.Rejoin(t.Context(), how); !errors.Is(err, pool.ErrExists) {
		t.Errorf("a machine with a file joins: %v", err)
	}
	j, err := b.client.Join(t.Context(), how)
	if err != nil || j.Pool != a.Pool().ID || j.Machine == old {
		t.Fatalf("joined %+v, %v", j, err)
	}
	if err := i.end(t); err != nil {
		t.Error(err)
	}
	b.stop()
	b = serve(t, filepath.Join(dir, "b"), pool.Secret{})
	if b.ID() != j.Machine || b.Pool().ID != a.Pool().ID {
		t.Errorf("machine %v in pool %v", b.ID(), b.Pool().ID)
	}
	eventually(t, "the letter", func() bool { return len(b.names(t)) == 1 })
	if _, err := b.Rejoin(t.Context(), how); !errors.Is(err, pool.ErrExists) {
		t.Errorf("a machine that knows another joins: %v", err)
	}
}

// Wherever a crash interrupts the way from one pool into another, the next start ends
// it: before the mark the machine is in the old pool, after it in the new one.
func TestMove_EndsAfterACrash(t *testing.T) {
	for step := range 7 {
		dir := filepath.Join(t.TempDir(), "m")
		m := open(t, dir, pool.Secret{})
		old := m.Pool().ID
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		joining := filepath.Join(dir, joiningName)
		p, err := pool.Create(joining, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := p.ID
		must := func(err error) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		crash := []func(){
			func() { want = old },
			func() { must(os.WriteFile(filepath.Join(dir, leftName), []byte(joiningText), 0o600)) },
			func() { must(os.Remove(filepath.Join(dir, pool.SecretFile))) },
			func() {
				must(os.RemoveAll(filepath.Join(dir, indexName)))
				must(os.Remove(filepath.Join(dir, pool.KeyFile)))
			},
			func() {
				must(os.RemoveAll(filepath.Join(dir, segmentsName)))
				must(os.Rename(filepath.Join(dir, leftName), filepath.Join(joining, readyName)))
			},
			func() { must(os.Rename(filepath.Join(joining, pool.KeyFile), filepath.Join(dir, pool.KeyFile))) },
			func() { must(os.Rename(filepath.Join(joining, pool.SecretFile), filepath.Join(dir, pool.SecretFile))) },
		}
		want = old
		for n := range step + 1 {
			crash[n]()
			if n >= 1 {
				want = p.ID
			}
		}
		m, err = Open(Config{Dir: dir, Set: Settings{Space: 1 << 30}})
		if err != nil {
			t.Errorf("step %d: %v", step, err)
			continue
		}
		if m.Pool().ID != want {
			t.Errorf("step %d: pool %v, want %v", step, m.Pool().ID, want)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(joining); step > 0 && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("step %d: what was moved is still there: %v", step, err)
		}
	}
}
