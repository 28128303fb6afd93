package peer

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
)

// Headers of requests and answers.
type (
	lookupRequest struct {
		Key dht.ID `json:"key"`
	}
	lookupReply struct {
		Owner NodeStatus    `json:"owner"`
		Hops  []NodeStatus  `json:"hops"`
		Took  time.Duration `json:"took"`
	}
	joinRequest struct {
		Addresses []netip.AddrPort `json:"addresses"`
	}
	scanRequest struct {
		Prefix, After string
		Limit         int
	}
	scanReply struct {
		Records []Record `json:"records"`
		More    bool     `json:"more"`
	}
	sendRequest struct {
		Key     dht.ID        `json:"key,omitzero"`
		Service string        `json:"service,omitempty"`
		Topic   string        `json:"topic,omitempty"`
		Wait    time.Duration `json:"wait,omitempty"`
	}
	publishReply struct {
		Copies int `json:"copies"`
	}
	anycastReply struct {
		By      dht.ID `json:"by"`
		Payload []byte `json:"payload"`
	}
)

// Record is a record as clients see it.
type Record struct {
	Name    string        `json:"name"`
	Version uint64        `json:"version"`
	Value   []byte        `json:"value,omitempty"`
	TTL     time.Duration `json:"ttl,omitempty"`
	Holder  string        `json:"holder,omitempty"`
	Fence   uint64        `json:"fence,omitempty"`
	Deleted bool          `json:"deleted,omitempty"`
}

func recordOf(r records.Record) Record {
	return Record{r.Name, r.Version, r.Value, r.TTL, r.Holder, r.Fence, r.Deleted}
}

// serve answers requests of clients and other nodes.
func (n *Node) serve(ctx context.Context, method uint16, header, body []byte) (h, b []byte, err error) {
	switch method {
	case methodDo, methodDoHere:
		h, b, err = n.serveDo(ctx, method, body)
	case methodLookup:
		b, err = answer(header, func(q lookupRequest) (lookupReply, error) { return n.serveLookup(ctx, q) })
	case methodStatus:
		var s Status
		s, err = n.Status(ctx)
		b = encode(s)
	case methodJoin:
		b, err = answer(header, func(q joinRequest) (struct{}, error) { return struct{}{}, n.serveJoin(ctx, q) })
	case methodScan:
		b, err = answer(header, func(q scanRequest) (scanReply, error) { return n.serveScan(ctx, q) })
	case methodSend, methodPublish, methodAnycast:
		b, err = answer(header, func(q sendRequest) (any, error) { return n.serveSend(ctx, method, q, body) })
	case methodOutcome:
		b, err = answer(header, func(q taskOutcome) (struct{}, error) { return struct{}{}, n.outcome(ctx, q, body) })
	case methodSubscribe, methodFetch, methodAnswer, methodWatch, methodWatchHere, methodEnd:
		b, err = n.sessions.serve(ctx, method, header, body)
	default:
		err = fmt.Errorf("%w: method %d", errRequest, method)
	}
	return h, b, asLink(err)
}

// answer reads a request and shows the answer to it.
func answer[Q, A any](header []byte, f func(Q) (A, error)) ([]byte, error) {
	var q Q
	if err := decode(header, &q); err != nil {
		return nil, err
	}
	a, err := f(q)
	if err != nil {
		return nil, err
	}
	return encode(a), nil
}

// serveDo answers a request for a record. The header is not empty when the answer is no
// success and the request may have been done all the same.
func (n *Node) serveDo(ctx context.Context, method uint16, body []byte) (h, b []byte, err error) {
	q, err := parseRequest(body)
	if err != nil {
		return nil, nil, err
	}
	if q.Op == records.Watch || q.Op == records.Unwatch {
		return nil, nil, fmt.Errorf("%w: %v is not asked for this way", errRequest, q.Op)
	}
	var r records.Response
	uncertain := true
	if method == methodDoHere {
		r, uncertain, err = n.doHere(ctx, q)
	} else {
		try, cancel := context.WithTimeoutCause(ctx, serveFor, errNoAnswer)
		defer cancel()
		if r, err = n.Do(try, q); err != nil && r.Status != 0 {
			err = nil // the client decides whether it goes on
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if uncertain {
		h = []byte{1}
	}
	return h, appendResponse(r), nil
}

// serveFor is how long a node goes on with a request before the client hears how it
// stands.
const serveFor = 5 * time.Second

func (n *Node) serveLookup(ctx context.Context, q lookupRequest) (lookupReply, error) {
	f, err := n.Lookup(ctx, q.Key)
	return lookupReply{shown(f.Owner), shownAll(f.Hops), f.Took}, err
}

// serveJoin looks for the nodes at once, so that the client hears whether they answer.
func (n *Node) serveJoin(ctx context.Context, q joinRequest) error {
	n.Join(q.Addresses...)
	for _, a := range q.Addresses {
		if !n.meet(ctx, a) {
			return fmt.Errorf("%v does not answer yet; this node goes on trying", a)
		}
	}
	return nil
}

func (n *Node) serveScan(ctx context.Context, q scanRequest) (a scanReply, err error) {
	list, more, err := n.Scan(ctx, q.Prefix, q.After, q.Limit)
	for _, r := range list {
		a.Records = append(a.Records, recordOf(r))
	}
	a.More = more
	return a, err
}

func (n *Node) serveSend(ctx context.Context, method uint16, q sendRequest, body []byte) (any, error) {
	if q.Wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.Wait)
		defer cancel()
	}
	switch method {
	case methodPublish:
		copies, err := n.Publish(ctx, q.Topic, body)
		return publishReply{copies}, err
	case methodAnycast:
		b, by, err := n.Anycast(ctx, q.Topic, body)
		return anycastReply{by, b}, err
	}
	b, err := n.Send(ctx, q.Key, q.Service, body)
	return anycastReply{Payload: b}, err
}
