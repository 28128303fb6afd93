package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// inviting is an invitation under way.
type inviting struct {
	InviteEvent
	events chan InviteEvent
	result chan error
	stop   func()
}

func invite(t *testing.T, h *host) *inviting {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	i := &inviting{events: make(chan InviteEvent, 16), result: make(chan error, 1), stop: cancel}
	t.Cleanup(cancel)
	go func() { i.result <- h.Invite(ctx, func(ev InviteEvent) { i.events <- ev }) }()
	select {
	case i.InviteEvent = <-i.events:
	case err := <-i.result:
		t.Fatal(err)
	}
	return i
}

// at is where the invitation is.
func (i *inviting) at() string { return i.Addresses[0].String() }

func (i *inviting) code(t *testing.T) pool.Code {
	t.Helper()
	c, err := pool.ParseCode(i.Code)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (i *inviting) next(t *testing.T, kind string) InviteEvent {
	t.Helper()
	select {
	case ev := <-i.events:
		if ev.Kind != kind {
			t.Errorf("event %+v, want %s", ev, kind)
		}
		return ev
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", kind)
		return InviteEvent{}
	}
}

func (i *inviting) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-i.result:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the invitation does not end")
		return nil
	}
}

func TestInvite_AMachineJoinsAndGetsTheFiles(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	a.put(t, "letter", []byte("welcome"))
	i := invite(t, a)
	if got := time.Until(i.Expires); got > inviteTime || got < inviteTime-time.Minute {
		t.Errorf("it expires in %v", got)
	}
	pass := []byte("correct horse")
	j, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "b"), Passphrase: pass, Set: Settings{Name: "bob", Space: 1 << 30}},
		JoinConfig{Code: i.code(t), At: i.at()})
	if err != nil {
		t.Fatal(err)
	}
	if j.Pool != a.Pool().ID || j.Inviter != a.ID() || j.InviterName != a.Name() || j.Members != 1 {
		t.Errorf("joined %+v", j)
	}
	if ev := i.next(t, "joined"); ev.Machine != j.Machine || ev.Name != "bob" {
		t.Errorf("the inviter says %+v", ev)
	}
	if err := i.end(t); err != nil {
		t.Errorf("the invitation ended with %v", err)
	}
	if _, err := pool.Open(filepath.Join(dir, "b"), nil); !errors.Is(err, pool.ErrPassphrase) {
		t.Errorf("the files are not sealed: %v", err)
	}
	if err := pool.ChangePassphrase(filepath.Join(dir, "b"), pass, nil); err != nil {
		t.Fatal(err)
	}
	b := serve(t, filepath.Join(dir, "b"), pool.Secret{}) // it knows by itself where a is
	eventually(t, "the letter at bob", func() bool { return len(b.names(t)) == 1 })
	if got := b.cat(t, "/letter"); string(got) != "welcome" {
		t.Errorf("letter %q", got)
	}
	if c := a.certificateOf(b.ID()); c == nil || c.Issuer != a.ID() || c.Name != "bob" {
		t.Errorf("a saw the certificate %+v", c)
	}
}

func TestInvite_OneMachineACode(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	i := invite(t, a)
	if err := a.Invite(t.Context(), func(InviteEvent) {}); !errors.Is(err, ErrInviting) {
		t.Errorf("a second invitation: %v", err)
	}
	how := JoinConfig{Code: i.code(t), At: i.at()}
	if _, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "b")}, how); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "c")}, how); err == nil {
		t.Error("a second machine joined with the same code")
	}
	if err := i.end(t); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "b")}, how); !errors.Is(err, pool.ErrExists) {
		t.Errorf("a machine of a pool joins: %v", err)
	}
}

func TestInvite_ThreeWrongCodesEndIt(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	i := invite(t, a)
	cfg := Config{Dir: filepath.Join(dir, "b")}
	for left := inviteTries - 1; left >= 0; left-- {
		if _, err := Join(t.Context(), cfg, JoinConfig{Code: pool.NewCode(), At: i.at()}); !errors.Is(err, ErrCode) {
			t.Fatalf("with a wrong code: %v", err)
		}
		if ev := i.next(t, "wrong_code"); ev.TriesLeft != left {
			t.Errorf("%d tries left, want %d", ev.TriesLeft, left)
		}
	}
	if err := i.end(t); !errors.Is(err, ErrWrongTries) {
		t.Errorf("the invitation ended with %v", err)
	}
	if _, err := Join(t.Context(), cfg, JoinConfig{Code: i.code(t), At: i.at()}); err == nil {
		t.Error("the right code is of use after three wrong ones")
	}
	if _, err := pool.Open(cfg.Dir, nil); !errors.Is(err, pool.ErrNoPool) {
		t.Errorf("the machine is in a pool: %v", err)
	}
	if len(a.refusals.all()) == 0 || a.refusals.all()[0].Reason != "wrong code" {
		t.Errorf("refusals %+v", a.refusals.all())
	}
}

func TestInvite_NeedsANode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	if _, err := Init(Config{Dir: dir}, pool.Secret{}); err != nil {
		t.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Invite(t.Context(), func(InviteEvent) {}); !errors.Is(err, ErrNotServing) {
		t.Errorf("Invite = %v", err)
	}
}

func TestInvite_EndsAfterTenMinutes(t *testing.T) {
	m := &Machine{pool: aPool(t)}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := newInvitation(m, pool.NewCode(), func(InviteEvent) {}).run(t.Context(), newPipeListener())
		if d := time.Since(start); !errors.Is(err, ErrExpired) || d != 10*time.Minute {
			t.Errorf("it ended after %v with %v", d, err)
		}
	})
}

