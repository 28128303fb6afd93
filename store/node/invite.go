package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// Why an invitation ended, and why there is none.
var (
	// ErrExpired reports an invitation that nobody took in time.
	ErrExpired = errors.New("nobody joined in time; the code is of no use any more")
	// ErrWrongTries reports an invitation that ended because of wrong codes.
	ErrWrongTries = errors.New("the code was wrong three times; it is of no use any more")
	// ErrNotServing reports an order that needs a running node.
	ErrNotServing = errors.New("no node runs here; start one with: aether store serve")
	// ErrInviting reports a second invitation while there is one.
	ErrInviting = errors.New("this machine invites already")

	errTaken = errors.New("another machine has taken the invitation")
)

const (
	// inviteTime is how long an invitation is open, and inviteTries how many wrong
	// codes end it before.
	inviteTime  = 10 * time.Minute
	inviteTries = 3
	// joinTimeout bounds the handshake of a machine that joins: working out the key of
	// a code takes a small machine seconds.
	joinTimeout = 30 * time.Second
)

// InviteEvent is something that happens to an invitation. Kind says which fields count.
type InviteEvent struct {
	// Kind is "invitation" (Code, Expires, Addresses), "wrong_code" (Machine, Address,
	// TriesLeft) or "joined" (Machine, Name, Address).
	Kind string `json:"kind"`
	// Code is the six words.
	Code string `json:"code,omitempty"`
	// Expires is when the invitation ends.
	Expires time.Time `json:"expires,omitzero"`
	// Addresses are where to join by address.
	Addresses []netip.AddrPort `json:"addresses,omitempty"`
	// Machine, Name and Address are of the machine that joined or tried.
	Machine store.MachineID `json:"machine,omitzero"`
	Name    string          `json:"name,omitempty"`
	Address netip.AddrPort  `json:"address,omitzero"`
	// TriesLeft is how many wrong codes are left until the end.
	TriesLeft int `json:"tries_left,omitempty"`
}

