package peer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
)

// Message is what a subscriber gets.
type Message struct {
	Topic string
	From  dht.ID // the node through which it was sent
	// Epoch and Number are the place that the topic's root gave it; they grow.
	Epoch, Number uint64
	Payload       []byte
	// Anycast says that it is for this subscriber alone, and Answer must answer it.
	Anycast bool
	// Missed, when not zero, says that there is no message here, but that about so many
	// were lost: this node was away for too long, or the subscriber too slow.
	Missed uint64

	id topics.RequestID
}

// maxWaiting bounds the messages that wait for a subscriber.
const maxWaiting = 1024

var errSlow = errors.New("the subscriber has too much to do")

// Subscription is a node's part in a topic. It is safe for concurrent use.
type Subscription struct {
	n       *Node
	topic   string
	anycast bool
	ready   chan struct{} // closed when it has a place in the tree, or err
	err     error
	once    sync.Once
	wait    chan Message
	missed  atomic.Uint64 // messages for which there was no room
}

// Subscribe makes the node a subscriber of a topic: it gets each message that is
// published from then on once, in the order of the topic's root. With anycast it also
// gets what is meant for one subscriber. It returns when the node has its place in the
// topic's tree, or with ctx.
func (n *Node) Subscribe(ctx context.Context, topic string, anycast bool) (*Subscription, error) {
	if topic == "" || len(topic) > topics.MaxName {
		return nil, topics.ErrName
	}
	s := &Subscription{n: n, topic: topic, anycast: anycast, ready: make(chan struct{}), wait: make(chan Message, maxWaiting)}
	if err := n.call(ctx, func(l *loop) { l.subscribe(s) }); err != nil {
		return nil, err
	}
	select {
	case <-s.ready:
		if s.err != nil {
			return nil, s.err
		}
		return s, nil
	case <-ctx.Done():
		s.Close()
		return nil, context.Cause(ctx)
	case <-n.ended:
		return nil, ErrEnded
	}
}

// Next waits for a message.
func (s *Subscription) Next(ctx context.Context) (Message, error) {
	if n := s.missed.Swap(0); n > 0 {
		return Message{Topic: s.topic, Missed: n}, nil
	}
	select {
	case m := <-s.wait:
		return m, nil
	case <-ctx.Done():
		return Message{}, context.Cause(ctx)
	case <-s.n.ended:
		return Message{}, ErrEnded
	}
}

// Answer answers an anycast: with err, another subscriber is asked.
func (s *Subscription) Answer(m Message, payload []byte, err error) {
	if m.Anycast {
		s.n.answer(m.id, payload, err)
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	_ = s.n.post(context.Background(), func(l *loop) { l.unsubscribe(s) })
}

func (l *loop) subscribe(s *Subscription) {
	list := l.subs[s.topic]
	l.subs[s.topic] = append(list, s)
	if len(list) == 0 {
		if s.err = l.topics.Subscribe(time.Now(), s.topic); s.err != nil {
			delete(l.subs, s.topic)
			s.once.Do(func() { close(s.ready) })
		}
		return
	}
	select {
	case <-list[0].ready: // the node has its place
		s.once.Do(func() { close(s.ready) })
	default:
	}
}

func (l *loop) unsubscribe(s *Subscription) {
	list := slices.DeleteFunc(l.subs[s.topic], func(o *Subscription) bool { return o == s })
	if l.subs[s.topic] = list; len(list) == 0 {
		delete(l.subs, s.topic)
		l.topics.Unsubscribe(time.Now(), s.topic)
	}
	for { // what it will not answer
		select {
		case m := <-s.wait:
			if m.Anycast {
				l.topics.Answer(time.Now(), m.id, nil, errors.New("the subscriber went away"))
			}
		default:
			return
		}
	}
}

// subscribed tells the subscribers of a topic that the node has its place.
func (l *loop) subscribed(topic string) {
	for _, s := range l.subs[topic] {
		s.once.Do(func() { close(s.ready) })
	}
}

// delivered gives a message to the topic's subscribers at this node.
func (l *loop) delivered(topic string, m Message) {
	for _, s := range l.subs[topic] {
		select {
		case s.wait <- m:
		default:
			s.missed.Add(1)
		}
	}
}

// offered gives an anycast to a subscriber that takes them: the one with the least to
// do.
func (l *loop) offered(e topics.Asked) {
	var best *Subscription
	for _, s := range l.subs[e.Topic] {
		if s.anycast && (best == nil || len(s.wait) < len(best.wait)) {
			best = s
		}
	}
	m := Message{Topic: e.Topic, From: e.From, Payload: e.Payload, Anycast: true, id: e.ID}
	if best != nil {
		select {
		case best.wait <- m:
			return
		default:
		}
	}
	l.topics.Answer(time.Now(), e.ID, nil, errSlow)
}

// Send asks the service of the node that owns key, and returns its answer. A request is
// handled once while the owner lives; when it dies before it answers, the next owner
// handles it. The errors are those of package topics.
func (n *Node) Send(ctx context.Context, key dht.ID, service string, payload []byte) ([]byte, error) {
	o, err := n.ask(ctx, func(l *loop) uint64 { return l.topics.Send(time.Now(), key, service, payload) })
	return o.payload, err
}

// Publish sends payload, at most 64 KiB, to all subscribers of a topic. It returns when
// several nodes hold the message, so that it arrives also if one of them dies, and tells
// how many.
func (n *Node) Publish(ctx context.Context, topic string, payload []byte) (copies int, err error) {
	o, err := n.ask(ctx, func(l *loop) uint64 { return l.topics.Publish(time.Now(), topic, payload) })
	return o.copies, err
}

// Anycast sends payload to one subscriber of a topic that accepts it, the nearest first
// where distances are known, and returns its answer and its node.
func (n *Node) Anycast(ctx context.Context, topic string, payload []byte) (answer []byte, by dht.ID, err error) {
	o, err := n.ask(ctx, func(l *loop) uint64 { return l.topics.Anycast(time.Now(), topic, payload) })
	return o.payload, o.by, err
}

// ask has the loop begin a request, and waits for what becomes of it.
func (n *Node) ask(ctx context.Context, begin func(l *loop) uint64) (outcome, error) {
	to := make(chan outcome, 1)
	number := make(chan uint64, 1)
	err := n.post(ctx, func(l *loop) {
		k := begin(l)
		l.asked[k] = to
		number <- k
	})
	if err != nil {
		return outcome{}, err
	}
	select {
	case o := <-to:
		return o, o.err
	case <-n.ended:
		return outcome{}, ErrEnded
	case <-ctx.Done():
	}
	_ = n.post(context.WithoutCancel(ctx), func(l *loop) {
		k := <-number // was put there by this same goroutine
		delete(l.asked, k)
		l.topics.Cancel(k)
	})
	return outcome{}, context.Cause(ctx)
}
