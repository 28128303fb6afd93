package dnssd

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/mdns"
)

// Limits of a [Registrar] (RFC 6762 section 8.1).
const (
	conflictMax    = 15
	conflictWindow = 10 * time.Second
	conflictWait   = 5 * time.Second
)

// Command is what a [Registrar] wants done.
type Command struct {
	Kind    CommandKind
	Records []mdns.Record
}

// CommandKind is the kind of a [Command].
type CommandKind int

// The kinds of commands.
const (
	// Publish the records, in place of what was published. The outcome goes to
	// HandleAnnounced or HandleConflict.
	Publish CommandKind = iota + 1
	// Replace the published records, whose unique names stay.
	Replace
)

// Registrar is the engine that keeps an instance on offer: it renames it when the
// name is in use and lets its SRV record follow the host's name. It is not safe for
// concurrent use.
type Registrar struct {
	inst      Instance
	host      string // fully qualified
	announced string // name announced last, "" before the first
	up        bool   // announced, not contradicted since
	stale     bool   // what is on its way has been changed
	conflicts []time.Time
	slow      bool      // too many conflicts lately
	due       time.Time // to publish; zero when there is nothing
	out       []Command
	ev        []RegistrarEvent
}

// RegistrarEvent tells that an instance is registered.
type RegistrarEvent struct {
	Instance Instance
	// Previous is the name under which it was registered before, "" at first.
	Previous string
}

// NewRegistrar returns a Registrar of inst, offered by host, that wants to publish at
// once. It fails with [ErrName], [ErrService], [ErrTXT] or [ErrDomain].
func NewRegistrar(inst Instance, host string) (*Registrar, error) {
	inst, err := inst.normalize()
	if err != nil {
		return nil, err
	}
	r := &Registrar{inst: inst}
	if err := r.setHost(host); err != nil {
		return nil, err
	}
	return r, r.publish()
}

func (r *Registrar) setHost(host string) error {
	labels, err := splitLabels(host)
	if err != nil || len(labels) == 0 {
		return fmt.Errorf("%w: host %q", ErrName, host)
	}
	r.host = joinLabels(labels, escapeZone) + "."
	r.inst.Host = trimDot(r.host)
	return nil
}

// publish sets out with the present name.
func (r *Registrar) publish() error {
	records, err := r.inst.Records(r.host)
	if err != nil {
		return err
	}
	r.due, r.up, r.stale = time.Time{}, false, false
	r.out = append(r.out, Command{Publish, records})
	return nil
}

// replace publishes what has changed under the same name.
func (r *Registrar) replace() error {
	if !r.up {
		r.stale = true // told once it is announced
		return nil
	}
	records, err := r.inst.Records(r.host)
	if err != nil {
		return err
	}
	r.stale = false
	r.out = append(r.out, Command{Replace, records})
	return nil
}

// HandleAnnounced takes word that what was to be published is announced.
func (r *Registrar) HandleAnnounced(time.Time) error {
	r.up, r.slow = true, false
	previous := r.announced
	if r.announced = r.inst.Name; previous != r.announced {
		r.ev = append(r.ev, RegistrarEvent{r.inst.clone(), previous})
	}
	if r.stale {
		return r.replace()
	}
	return nil
}

// HandleConflict takes word that another host has the name, from the beginning or
// from now on, also at the flagship (RFC 6763 section 8). The instance gets the next one (RFC 6762 section 9): at once, or, once
// that has happened fifteen times within ten seconds, five seconds later each time
// until one is announced (section 8.1). A conflict about another name, the host's, is returned as the error.
func (r *Registrar) HandleConflict(now time.Time, c mdns.ConflictError) error {
	r.up = false
	if !r.inst.owns(c.Name) {
		return &c
	}
	r.inst.Name = Rename(r.inst.Name)
	if r.conflicts = append(r.conflicts, now); len(r.conflicts) > conflictMax {
		r.conflicts = r.conflicts[1:]
	}
	if len(r.conflicts) == conflictMax && now.Sub(r.conflicts[0]) <= conflictWindow {
		r.slow = true
	}
	if r.slow {
		r.due = now.Add(conflictWait)
		return nil
	}
	return r.publish()
}

// HandleHost takes the host's new name.
func (r *Registrar) HandleHost(_ time.Time, host string) error {
	if err := r.setHost(host); err != nil {
		return err
	}
	return r.replace()
}

// HandleTXT takes new attributes. It fails with [ErrTXT], and changes nothing then.
func (r *Registrar) HandleTXT(_ time.Time, txt TXT) error {
	if _, err := txt.Append(nil); err != nil {
		return err
	}
	r.inst.TXT = txt
	r.inst = r.inst.clone()
	return r.replace()
}

// HandleTimeout publishes under the next name when it is time.
func (r *Registrar) HandleTimeout(now time.Time) error {
	if r.due.IsZero() || r.due.After(now) {
		return nil
	}
	return r.publish()
}

// NextTimeout reports when HandleTimeout must next be called.
func (r *Registrar) NextTimeout() (t time.Time, ok bool) { return r.due, !r.due.IsZero() }

// Instance returns the instance under its present name, registered or on its way.
func (r *Registrar) Instance() Instance { return r.inst.clone() }

// Outgoing returns what is to be done and forgets it.
func (r *Registrar) Outgoing() []Command {
	out := r.out
	r.out = nil
	return out
}

// Events returns the registrations and forgets them.
func (r *Registrar) Events() []RegistrarEvent {
	ev := r.ev
	r.ev = nil
	return ev
}
