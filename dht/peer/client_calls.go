package peer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/records"
)

// query asks with a header, and reads the answer into a.
func (c *Client) query(ctx context.Context, method uint16, q any, body []byte, a any) error {
	b, err := c.ask(ctx, method, encode(q), body)
	if err != nil {
		return fromLink(err)
	}
	return decode(b, a)
}

// Do has a request done; see [Node.Do]. It goes on until ctx ends when too few nodes
// answer.
func (c *Client) Do(ctx context.Context, q records.Request) (Record, error) {
	if q.ID == (records.RequestID{}) {
		q.ID = NewRequestID()
	}
	wait := retryFirst
	for {
		r, err := c.tryDo(ctx, q)
		if err == nil && isFinal(r.Status) {
			return recordOf(r.Record), errorOf(q.Name, r)
		}
		if err != nil && !again(err) {
			return Record{}, fmt.Errorf("%q: %w", q.Name, fromLink(err))
		}
		q.Again = q.Again || !errors.Is(err, ErrUnreachable) // it may have been done
		if late := pause(ctx, &wait); late != nil {
			return recordOf(r.Record), doError(q.Name, r, errors.Join(late, err))
		}
	}
}

// tryDo asks a node once.
func (c *Client) tryDo(ctx context.Context, q records.Request) (records.Response, error) {
	b, err := c.once(ctx, methodDo, nil, appendRequest(q))
	if err != nil {
		return records.Response{}, err
	}
	return parseResponse(b)
}

// Get returns the record of a name; it is not older than anything that was answered
// before. The error is ErrNotFound when there is none.
func (c *Client) Get(ctx context.Context, name string) (Record, error) {
	return c.Do(ctx, records.Request{Op: records.Get, Name: name})
}

// Put stores a value under a name; see [Node.Put].
func (c *Client) Put(ctx context.Context, name string, value []byte, ttl time.Duration) (Record, error) {
	return put(name, value, ttl, func(q records.Request) (Record, error) { return c.Do(ctx, q) })
}

// Swap stores a value if version is that of the record; see [Node.Swap].
func (c *Client) Swap(ctx context.Context, name string, version uint64, value []byte) (Record, error) {
	return c.Do(ctx, records.Request{Op: records.Swap, Name: name, Version: version, Value: value})
}

// Delete removes a record; see [Node.Delete].
func (c *Client) Delete(ctx context.Context, name string, version uint64) (Record, error) {
	return remove(name, version, func(q records.Request) (Record, error) { return c.Do(ctx, q) })
}

// Scan lists records; see [Node.Scan].
func (c *Client) Scan(ctx context.Context, prefix, after string, limit int) ([]Record, bool, error) {
	var a scanReply
	err := c.query(ctx, methodScan, scanRequest{prefix, after, limit}, nil, &a)
	return a.Records, a.More, err
}

// Lookup finds who owns a point; see [Node.Lookup].
func (c *Client) Lookup(ctx context.Context, key dht.ID) (owner NodeStatus, hops []NodeStatus, took time.Duration, err error) {
	var a lookupReply
	err = c.query(ctx, methodLookup, lookupRequest{key}, nil, &a)
	return a.Owner, a.Hops, a.Took, err
}

// Status asks the node how it stands.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.query(ctx, methodStatus, struct{}{}, nil, &s)
	return s, err
}

// Join tells the node of others. It fails when they do not answer; the node goes on
// trying all the same.
func (c *Client) Join(ctx context.Context, list ...netip.AddrPort) error {
	return c.query(ctx, methodJoin, joinRequest{list}, nil, &struct{}{})
}

// Send asks the service of the node that owns key; see [Node.Send].
func (c *Client) Send(ctx context.Context, key dht.ID, service string, payload []byte) ([]byte, error) {
	var a anycastReply
	err := c.query(ctx, methodSend, sendRequest{Key: key, Service: service}, payload, &a)
	return a.Payload, err
}

// Publish sends payload to all subscribers of a topic; see [Node.Publish].
func (c *Client) Publish(ctx context.Context, topic string, payload []byte) (copies int, err error) {
	var a publishReply
	err = c.query(ctx, methodPublish, sendRequest{Topic: topic}, payload, &a)
	return a.Copies, err
}

// Anycast sends payload to one subscriber of a topic; see [Node.Anycast].
func (c *Client) Anycast(ctx context.Context, topic string, payload []byte) (answer []byte, by dht.ID, err error) {
	var a anycastReply
	err = c.query(ctx, methodAnycast, sendRequest{Topic: topic}, payload, &a)
	return a.Payload, a.By, err
}

// Subscribe calls f with each message of a topic, until ctx ends or f fails. ready,
// which may be nil, is called when the subscription has its place: what is published
// from then on arrives. With anycast f also gets what is meant for one subscriber, and
// what it returns is the answer; its error refuses that message, and another subscriber
// is asked, unless it comes with an answer: then it ends the subscription.
func (c *Client) Subscribe(ctx context.Context, topic string, anycast bool, ready func(), f func(Message) ([]byte, error)) error {
	for {
		var open openReply
		if err := c.query(ctx, methodSubscribe, openRequest{Name: topic, Anycast: anycast}, nil, &open); err != nil {
			return err
		}
		if ready != nil {
			ready()
		}
		err := c.fetch(ctx, open, func(i item) error {
			m := Message{
				Topic: topic, From: i.From, Epoch: i.Epoch, Number: i.Number, Payload: i.Payload, Anycast: i.Anycast, Missed: i.Missed, id: i.ID,
			}
			answer, err := f(m)
			if !m.Anycast {
				return err
			}
			q := answerRequest{Session: open.Session, ID: m.id}
			if err != nil && answer == nil {
				q.Error, err = err.Error(), nil
			}
			return errors.Join(c.query(ctx, methodAnswer, q, answer, &struct{}{}), err)
		})
		if !errors.Is(err, ErrSession) {
			return err
		}
	}
}

// Watch calls f with the changes of a record, or with prefix of all whose names begin
// with name; see [Node.Watch] and [Node.WatchPrefix].
func (c *Client) Watch(ctx context.Context, name string, prefix bool, f func(Record) error) error {
	told := seen{versions: map[string]uint64{}}
	for first := true; ; {
		var open openReply
		if err := c.query(ctx, methodWatch, openRequest{Name: name, Prefix: prefix}, nil, &open); err != nil {
			return err
		}
		err := c.fetch(ctx, open, func(i item) error {
			if i.Record == nil || !told.fresh(recordFrom(*i.Record)) && !first {
				return nil
			}
			first = false
			return f(*i.Record)
		})
		if !errors.Is(err, ErrSession) {
			return err
		}
	}
}

// fetch calls f with what a session has, until it ends, ctx does, or f fails. When the
// node is lost, the session is, too.
func (c *Client) fetch(ctx context.Context, open openReply, f func(item) error) error {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_, _ = c.once(ctx, methodEnd, encode(open), nil)
	}()
	for {
		b, err := c.once(ctx, methodFetch, encode(open), nil)
		if err = fromLink(err); err != nil {
			if ctx.Err() == nil && !isTold(err) {
				return fmt.Errorf("%w: %w", ErrSession, err) // the connection, or the node
			}
			return err
		}
		var r fetchReply
		if err := decode(b, &r); err != nil {
			return err
		}
		for _, i := range r.Items {
			if err := f(i); err != nil {
				return err
			}
		}
	}
}

// isTold reports whether err is one that the node told.
func isTold(err error) bool {
	var e *remoteError
	return errors.As(err, &e)
}
