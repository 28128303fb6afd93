package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/pool"
)

// methodSecrets asks for secrets of the pool: a secretsRequest, answered with a
// secretsReply. Only members get an answer, over the connection that both ends have
// proved themselves on.
const methodSecrets uint16 = 16

const (
	// maxSecrets is the most generations in one request.
	maxSecrets = 64
	// secretsEvery is how often secrets that are missing are asked for again, and
	// secretsPause how long one machine is not asked again because of a chunk.
	secretsEvery = 5 * time.Second
	secretsPause = time.Second
	// secretsPatience is how long secrets may be missing before somebody is told.
	secretsPatience = time.Minute
	// codeNotMember answers who may not have secrets.
	codeNotMember = link.CodeUser + 16
)

// secretsRequest names generations.
type secretsRequest struct {
	_           struct{} `cbor:",toarray"`
	Generations []uint32
}

// secretsReply has the secrets of those that the machine has, as text.
type secretsReply struct {
	_       struct{} `cbor:",toarray"`
	Secrets []string
}

// secrets is what is going on about the pool's secrets.
type secrets struct {
	making sync.Mutex    // held while a generation begins
	wanted chan struct{} // has one when there is something to ask for

	mu    sync.Mutex
	asked map[store.MachineID]time.Time // because of a chunk; as many as there are members
}

// wantSecrets has missing secrets asked for soon.
func (m *Machine) wantSecrets() {
	select {
	case m.secrets.wanted <- struct{}{}:
	default:
	}
}

