package records

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

// liar fills messages with whatever has the right form, most of it about groups and
// names that there are.
type liar struct {
	r      *rand.Rand
	peers  []dht.Peer
	groups []Group
}

func (l *liar) fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *dht.Peer:
		*p = l.peers[l.r.IntN(len(l.peers))]
		p.Incarnation = l.r.Uint64N(3)
		return
	case *dht.ID:
		*p = l.peers[l.r.IntN(len(l.peers))].ID
		return
	case *Group:
		if *p = l.groups[l.r.IntN(len(l.groups))]; l.r.IntN(3) > 0 {
			return
		}
		p.Epoch += l.r.Uint64N(3)
		if l.r.IntN(2) == 0 {
			p.Members = nil
			l.fill(reflect.ValueOf(&p.Members).Elem())
		}
		if l.r.IntN(3) == 0 {
			l.fill(reflect.ValueOf(&p.Arc).Elem())
		}
		return
	case *Ref:
		*p = l.groups[l.r.IntN(len(l.groups))].Ref()
		if l.r.IntN(3) == 0 {
			p.Epoch += l.r.Uint64N(3)
		}
		return
	case *time.Duration:
		*p = time.Duration(l.r.Int64N(int64(time.Hour))) * time.Duration(l.r.IntN(2))
		return
	case *[]byte:
		*p = AppendRecord(nil, Record{Version: l.number(), Value: []byte("lie"), Deleted: l.r.IntN(4) == 0})
		return
	case *string:
		*p = fmt.Sprint("n", l.r.IntN(5))
		return
	case *Op:
		*p = Op(l.r.IntN(int(merge) + 2))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				l.fill(f)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), l.r.IntN(4), 4))
		for i := range v.Len() {
			l.fill(v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			l.fill(v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(l.r.IntN(2) == 0)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64, reflect.Uint16:
		v.SetUint(l.number() & (1<<(8*v.Type().Size()-1)*2 - 1))
	case reflect.Int:
		v.SetInt(int64(l.r.IntN(20)))
	}
}

func (l *liar) number() uint64 {
	switch l.r.IntN(8) {
	case 0:
		return 0
	case 1:
		return l.r.Uint64()
	case 2:
		return ^uint64(0)
	}
	return l.r.Uint64N(6)
}

// One member lies about everything that has a form. The engine does not panic and is
// there afterwards.
func TestEngine_SurvivesLies(t *testing.T) {
	kinds := []Message{
		Arcs{}, Prepare{}, Promise{}, Nack{}, Gather{}, Piece{}, Install{}, Installed{}, Accept{}, Accepted{}, Decided{},
		Active{}, Write{}, Wrote{}, Unheard{}, Confirm{}, Confirmed{}, Abandon{}, Ask{}, Reply{},
	}
	for seed := range uint64(60) {
		l := &liar{r: rand.New(rand.NewPCG(seed, 9))}
		for i := range byte(4) {
			l.peers = append(l.peers, dht.Peer{ID: dht.ID{19: 7 + i}, Incarnation: 1})
		}
		a := newAlone(t, Config{Seed: seed, Self: dht.Peer{Incarnation: 1}})
		self := a.e.cfg.Self
		a.do(Request{Op: Put, Name: "n1", Value: []byte("1")})
		for _, r := range a.e.leads {
			l.groups = append(l.groups, r.r.group)
		}
		if seed%2 == 0 {
			a.e.HandleView(a.now, dht.View{Self: self, Predecessor: l.peers[2], Successors: []dht.Peer{l.peers[1], l.peers[2]}})
		}
		for range 1500 {
			m := reflect.New(reflect.TypeOf(kinds[l.r.IntN(len(kinds))])).Elem()
			l.fill(m)
			// As it comes over the wire, if it can.
			msg, err := ParseMessage(AppendMessage(nil, m.Interface().(Message)))
			if err != nil {
				continue
			}
			a.e.HandleMessage(a.now, l.peers[1+l.r.IntN(3)], msg)
			if _, seq, ok := a.e.Unsaved(); ok && l.r.IntN(2) == 0 {
				a.e.Saved(a.now, seq)
			}
			a.e.Events()
			for _, p := range a.e.Outgoing() {
				if g, ok := p.Message.(Prepare); ok && len(l.groups) < 20 {
					l.groups = append(l.groups, g.Group)
				}
			}
			a.now = a.now.Add(time.Duration(l.r.Int64N(int64(50 * time.Millisecond))))
			a.e.HandleTimeout(a.now)
		}
	}
}