// Invite lets one machine into the pool: the first one that proves the code of the
// event "invitation". It returns nil when that machine has joined, otherwise why
// nobody has: ErrExpired, ErrWrongTries, or the cause of ctx. tell hears what happens,
// one event at a time. It needs a running node.
func (m *Machine) Invite(ctx context.Context, tell func(InviteEvent)) error {
	sv := m.serving.Load()
	if sv == nil {
		return fmt.Errorf("node: invite: %w", ErrNotServing)
	}
	if !m.inviting.CompareAndSwap(false, true) {
		return fmt.Errorf("node: invite: %w", ErrInviting)
	}
	defer m.inviting.Store(false)
	ln, err := net.Listen("tcp", netip.AddrPortFrom(sv.listen.Addr(), 0).String())
	if err != nil {
		return fmt.Errorf("node: invite: %w", err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	inv := newInvitation(m, pool.NewCode(), tell)
	inv.addresses = reachableAt(at)
	stop := sv.announce(ctx, at.Port())
	defer stop()
	return inv.run(ctx, ln)
}

// reachableAt returns where others reach a listener at a: everywhere that this machine
// has an address, if a names none.
func reachableAt(a netip.AddrPort) []netip.AddrPort {
	if !a.Addr().IsUnspecified() {
		return []netip.AddrPort{a}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.AddrPort
	for _, x := range addrs {
		n, ok := x.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if ip = ip.Unmap(); ok && !ip.IsLoopback() && (!ip.IsLinkLocalUnicast() || ip.Is4()) {
			out = append(out, netip.AddrPortFrom(ip, a.Port()))
		}
	}
	return out
}

// invitation is one code, open until somebody has joined with it.
type invitation struct {
	m         *Machine
	proof     codeProof
	tell      func(InviteEvent)
	addresses []netip.AddrPort
	joined    chan struct{} // closed when the machine let in has everything

	mu    sync.Mutex
	tries int                     // wrong codes left until the end
	guest ed25519.PublicKey       // who has proven the code; nobody else may after it
	name  string                  // what the guest is called
	over  context.CancelCauseFunc // ends the invitation
}

func newInvitation(m *Machine, code pool.Code, tell func(InviteEvent)) *invitation {
	return &invitation{m: m, proof: codeProof{code: code}, tell: tell, tries: inviteTries, joined: make(chan struct{})}
}

// run takes connections from ln, which it owns, until the invitation is over.
func (v *invitation) run(ctx context.Context, ln net.Listener) error {
	id, err := link.NewIdentity(v.m.pool.Key())
	if err != nil {
		ln.Close()
		return fmt.Errorf("node: invite: %w", err)
	}
	expires := time.Now().Add(inviteTime)
	ctx, stop := context.WithDeadlineCause(ctx, expires, ErrExpired)
	defer stop()
	ctx, v.over = context.WithCancelCause(ctx)
	defer v.over(nil)
	l, err := link.NewListener(ctx, ln, link.Config{
		Identity: id, Protocol: joinProtocol, HandshakeTimeout: joinTimeout,
		Admit: link.Admit{Prove: v.proof.prove, Check: v.check}, Handler: v.handle,
	}, link.Limits{Pending: 8, PerSource: 4}, v.refused)
	if err != nil {
		return fmt.Errorf("node: invite: %w", err)
	}
	defer l.Wait()
	defer v.over(nil) // before Wait
	v.tell(InviteEvent{Kind: "invitation", Code: v.proof.code.Text(), Expires: expires, Addresses: v.addresses})
	for {
		c, err := l.Accept(ctx)
		if err != nil {
			return fmt.Errorf("node: invite: %w", context.Cause(ctx))
		}
		if v.attend(ctx, c) {
			return nil
		}
	}
}

// attend waits for the end of a guest's connection and reports whether it has joined.
func (v *invitation) attend(ctx context.Context, c *link.Conn) bool {
	defer c.Close()
	select {
	case <-v.joined:
	case <-c.Done(): // it may come again
		select {
		case <-v.joined:
		default:
			return false
		}
	case <-ctx.Done():
		return false
	}
	select { // the guest hangs up when it has heard the answer
	case <-c.Done():
	case <-time.After(time.Second):
	}
	v.mu.Lock()
	name := v.name
	v.mu.Unlock()
	v.tell(InviteEvent{Kind: "joined", Machine: store.MachineID(c.Peer()), Name: name, Address: c.RemoteAddr()})
	return true
}

// check admits who proves the code, and counts wrong ones. One machine takes the
// invitation: if its connection breaks, it may come again, and nobody else.
func (v *invitation) check(s link.Session, proof []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.tries == 0:
		return ErrWrongTries
	case v.guest != nil && !v.guest.Equal(s.Peer):
		return errTaken
	}
	if err := v.proof.check(s, proof); err != nil {
		v.tries--
		return err
	}
	v.guest = s.Peer
	return nil
}

// refused hears of connections that came to nothing.
func (v *invitation) refused(err error) {
	var pe *link.PeerError
	if !errors.As(err, &pe) || !errors.Is(err, errWrongCode) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.m.refusals.note(time.Now(), err)
	v.tell(InviteEvent{Kind: "wrong_code", Machine: store.MachineID(pe.Peer), Address: pe.Addr, TriesLeft: v.tries})
	if v.tries == 0 {
		v.over(ErrWrongTries)
	}
}

// handle answers the guest.
func (v *invitation) handle(ctx context.Context, peer link.PeerID, req link.Message) (link.Message, error) {
	switch req.Method {
	case methodJoin:
		return v.welcome(ctx, store.MachineID(peer), req.Header)
	case methodJoined:
		v.mu.Lock()
		defer v.mu.Unlock()
		select {
		case <-v.joined:
		default:
			if v.name != "" {
				close(v.joined)
			}
		}
		return link.Message{}, nil
	}
	return link.Message{}, &link.Error{Code: link.CodeNoMethod, Text: fmt.Sprintf("no method %d", req.Method)}
}

// welcome makes the guest a member and answers with what it needs.
func (v *invitation) welcome(ctx context.Context, guest store.MachineID, raw []byte) (link.Message, error) {
	var req joinRequest
	if err := strictCBOR.Unmarshal(raw, &req); err != nil {
		return link.Message{}, fmt.Errorf("%w: join: %w", errBadRequest, err)
	}
	if req.Format != joinFormat || req.Name == "" || len(req.Name) > maxName || !utf8.ValidString(req.Name) {
		return link.Message{}, fmt.Errorf("%w: join: format %d, a name of %d bytes", errBadRequest, req.Format, len(req.Name))
	}
	_, s, err := v.m.standingOf(guest)
	if err != nil {
		return link.Message{}, err
	}
	if s.Standing == Revoked {
		return link.Message{}, errors.New("this machine was revoked; it may join with a new directory only")
	}
	reply, err := v.m.reply(v.guestKey(), req.Name)
	if err != nil {
		return link.Message{}, err
	}
	if err := v.m.declare(ctx, guest, Member, req.Name); err != nil {
		return link.Message{}, err
	}
	v.mu.Lock()
	v.name = req.Name
	v.mu.Unlock()
	h, err := cbor.Marshal(reply)
	return link.Message{Header: h}, err
}

func (v *invitation) guestKey() ed25519.PublicKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.guest
}

// reply is what makes the machine with key a member.
func (m *Machine) reply(key ed25519.PublicKey, name string) (joinReply, error) {
	r := joinReply{Format: joinFormat, Name: m.Name(), Members: m.whereabouts()}
	generations := m.generations()
	for i := len(generations) - 1; i >= 0; i-- {
		if s, ok := m.secretOf(generations[i]); ok {
			r.Secrets = append(r.Secrets, generationSecret{Generation: generations[i], Secret: s.Text()})
		}
	}
	g := m.newestGeneration()
	secret, _ := m.secretOf(g)
	cert, err := pool.Issue(secret, pool.Certificate{
		Pool: m.pool.ID, Machine: key, Name: strings.ToValidUTF8(name, "?"), Generation: g, Issuer: m.ID(), Issued: m.now(),
	})
	if err != nil {
		return r, fmt.Errorf("node: invite: %w", err)
	}
	r.Certificate = cert.Append(nil)
	return r, nil
}

// whereabouts returns where members, this one first, may be reached.
func (m *Machine) whereabouts() []memberAddress {
	var out []memberAddress
	add := func(id store.MachineID, addrs []netip.AddrPort) {
		a := memberAddress{Machine: id}
		for _, x := range addrs[:min(len(addrs), maxAddresses)] {
			if x.Addr().Zone() == "" { // else it means something on this machine only
				a.Addrs = append(a.Addrs, x.String())
			}
		}
		if len(a.Addrs) > 0 && len(out) < maxJoinMembers {
			out = append(out, a)
		}
	}
	if sv := m.serving.Load(); sv != nil {
		add(m.ID(), reachableAt(sv.listen))
	}
	for _, k := range m.core.remembered() {
		add(k.id, k.addrs)
	}
	return out
}
