package igmp

import (
	"cmp"
	"time"
)

// The defaults of RFC 9776 section 8. MLD has the same (RFC 9777 section 9).
const (
	DefaultRobustness         = 2
	DefaultQueryInterval      = 125 * time.Second
	DefaultQueryResponse      = 10 * time.Second
	DefaultLastMemberInterval = time.Second
)

// Timing is what a querier tells, and everybody computes timers from.
type Timing struct {
	// Robustness is the robustness variable: one less packets than this may be
	// lost in a row (RFC 9776 section 8.1). Zero means 2.
	Robustness uint8
	// QueryInterval is the time between general queries (section 8.2). Zero means
	// 125 s.
	QueryInterval time.Duration
	// QueryResponse is the time in which hosts answer these (section 8.3). Zero
	// means 10 s.
	QueryResponse time.Duration
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Robustness:    cmp.Or(t.Robustness, DefaultRobustness),
		QueryInterval: cmp.Or(t.QueryInterval, DefaultQueryInterval),
		QueryResponse: cmp.Or(t.QueryResponse, DefaultQueryResponse),
	}
}

// GroupMembershipInterval is how long a group lives without reports, 260 s by
// default (RFC 9776 section 8.4). OlderHostPresentInterval is the same (8.13).
func (t Timing) GroupMembershipInterval() time.Duration {
	t = t.withDefaults()
	return time.Duration(t.Robustness)*t.QueryInterval + t.QueryResponse
}

// OtherQuerierPresentInterval is how long a querier that has fallen silent keeps
// its office, 255 s by default (RFC 9776 section 8.5).
func (t Timing) OtherQuerierPresentInterval() time.Duration {
	t = t.withDefaults()
	return time.Duration(t.Robustness)*t.QueryInterval + t.QueryResponse/2
}

// adopt returns t with what the querier's general query q tells (RFC 9776
// sections 4.1.6 and 4.1.7). What it leaves open has own's value.
func (t Timing) adopt(q *Query, own Timing) Timing {
	if q.Version == V3 {
		t.Robustness = cmp.Or(q.Robustness, own.Robustness)
		t.QueryInterval = cmp.Or(max(q.Interval, 0), own.QueryInterval)
	}
	if q.IsGeneral() && q.Version != V1 && q.MaxResponse > 0 {
		t.QueryResponse = q.MaxResponse
	}
	return t
}