func TestInvite_EndsWhenItsPersonDoesNotWait(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.Secret{})
	i := invite(t, a)
	i.stop()
	if err := i.end(t); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if _, err := net.Dial("tcp", i.at()); err == nil {
		t.Error("it still listens")
	}
}

func aPool(t *testing.T) *pool.Pool {
	t.Helper()
	p, err := pool.Create(filepath.Join(t.TempDir(), "p"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newIdentity is a machine that nobody knows.
func newIdentity(t *testing.T) *link.Identity {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := link.NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A machine in the middle has a connection with either end. It passes on what both
// prove, word for word; it gets nowhere, and has used up a try.
func TestInvite_AMachineInTheMiddleGetsNowhere(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	i := invite(t, a)
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	middle := make(chan error, 1)
	go func() {
		nc, err := between.Accept()
		if err != nil {
			middle <- err
			return
		}
		_, err = link.Server(t.Context(), nc, link.Config{
			Identity: newIdentity(t), Protocol: joinProtocol,
			Admit: link.Admit{
				Check: func(_ link.Session, proof []byte) error { return passOn(t, i.Addresses[0], proof) },
				Prove: func(link.Session) ([]byte, error) { return make([]byte, 32), nil },
			},
		})
		middle <- err
	}()
	cfg := Config{Dir: filepath.Join(dir, "b")}
	if _, err := Join(t.Context(), cfg, JoinConfig{Code: i.code(t), At: between.Addr().String()}); !errors.Is(err, ErrCode) {
		t.Errorf("joined by way of another: %v", err)
	}
	if err := <-middle; err == nil || !strings.Contains(err.Error(), "turned away") {
		t.Errorf("the machine in the middle: %v", err)
	}
	if ev := i.next(t, "wrong_code"); ev.TriesLeft != inviteTries-1 {
		t.Errorf("heard %+v", ev)
	}
	if _, err := Join(t.Context(), cfg, JoinConfig{Code: i.code(t), At: i.at()}); err != nil {
		t.Errorf("joined without another between: %v", err)
	}
}

// passOn presents a proof that somebody else made to the machine at addr.
func passOn(t *testing.T, addr netip.AddrPort, proof []byte) error {
	c, err := link.Dial(t.Context(), addr, link.PeerID{}, link.Config{
		Identity: newIdentity(t), Protocol: joinProtocol,
		Admit: link.Admit{
			Prove: func(link.Session) ([]byte, error) { return proof, nil },
			Check: func(link.Session, []byte) error { return nil },
		},
	})
	if err != nil {
		return err
	}
	return errors.Join(errors.New("the proof was taken"), c.Close())
}

// What was said on one connection is of no use on the next, to the same machine even.
func TestInvite_AProofIsGoodForOneConnection(t *testing.T) {
	m := &Machine{pool: aPool(t)}
	code := pool.NewCode()
	inv := newInvitation(m, code, func(InviteEvent) {})
	guest := newIdentity(t)
	var recorded []byte
	connect := func(prove func(link.Session) ([]byte, error)) error {
		here, there := net.Pipe()
		id, err := link.NewIdentity(m.pool.Key())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := link.Server(t.Context(), there, link.Config{Identity: id, Protocol: joinProtocol,
				Admit: link.Admit{Prove: inv.proof.prove, Check: inv.check}})
			done <- err
		}()
		own := codeProof{code: code}
		_, _ = link.Client(t.Context(), here, link.PeerID{}, link.Config{Identity: guest, Protocol: joinProtocol,
			Admit: link.Admit{Prove: prove, Check: own.check}})
		return <-done
	}
	proof := codeProof{code: code}
	if err := connect(func(s link.Session) ([]byte, error) {
		p, err := proof.prove(s)
		recorded = p
		return p, err
	}); err != nil {
		t.Fatal(err)
	}
	if err := connect(func(link.Session) ([]byte, error) { return recorded, nil }); !errors.Is(err, errWrongCode) {
		t.Errorf("the same proof again: %v", err)
	}
	if inv.tries != inviteTries-1 {
		t.Errorf("%d tries left", inv.tries)
	}
}

// Who asks without a word of code, or for what there is not, harms nobody.
func TestInvite_NonsenseOnThePort(t *testing.T) {
	dir := t.TempDir()
	a := serve(t, filepath.Join(dir, "a"), pool.Secret{})
	i := invite(t, a)
	for n := range byte(6) {
		c, err := net.Dial("tcp", i.at())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(randomBytes(n, 2000))
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	g := &guest{code: codeProof{code: i.code(t)}}
	_, g.key, _ = ed25519.GenerateKey(nil)
	conn, err := g.dialAny(t.Context(), i.Addresses)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, req := range []link.Message{{Method: 77}, {Method: methodJoin, Header: []byte("x")}, {Method: methodJoin, Header: []byte{0x83, 0x01, 0x60, 0x00}}, {Method: methodJoin, Header: []byte{0x83, 0x09, 0x61, 'a', 0x00}}} {
		if _, err := conn.Call(t.Context(), req); err == nil {
			t.Errorf("%+v was answered", req)
		}
	}
	if resp, err := conn.Call(t.Context(), link.Message{Method: methodJoined}); err != nil {
		t.Error(err)
	} else {
		resp.Release()
	}
	select {
	case err := <-i.result:
		t.Errorf("it ended though nobody has joined: %v", err)
	default:
	}
	if peer := store.MachineID(conn.Peer()); peer != a.ID() {
		t.Errorf("answered by %v", peer)
	}
	if r, err := g.ask(t.Context(), conn); err != nil || r.first != a.Pool().Secret() || len(r.later) != 0 {
		t.Errorf("a good request after bad ones: %v", err)
	}
}
