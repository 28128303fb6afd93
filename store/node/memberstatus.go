package node

import (
	"context"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
)

// MemberState is how a machine is, in the words that scripts rely on.
type MemberState string

// The states of a machine.
const (
	// StateSelf is the machine that was asked.
	StateSelf MemberState = "self"
	// StateConnected has a connection to the machine that was asked.
	StateConnected MemberState = "connected"
	// StateAway has none.
	StateAway MemberState = "away"
	// StateInvited was let in, and has not been heard of since.
	StateInvited MemberState = "invited"
	// StateLeaving hands over what it keeps.
	StateLeaving MemberState = "leaving"
	// StateLeft, StateForgotten and StateRevoked do not belong any more.
	StateLeft      MemberState = "left"
	StateForgotten MemberState = "forgotten"
	StateRevoked   MemberState = "revoked"
)

// MemberStatus is what a machine knows of one that belongs to the pool, or did.
type MemberStatus struct {
	// ID and Name are the machine's; the name is what it says of itself.
	ID   store.MachineID `json:"id"`
	Name string          `json:"name"`
	// State is how it is, and Since since when: zero where that is not known.
	State MemberState `json:"state"`
	Since time.Time   `json:"since,omitzero"`
	// By and ByName are who said that it left, was forgotten or revoked.
	By     store.MachineID `json:"by,omitzero"`
	ByName string          `json:"by_name,omitempty"`
	// Space is the bytes that it has set aside.
	Space uint64 `json:"space"`
	// Address is where it is connected, or was reached last.
	Address string `json:"address,omitempty"`
	// Generation is that of the certificate that it presented last; nil where it has
	// presented none to this machine since it was opened.
	Generation *uint32 `json:"generation"`
	// InvitedBy and InvitedByName are who has let it in with a code; zero for a
	// machine that had the pool's secret.
	InvitedBy     store.MachineID `json:"invited_by,omitzero"`
	InvitedByName string          `json:"invited_by_name,omitempty"`
	// LastSeen is when a connection to it last began; zero when never.
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// Members returns the machines that belong to the pool or did, in the order of IDs.
func (m *Machine) Members(ctx context.Context) ([]MemberStatus, error) {
	var out []MemberStatus
	err := m.core.call(ctx, func() {
		for _, x := range m.core.members.all() {
			out = append(out, m.memberStatus(x))
		}
	})
	for i := range out {
		if c := m.certificateOf(out[i].ID); c != nil {
			out[i].Generation = &c.Generation
			if out[i].InvitedBy.IsZero() && c.Issuer != c.ID() {
				out[i].InvitedBy = c.Issuer
			}
		}
		out[i].ByName, out[i].InvitedByName = m.nameWhere(out[i].By), m.nameWhere(out[i].InvitedBy)
	}
	return out, err
}

// nameWhere is NameOf, and nothing for no machine.
func (m *Machine) nameWhere(id store.MachineID) string {
	if id.IsZero() {
		return ""
	}
	return m.NameOf(id)
}

// memberStatus says what the core and the mesh know of x. It runs alone with the core.
func (m *Machine) memberStatus(x store.Machine) MemberStatus {
	own := m.core.members.byID[x.ID]
	st := m.core.members.standings[x.ID]
	s := MemberStatus{ID: x.ID, Name: x.Name, Space: x.Space, InvitedBy: st.Inviter}
	if own.Seen != 0 {
		s.LastSeen = time.UnixMilli(own.Seen).UTC()
		s.Since = s.LastSeen
	}
	if len(own.Addresses) > 0 {
		s.Address = own.Addresses[0].String()
	}
	switch mesh := m.mesh.Load(); {
	case x.ID == m.ID():
		s.State, s.Since = StateSelf, time.Time{}
		if sv := m.serving.Load(); sv != nil {
			s.Address = sv.listen.String()
		}
	case connectedAt(mesh, x.ID) != "":
		s.State, s.Address = StateConnected, connectedAt(mesh, x.ID)
	case own.Name == "":
		s.State, s.Since = StateInvited, time.UnixMilli(st.When).UTC()
	default:
		s.State = StateAway
	}
	if st.Standing != Member {
		s.State, s.Since, s.By = MemberState(st.Standing.String()), time.UnixMilli(st.When).UTC(), st.By
	}
	return s
}

// named is what an order about a machine answers.
type named struct {
	Machine store.MachineID `json:"machine"`
	Name    string          `json:"name"`
}

// connectedAt returns where a machine is connected, "" where it is not.
func connectedAt(mesh *link.Mesh, id store.MachineID) string {
	if mesh == nil {
		return ""
	}
	c := mesh.Conn(link.PeerID(id))
	if c == nil {
		return ""
	}
	return c.RemoteAddr().String()
}