// gatherSecrets asks for the secrets that are missing here, as long as there are any,
// until ctx ends.
func (m *Machine) gatherSecrets(ctx context.Context) error {
	var since time.Time // when the first was missed; zero: none is
	for {
		var again <-chan time.Time
		for _, peer := range m.sources(nil) {
			missing, err := m.missingSecrets(ctx)
			if err != nil || len(missing) == 0 {
				break
			}
			m.takeSecrets(ctx, peer, missing)
		}
		if missing, err := m.missingSecrets(ctx); err == nil {
			since = m.complain(since, len(missing))
			if len(missing) > 0 {
				again = time.After(secretsEvery)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.secrets.wanted:
		case <-again:
		}
	}
}

// complain raises an alarm where secrets have been missing for long, and takes it back
// when they have come. It returns since when they are missing.
func (m *Machine) complain(since time.Time, missing int) time.Time {
	now := m.now()
	switch {
	case missing == 0:
		if !since.IsZero() {
			m.clear(AlarmSecret, "")
		}
		return time.Time{}
	case since.IsZero():
		return now
	case now.Sub(since) >= secretsPatience:
		m.alarm(AlarmSecret, "", "the secret of a new generation of keys has not come: no machine that is connected gives it")
	}
	return since
}

// missingSecrets returns the generations that were made known and are not here, oldest
// first.
func (m *Machine) missingSecrets(ctx context.Context) (missing []uint32, err error) {
	err = m.core.call(ctx, func() {
		for g := range m.core.announced {
			if _, ok := m.secretOf(g); !ok {
				missing = append(missing, g)
			}
		}
	})
	slices.Sort(missing)
	return missing[:min(len(missing), maxSecrets)], err
}

// takeSecrets asks one machine for secrets and keeps those that it has.
func (m *Machine) takeSecrets(ctx context.Context, peer store.MachineID, missing []uint32) {
	if err := m.askSecrets(ctx, peer, missing); err != nil && ctx.Err() == nil && !errors.Is(err, link.ErrNotConnected) {
		m.log.Warn("a secret of the pool cannot be had", "machine", peer.String(), "error", err)
	}
}

func (m *Machine) askSecrets(ctx context.Context, peer store.MachineID, missing []uint32) error {
	h, err := cbor.Marshal(secretsRequest{Generations: missing})
	if err != nil {
		return fmt.Errorf("node: secrets: %w", err)
	}
	resp, err := m.call(ctx, peer, link.Message{Method: methodSecrets, Header: h})
	if err != nil {
		return fmt.Errorf("node: secrets of %s: %w", peer.Short(), err)
	}
	defer resp.Release()
	var reply secretsReply
	if err := strictCBOR.Unmarshal(resp.Header, &reply); err != nil {
		return fmt.Errorf("node: secrets of %s: %w", peer.Short(), err)
	}
	if len(reply.Secrets) > len(missing) {
		return fmt.Errorf("node: secrets of %s: %d for %d generations", peer.Short(), len(reply.Secrets), len(missing))
	}
	var got []pool.Secret
	for _, text := range reply.Secrets {
		s, err := pool.ParseSecret(text)
		if err != nil {
			return fmt.Errorf("node: secrets of %s: %w", peer.Short(), err)
		}
		if !slices.Contains(missing, s.Generation()) {
			return fmt.Errorf("node: secrets of %s: generation %d was not asked for", peer.Short(), s.Generation())
		}
		got = append(got, s)
	}
	return m.adopt(ctx, got)
}

// adopt keeps secrets that came from another machine, if they are those that were made
// known: on the disk first.
func (m *Machine) adopt(ctx context.Context, got []pool.Secret) error {
	if len(got) == 0 {
		return nil
	}
	var bad error
	err := m.core.call(ctx, func() {
		for _, s := range got {
			if check, ok := m.core.announced[s.Generation()]; !ok || check != checkOf(s) {
				bad = fmt.Errorf("node: generation %d: the secret is not the one that was made known", s.Generation())
			}
		}
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	if err := m.pool.Ring().AddAll(m.cfg.Dir, got, m.cfg.Passphrase); err != nil {
		return fmt.Errorf("node: keep a secret: %w", err)
	}
	for _, s := range got {
		if err := m.keys.Add(s.Derive(chunkLabel), s.Generation()); err != nil {
			return fmt.Errorf("node: keep a secret: %w", err)
		}
		m.log.Info("the secret of a new generation has come", "generation", s.Generation())
	}
	m.wantRekey()
	return nil
}

// serveSecrets answers methodSecrets.
func (m *Machine) serveSecrets(peer store.MachineID, req link.Message) (link.Message, error) {
	if !m.mayHave(peer) {
		return link.Message{}, &link.Error{Code: codeNotMember, Text: "only members of the pool get its secrets"}
	}
	var ask secretsRequest
	if err := strictCBOR.Unmarshal(req.Header, &ask); err != nil {
		return link.Message{}, fmt.Errorf("%w: secrets: %w", errBadRequest, err)
	}
	if len(ask.Generations) > maxSecrets {
		return link.Message{}, fmt.Errorf("%w: secrets: %d generations, at most %d", errBadRequest, len(ask.Generations), maxSecrets)
	}
	var reply secretsReply
	for _, g := range ask.Generations {
		if s, ok := m.secretOf(g); ok {
			reply.Secrets = append(reply.Secrets, s.Text())
		}
	}
	h, err := cbor.Marshal(reply)
	if err != nil {
		return link.Message{}, fmt.Errorf("node: secrets: %w", err)
	}
	return link.Message{Header: h}, nil
}

// checkFrom checks a body that a machine sent. Where it is sealed under a generation
// whose secret is not here, that machine is asked for it first. What cannot be checked
// is not kept: who has the chunk can be asked again once the secret has come.
func (m *Machine) checkFrom(ctx context.Context, peer store.MachineID, ref store.Ref, body []byte) error {
	err := m.keys.Check(ref, body)
	if !errors.Is(err, chunk.ErrGeneration) || !m.maySoonAsk(peer, m.now()) {
		return err
	}
	if missing, merr := m.missingSecrets(ctx); merr == nil && len(missing) > 0 {
		m.takeSecrets(ctx, peer, missing)
	}
	return m.keys.Check(ref, body)
}

// maySoonAsk reports whether a machine was not asked for secrets just now, and notes
// that it will be.
func (m *Machine) maySoonAsk(peer store.MachineID, now time.Time) bool {
	m.secrets.mu.Lock()
	defer m.secrets.mu.Unlock()
	if now.Sub(m.secrets.asked[peer]) < secretsPause {
		return false
	}
	if m.secrets.asked == nil {
		m.secrets.asked = map[store.MachineID]time.Time{}
	}
	m.secrets.asked[peer] = now
	return true
}
