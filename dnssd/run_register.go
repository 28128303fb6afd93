package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aether-lan/aether/mdns"
)

// Registration is an instance on offer.
type Registration struct {
	calls   chan func(*Registrar) // run on the keeper's goroutine
	renamed chan string
	ready   chan struct{} // closed when first announced
	done    chan struct{}
	cancel  context.CancelFunc

	mu   sync.Mutex
	inst Instance
	err  error // why it ended, once done is closed
}

// Register offers inst until ctx ends or [Registration.Close], and returns once it is
// announced. When another host has the name, "Office (2)" and so on are tried. Without
// a Host the instance is on this machine, under the host name that the node has or,
// when it has none, under one that is claimed for it; the SRV record follows when that
// changes. With a Host, that is the host, and with Addresses these are published for it.
// It fails with [ErrName], [ErrService], [ErrTXT] or [ErrDomain] for what cannot be
// registered, and with *[mdns.ConflictError] when the Host given is another's.
func Register(ctx context.Context, inst Instance, cfg Config) (*Registration, error) {
	inst, err := inst.normalize() // before anything is sent
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	n, done, err := cfg.open(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("dnssd: register %s: %w", inst.FullName(), err)
	}
	reg, err := register(ctx, cancel, n, done, inst, cfg.logger())
	if err != nil {
		return nil, fmt.Errorf("dnssd: register %s: %w", inst.FullName(), err)
	}
	return reg, nil
}

// register starts a keeper and waits for the first announcement. The keeper owns
// cancel and done.
func register(ctx context.Context, cancel context.CancelFunc, n node, done func(), inst Instance, log *slog.Logger) (*Registration, error) {
	reg := &Registration{
		calls: make(chan func(*Registrar)), renamed: make(chan string, 16),
		ready: make(chan struct{}), done: make(chan struct{}), cancel: cancel, inst: inst,
	}
	go func() {
		defer close(reg.done)
		defer done()
		defer cancel()
		k := keeper{n: n, reg: reg, log: log, outcome: make(chan outcome, 1)}
		err := k.keep(ctx, inst)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		reg.mu.Lock()
		reg.err = err
		reg.mu.Unlock()
	}()
	select {
	case <-reg.ready:
		return reg, nil
	case <-reg.done:
		return nil, reg.Err()
	}
}

// Instance returns what is registered, under its present name.
func (r *Registration) Instance() Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inst.clone()
}

// Renamed gives each new name, once it is announced, after a later conflict has taken
// the old one. Up to sixteen wait to be read.
func (r *Registration) Renamed() <-chan string { return r.renamed }

// UpdateTXT replaces the attributes. It fails with [ErrTXT], or with net.ErrClosed
// after the end.
func (r *Registration) UpdateTXT(txt TXT) error {
	err := fmt.Errorf("dnssd: registration: %w", net.ErrClosed)
	finished := make(chan struct{})
	call := func(reg *Registrar) {
		defer close(finished)
		if err = reg.HandleTXT(time.Now(), txt); err == nil {
			r.show(reg.Instance())
		}
	}
	select {
	case r.calls <- call:
		<-finished
	case <-r.done:
	}
	return err
}

// Done is closed when the registration has ended: Close, ctx, or an error.
func (r *Registration) Done() <-chan struct{} { return r.done }

