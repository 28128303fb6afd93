package node

import (
	"context"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

const (
	// challengeEvery is how often one machine is asked to prove that it has what it says,
	// more or less.
	challengeEvery = 5 * time.Minute
	// challengeTries is how many versions are looked at for one that can be asked for.
	challengeTries = 256
	// nonceSize is the length of what makes each proof another one, in bytes.
	nonceSize = 16
)

// proofRequest asks for the HMAC-SHA-256 of a chunk's sealed body under a nonce, which
// nobody can give who has not got the body.
type proofRequest struct {
	_     struct{} `cbor:",toarray"`
	Ref   store.Ref
	Nonce []byte
}

// proofReply is the answer: empty where the chunk is not there.
type proofReply struct {
	_     struct{} `cbor:",toarray"`
	Proof []byte
}

func parseProofRequest(b []byte) (r proofRequest, err error) {
	if err := strictCBOR.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w: proof: %w", errBadRequest, err)
	}
	if len(r.Nonce) != nonceSize {
		return r, fmt.Errorf("%w: proof: nonce of %d bytes", errBadRequest, len(r.Nonce))
	}
	return r, nil
}

func proofOf(nonce, body []byte) []byte {
	h := hmac.New(sha256.New, nonce)
	h.Write(body)
	return h.Sum(nil)
}

// serveProof answers methodProof. A machine that finds that it has not got what it was
// believed to have looks at all that it keeps.
func (m *Machine) serveProof(req link.Message) (link.Message, error) {
	ask, err := parseProofRequest(req.Header)
	if err != nil {
		return link.Message{}, err
	}
	var reply proofReply
	body, err := m.bodies.Get(ask.Ref)
	if err == nil {
		err = m.checkBody(ask.Ref, body)
	}
	if err == nil {
		reply.Proof = proofOf(ask.Nonce, body)
	} else {
		m.proveAgain()
	}
	h, err := cbor.Marshal(reply)
	if err != nil {
		return link.Message{}, fmt.Errorf("node: proof: %w", err)
	}
	return link.Message{Header: h}, nil
}

// proveAgain looks once more whether all that this machine keeps is here, unless it is
// at it or has just been.
func (m *Machine) proveAgain() {
	now := m.now().UnixNano()
	last := m.proved.Load()
	if now-last < int64(challengeEvery) || !m.proved.CompareAndSwap(last, now) || m.background.Err() != nil {
		return
	}
	m.jobs.Go(func() {
		files, missing, err := m.recheck(m.background)
		if err != nil && m.background.Err() == nil {
			m.log.Warn("what is kept here cannot be checked", "error", err)
		} else if missing > 0 {
			m.log.Warn("files that should be kept here were not whole and are fetched again", "files", files, "missing", missing)
		}
	})
}

// challenge asks other machines now and then, until ctx ends, to prove that they have
// what they say they have.
func (m *Machine) challenge(ctx context.Context) error {
	for {
		pause := challengeEvery/2 + rand.N(challengeEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		here := m.sources(nil)
		if len(here) == 0 {
			continue
		}
		peer := here[rand.IntN(len(here))]
		if err := m.challengeOne(ctx, peer); err != nil && ctx.Err() == nil {
			m.log.Debug("a machine was not asked for a proof", "machine", peer.String(), "error", err)
		}
	}
}

// errNothingToAsk reports that this machine and another keep nothing in common.
var errNothingToAsk = errors.New("nothing to ask for")

// challengeOne asks peer for a proof of a random chunk that both should have. Where it
// cannot give it, that version does not count as held there until it says so anew.
func (m *Machine) challengeOne(ctx context.Context, peer store.MachineID) error {
	a, ref, err := m.common(ctx, peer)
	if err != nil {
		return err
	}
	body, err := m.bodies.Get(ref)
	if err != nil {
		return err
	}
	nonce := make([]byte, nonceSize)
	_, _ = crand.Read(nonce) // never fails
	h, err := cbor.Marshal(proofRequest{Ref: ref, Nonce: nonce})
	if err != nil {
		return err
	}
	resp, err := m.call(ctx, peer, link.Message{Method: methodProof, Header: h})
	if err != nil {
		return err
	}
	defer resp.Release()
	var reply proofReply
	if err := strictCBOR.Unmarshal(resp.Header, &reply); err == nil && hmac.Equal(reply.Proof, proofOf(nonce, body)) {
		return nil
	}
	_ = m.core.call(ctx, func() { m.core.copying.Doubt(peer, a.Dot) })
	return m.wrong(peer, FaultUnproved, fmt.Errorf("node: %s cannot prove that it has %v: %w", peer.Short(), a.Dot, errWrong))
}

// common returns a random version that peer says it has and that is here, and a random
// chunk of it.
func (m *Machine) common(ctx context.Context, peer store.MachineID) (a replicate.Assignment, ref store.Ref, err error) {
	var after store.FileID
	_, _ = crand.Read(after[:])
	var all []replicate.Assignment
	take := func(id store.FileID, v tree.Version) bool {
		if v.Content.Size > 0 && slices.Contains(v.Holders, peer) {
			all = append(all, replicate.Assignment{Dot: v.Placed, File: id, Content: v.Content, Holders: v.Holders})
		}
		return len(all) < challengeTries
	}
	if err = m.tree.Versions(m.kv, after, take); err == nil && len(all) == 0 {
		err = m.tree.Versions(m.kv, store.FileID{}, take) // from the beginning
	}
	if err != nil {
		return a, ref, err
	}
	cerr := m.core.call(ctx, func() {
		all = slices.DeleteFunc(all, func(a replicate.Assignment) bool {
			return m.core.copying.Copies(replicate.Assignment{Dot: a.Dot, Holders: []store.MachineID{peer}}) == 0
		})
	})
	if cerr != nil {
		return a, ref, cerr
	}
	for _, a := range all {
		w, err := m.partsOf(a.Content, 0)
		if err != nil {
			continue // not here
		}
		if p := w[rand.IntN(len(w))]; m.drive.Has(p.Ref) {
			return a, p.Ref, nil
		}
	}
	return a, ref, errNothingToAsk
}
