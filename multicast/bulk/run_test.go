package bulk

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/multicast/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A file goes to two receivers of this machine over the loopback interface, sealed.
func TestSend_TwoReceiversOnLoopback(t *testing.T) {
	dir, secret := t.TempDir(), &seal.Secret{3}
	content := randomBytes(8, 3<<20+17)
	path := filepath.Join(dir, "object.bin")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	group := netip.MustParseAddrPort("239.255.33.7:47471")
	var wg sync.WaitGroup
	listening := make(chan bool, 2)
	for _, name := range []string{"a", "b"} {
		in := filepath.Join(dir, name)
		if err := os.Mkdir(in, 0o755); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			list, err := Receive(ctx, ReceiveConfig{
				Interface: "lo", Group: group, Dir: in, Name: name, Secret: secret,
				Event: func(e Event) {
					if _, is := e.(Listening); is {
						listening <- true
					}
				},
			})
			got, readErr := os.ReadFile(filepath.Join(in, "object.bin"))
			if err != nil || readErr != nil || len(list) != 1 || !bytes.Equal(got, content) {
				t.Errorf("%s: %+v, %v, %v, %d bytes", name, list, err, readErr, len(got))
			}
		})
	}
	<-listening
	<-listening
	r, err := Send(ctx, SendConfig{Interface: "lo", Group: group, Receivers: 2, Secret: secret}, path)
	wg.Wait()
	if err != nil || len(r.Receivers) != 2 || !r.Receivers[0].OK || !r.Receivers[1].OK || r.Sent < uint64(len(content)) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSend_EndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "object.bin")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Send(ctx, SendConfig{
		Interface: "lo", Group: netip.MustParseAddrPort("239.255.33.8:47472"),
		Event: func(e Event) {
			if _, is := e.(Offering); is {
				cancel()
			}
		},
	}, path)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Send = %v", err)
	}
}

// pulled fetches section s of o from server with secret.
func pulled(t *testing.T, server *pullServer, o *Object, secret *seal.Secret, section int) (Piece, error) {
	t.Helper()
	p, err := newPuller(o.Root, secret, rand.Reader, &conn{zone: "lo"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	w := Want{Section: section, Sources: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.port())}}
	for b := range o.Blocks(section) {
		if b%3 != 0 {
			w.Blocks[b/8] |= 1 << (b % 8)
		}
	}
	piece, _, err := p.fetch(t.Context(), &w)
	return piece, err
}

func TestPull_GivesVerifiedSectionsToMembersOnly(t *testing.T) {
	content := randomBytes(1, 3*SectionBlocks*MinBlock+100)
	o, tree, err := Describe("x", bytes.NewReader(content), int64(len(content)), MinBlock)
	if err != nil {
		t.Fatal(err)
	}
	secret := &seal.Secret{1}
	sh := new(shelf)
	server, err := listenPull(t.Context(), netip.MustParseAddr("127.0.0.1"), "lo", secret, rand.Reader, sh)
	if err != nil {
		t.Fatal(err)
	}
	defer server.close()
	if _, err := pulled(t, server, &o, secret, 0); err == nil {
		t.Error("an empty shelf gave something away")
	}
	sh.show(&o, func(section int, blocks [SectionBlocks / 8]byte) (Piece, bool, error) {
		p, err := cut(&o, bytes.NewReader(content), section, blocks)
		p.Proof = tree.Proof(section)
		return p, section != 2, err
	})
	p, err := pulled(t, server, &o, secret, 3)
	if err != nil || !bytes.Equal(p.Content, content[o.Offset(3)+MinBlock:]) {
		t.Errorf("%d bytes of section 3, %v", len(p.Content), err)
	}
	leaf := HashSection(content[o.Offset(3):])
	if !VerifySection(o.Root, leaf, 3, o.Sections(), p.Proof) {
		t.Error("section 3 came without its proof")
	}
	if _, err := pulled(t, server, &o, secret, 2); err == nil {
		t.Error("a section that is not there was given")
	}
	for _, other := range []*seal.Secret{nil, {2}} {
		if _, err := pulled(t, server, &o, other, 0); err == nil {
			t.Errorf("somebody with the secret %v was served", other)
		}
	}
	if server.refused.Load() == 0 {
		t.Error("nothing is counted")
	}
	sh.mu.Lock()
	sh.served[netip.MustParseAddr("127.0.0.1")] += 100 * o.Size
	sh.mu.Unlock()
	if _, err := pulled(t, server, &o, secret, 0); err == nil {
		t.Error("who had its share a hundred times was served")
	}
}

func openDir(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// An unfinished file is gone on with: what its state says is verified again.
func TestPartial_TakesOnlyWhatIsTrue(t *testing.T) {
	root := openDir(t)
	content := randomBytes(2, 4*SectionBlocks*MinBlock)
	o, tree, err := Describe("x", bytes.NewReader(content), int64(len(content)), MinBlock)
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPartial(root, o, false)
	if err != nil {
		t.Fatal(err)
	}
	for s := range 3 {
		if _, err := p.WriteAt(content[o.Offset(s):o.Offset(s+1)], o.Offset(s)); err != nil {
			t.Fatal(err)
		}
		if err := p.note(SectionDone{Section: s, Proof: tree.Proof(s)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.WriteAt([]byte("damage"), o.Offset(1)); err != nil { // the disk lied
		t.Fatal(err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if p, err = openPartial(root, o, false); err != nil {
		t.Fatal(err)
	}
	if have := bitmap(p.have()); !have.has(0) || have.has(1) || !have.has(2) || have.has(3) {
		t.Errorf("goes on with %08b", have)
	}
	if _, err := p.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.complete(); err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if got, err := root.ReadFile("x"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for _, name := range []string{"x" + partSuffix, "x" + stateSuffix} {
		if _, err := root.Stat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

func TestPartial_LeavesOtherFilesAlone(t *testing.T) {
	root := openDir(t)
	if err := root.WriteFile("x", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, _, err := Describe("x", bytes.NewReader([]byte("new!")), 4, MinBlock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openPartial(root, o, false); !errors.Is(err, errExists) {
		t.Errorf("a file of the same name: %v", err)
	}
	if err := root.Symlink("/etc", "link"); err != nil {
		t.Fatal(err)
	}
	o.Name = "link"
	for _, force := range []bool{false, true} {
		if _, err := openPartial(root, o, force); err == nil {
			t.Errorf("a link of the same name was taken (force %v)", force)
		}
	}
	o.Name = "y" // it appears while the transfer runs
	p, err := openPartial(root, o, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.WriteFile("y", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.complete(); !errors.Is(err, errExists) {
		t.Errorf("complete = %v", err)
	}
	p.discard()
	for _, name := range []string{"x", "y"} {
		if b, err := root.ReadFile(name); err != nil || string(b) != "mine" {
			t.Errorf("%s is %q, %v", name, b, err)
		}
	}
}