// Err returns why the registration has ended, and nil before that.
func (r *Registration) Err() error {
	select {
	case <-r.done:
	default:
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close withdraws the instance, with a goodbye, and waits until nothing is left
// running. It may be called more than once.
func (r *Registration) Close() error {
	r.cancel()
	<-r.done
	return nil
}

func (r *Registration) show(inst Instance) {
	r.mu.Lock()
	r.inst = inst
	r.mu.Unlock()
}

// keeper drives a Registrar on a node.
type keeper struct {
	n       node
	reg     *Registration
	log     *slog.Logger
	r       *Registrar
	pub     publication // nil while nothing is published
	claim   hostClaim   // nil when the host name is not ours to give up
	proxy   publication // another machine's addresses, or nil
	hosts   chan string
	outcome chan outcome // of the one Publish on its way
	taken   func(name string)
	wg      sync.WaitGroup
}

type outcome struct {
	pub publication
	err error
}

// keep holds inst on offer until ctx ends or something fails.
func (k *keeper) keep(ctx context.Context, inst Instance) error {
	ctx, cancel := context.WithCancel(ctx)
	defer k.end(cancel)
	asked := inst.FullName()
	inst.Name = k.recall(asked)
	k.taken = func(name string) {
		k.n.Remember(asked.Presentation(), FullName{name, asked.Service, asked.Domain}.Presentation())
	}
	host, err := k.host(ctx, &inst)
	if err != nil {
		return err
	}
	if k.r, err = NewRegistrar(inst, host); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := k.act(ctx); err != nil {
			return err
		}
		var due <-chan time.Time
		if t, ok := k.r.NextTimeout(); ok {
			timer.Reset(time.Until(t))
			due = timer.C
		}
		if err := k.wait(ctx, due); err != nil {
			return err
		}
	}
}

// recall returns the name that an instance had at last, which is tried first.
func (k *keeper) recall(asked FullName) string {
	name, err := ParseName(k.n.Recall(asked.Presentation()))
	if err != nil || name.Service != asked.Service {
		return asked.Instance
	}
	return name.Instance
}

// wait hands the next thing that happens to the Registrar.
func (k *keeper) wait(ctx context.Context, due <-chan time.Time) error {
	var conflict <-chan mdns.ConflictError
	if k.pub != nil {
		conflict = k.pub.Conflict()
	}
	var taken <-chan mdns.ConflictError
	if k.proxy != nil {
		taken = k.proxy.Conflict()
	}
	var renamed <-chan string
	if k.claim != nil {
		renamed = k.claim.Renamed()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case o := <-k.outcome:
		return k.settle(o)
	case c := <-conflict:
		k.log.Info("dnssd: name taken over", "name", c.Name, "by", c.From)
		k.withdraw()
		return k.r.HandleConflict(time.Now(), c)
	case c := <-taken:
		return &c
	case name := <-k.hosts:
		return k.r.HandleHost(time.Now(), name)
	case name := <-renamed:
		return k.r.HandleHost(time.Now(), name)
	case call := <-k.reg.calls:
		call(k.r)
	case <-due:
		return k.r.HandleTimeout(time.Now())
	}
	return nil
}

// settle takes the outcome of a Publish.
func (k *keeper) settle(o outcome) error {
	if o.err == nil {
		k.pub = o.pub
		return k.r.HandleAnnounced(time.Now())
	}
	if c, ok := errors.AsType[*mdns.ConflictError](o.err); ok {
		k.log.Info("dnssd: name in use", "name", c.Name, "by", c.From)
		return k.r.HandleConflict(time.Now(), *c)
	}
	return o.err
}

// act does what the Registrar wants and tells what it has to say.
func (k *keeper) act(ctx context.Context) error {
	for _, c := range k.r.Outgoing() {
		switch c.Kind {
		case Publish:
			k.withdraw()
			k.wg.Go(func() {
				pub, err := k.n.Publish(ctx, c.Records)
				k.outcome <- outcome{pub, err}
			})
		case Replace:
			if err := k.pub.Update(c.Records); err != nil {
				return err
			}
			k.reg.show(k.r.Instance())
		}
	}
	for _, ev := range k.r.Events() {
		k.reg.show(ev.Instance)
		k.taken(ev.Instance.Name)
		if ev.Previous == "" {
			close(k.reg.ready)
			continue
		}
		select {
		case k.reg.renamed <- ev.Instance.Name:
		default:
			k.log.Warn("dnssd: nobody reads renames", "name", ev.Instance.Name)
		}
	}
	return nil
}

// host returns the host to point to, and arranges to hear of its new names.
func (k *keeper) host(ctx context.Context, inst *Instance) (string, error) {
	if h := inst.foreignHost(); h != "" {
		return h, k.publishHost(ctx, *inst, h)
	}
	inst.Addresses = nil // the node publishes this machine's
	if name := k.n.Hostname(); name != "" {
		k.hosts = make(chan string)
		k.wg.Go(func() {
			for name := range k.n.HostNames(ctx) {
				select {
				case k.hosts <- name:
				case <-ctx.Done():
				}
			}
		})
		return name, nil
	}
	claim, err := k.n.ClaimHost(ctx, HostLabel())
	if err != nil {
		return "", err
	}
	k.claim = claim
	return claim.Name(), nil
}

// publishHost publishes the addresses of another machine, if any are given. They are
// a publication of their own, so that a conflict about the host's name is not taken
// for one about the instance's.
func (k *keeper) publishHost(ctx context.Context, inst Instance, host string) (err error) {
	if _, done := k.n.(proxied); len(inst.Addresses) > 0 && !done && mdns.IsLocal(host) {
		k.proxy, err = k.n.Publish(ctx, inst.hostRecords(host))
	}
	return err
}

// HostLabel returns the first label of this machine's name, in the letters, digits and
// hyphens of host names: what [Register] claims while the node has no host name.
func HostLabel() string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	label, _, _ := strings.Cut(name, ".")
	label = strings.Map(func(r rune) rune {
		if r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, label)
	if label = strings.Trim(label, "-"); label == "" || label == "localhost" {
		return "host"
	}
	return label[:min(len(label), labelMax)]
}

func (k *keeper) withdraw() {
	if k.pub != nil {
		_ = k.pub.Close()
		k.pub = nil
	}
}

// end says goodbye and waits for what the keeper started.
func (k *keeper) end(cancel context.CancelFunc) {
	cancel()
	k.wg.Wait()
	select {
	case o := <-k.outcome:
		if o.pub != nil {
			_ = o.pub.Close()
		}
	default:
	}
	k.withdraw()
	if k.claim != nil {
		_ = k.claim.Close()
	}
	if k.proxy != nil {
		_ = k.proxy.Close()
	}
}
