package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

// mapOp is what a client did to a key, and what it was answered.
type mapOp struct {
	Client    int
	Kind      string // get, put, cas, del
	Key       string
	Value     string // of put and cas: the new one
	Old       string // of cas; "": the key is not there
	Call, Ret int64  // nanoseconds of the clock of this machine
	Answered  bool   // if not, it may have happened or may happen yet
	Found     string // what the key had, of get and of cas that failed; "": nothing
	Done      bool   // of cas and del: it was made
}

// mapClients is the program of which a laboratory runs one: clients that read and
// write a few keys of a cluster until standard input ends, and print what they did.
// Besides those that ask whom they like there are readers that ask one node each: it
// may have led once and not know better.
func mapClients() {
	f := flag.NewFlagSet("paxos-clients", flag.ExitOnError)
	var list []netip.AddrPort
	f.Func("endpoint", "", func(s string) error {
		a, err := netip.ParseAddrPort(s)
		list = append(list, a)
		return err
	})
	seed := f.Uint64("seed", 1, "")
	cluster := f.String("cluster", "aether", "")
	writers := f.Int("writers", 4, "")
	_ = f.Parse(os.Args[1:])
	ctx, stop := context.WithCancel(context.Background())
	w := &mapWork{out: bufio.NewWriter(os.Stdout), began: time.Now(), seed: *seed, stopped: ctx.Done()}
	var wg sync.WaitGroup
	for i := range *writers {
		wg.Go(func() {
			w.client(i, replica.ClientConfig{Cluster: *cluster, Endpoints: append(list[i%len(list):len(list):len(list)], list[:i%len(list)]...), Try: time.Second}, false)
		})
	}
	for i := range list {
		wg.Go(func() {
			w.client(*writers+i, replica.ClientConfig{Cluster: *cluster, Endpoints: list[i : i+1], Try: 10 * time.Second}, true)
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	wg.Wait()
	_ = w.out.Flush()
}

// mapWork is what the clients share.
type mapWork struct {
	mu      sync.Mutex
	out     *bufio.Writer
	began   time.Time
	seed    uint64
	stopped <-chan struct{}
}

// now is the machine's clock, which does not go back while the program runs.
func (w *mapWork) now() int64 { return w.began.UnixNano() + int64(time.Since(w.began)) }

func (w *mapWork) print(op mapOp) {
	b, err := json.Marshal(op)
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.out.Write(append(b, '\n'))
	_ = w.out.Flush()
}

// mapKeys is how many keys the clients use.
const mapKeys = 6

// client does one thing after the other.
func (w *mapWork) client(id int, cfg replica.ClientConfig, reader bool) {
	cl := replica.NewClient(cfg)
	defer cl.Close()
	rng := rand.New(rand.NewPCG(w.seed, uint64(id)))
	last := map[string]string{} // what a key had when this client saw it
	tick := time.NewTicker(time.Duration(20+5*id) * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-w.stopped:
			return
		}
		op := mapOp{Client: id, Kind: "get", Key: fmt.Sprint("k", rng.IntN(mapKeys)), Call: w.now()}
		if k := rng.IntN(10); !reader && k < 7 {
			op.Value = fmt.Sprintf("%d.%d", id, n)
			switch {
			case k < 3:
				op.Kind = "put"
			case k < 6:
				op.Kind, op.Old = "cas", last[op.Key]
			default:
				op.Kind, op.Value = "del", ""
			}
		}
		w.do(cl, &op)
		last[op.Key] = op.Found
		if op.Done {
			last[op.Key] = op.Value
		}
		w.print(op)
	}
}

// do does op and notes the answer.
func (w *mapWork) do(cl *replica.Client, op *mapOp) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if op.Kind == "get" {
		v, _, err := cl.Get(ctx, []byte(op.Key), false)
		op.Ret, op.Answered, op.Found = w.now(), err == nil, string(v.Value)
		return
	}
	c := kv.Command{Op: kv.Put, Key: []byte(op.Key), Value: []byte(op.Value)}
	switch {
	case op.Kind == "del":
		c.Op = kv.Delete
	case op.Kind == "cas" && op.Old == "":
		c.Expect = kv.Expect{Condition: kv.Absent}
	case op.Kind == "cas":
		c.Expect = kv.Expect{Condition: kv.HasValue, Value: []byte(op.Old)}
	}
	r, err := cl.Do(ctx, c)
	op.Ret = w.now()
	switch {
	case err == nil:
		op.Answered, op.Done = true, true
	case errors.Is(err, kv.ErrMismatch):
		op.Answered, op.Found = true, string(r.Value)
	case errors.Is(err, kv.ErrNotFound):
		op.Answered = true
	}
}

// mapModel is what one key of the map does.
var mapModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		has, op := state.(string), input.(mapOp)
		after, made := has, true
		switch op.Kind {
		case "put":
			after = op.Value
		case "cas":
			if made = has == op.Old; made {
				after = op.Value
			}
		case "del":
			made, after = has != "", ""
		}
		switch {
		case !op.Answered:
			return true, after
		case op.Kind == "get":
			return op.Found == has, has
		case op.Kind == "cas" && !made:
			return !op.Done && op.Found == has, has
		}
		return op.Done == made, after
	},
	Equal: func(a, b any) bool { return a == b },
}

// checkMap checks that every key did what one map would have done.
func checkMap(t *testing.T, list []mapOp) {
	t.Helper()
	byKey := map[string][]porcupine.Operation{}
	answered := 0
	for _, op := range list {
		if op.Answered {
			answered++
		} else {
			if op.Kind == "get" {
				continue
			}
			op.Ret = int64(^uint64(0) >> 1)
		}
		byKey[op.Key] = append(byKey[op.Key], porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: op.Ret})
	}
	for key, ops := range byKey {
		if got := porcupine.CheckOperationsTimeout(mapModel, ops, time.Minute); got != porcupine.Ok {
			t.Errorf("the history of %s, %d operations: %v", key, len(ops), got)
		}
	}
	t.Logf("%d operations, %d answered", len(list), answered)
}

// The model takes what a map does and no more: without it a check shows nothing.
func TestMapModel(t *testing.T) {
	at := func(i int64, op mapOp) mapOp {
		op.Key, op.Call, op.Ret, op.Answered = "k", 2*i, 2*i+1, true
		return op
	}
	right := []mapOp{
		{Kind: "get"}, {Kind: "put", Value: "a", Done: true}, {Kind: "get", Found: "a"}, {Kind: "cas", Old: "b", Value: "c", Found: "a"},
		{Kind: "cas", Old: "a", Value: "c", Done: true}, {Kind: "get", Found: "c"}, {Kind: "del", Done: true}, {Kind: "del"}, {Kind: "get"},
	}
	legal := func(list []mapOp) bool {
		var ops []porcupine.Operation
		for i, op := range list {
			op = at(int64(i), op)
			ops = append(ops, porcupine.Operation{Input: op, Call: op.Call, Return: op.Ret})
		}
		return porcupine.CheckOperations(mapModel, ops)
	}
	if !legal(right) {
		t.Error("what a map does is refused")
	}
	for i := range right {
		wrong := append([]mapOp(nil), right...)
		if wrong[i].Kind == "get" {
			wrong[i].Found += "x"
		} else {
			wrong[i].Done = !wrong[i].Done
		}
		if wrong[i].Kind != "put" && legal(wrong) {
			t.Errorf("with %+v as number %d it is taken for a map's", wrong[i], i)
		}
	}
}

// parseMapOps reads what mapClients printed.
func parseMapOps(t *testing.T, s string) (list []mapOp) {
	t.Helper()
	for line := range strings.Lines(s) {
		var op mapOp
		if !strings.HasSuffix(line, "\n") {
			break // it is still being written
		}
		if err := json.Unmarshal([]byte(line), &op); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		list = append(list, op)
	}
	return list
}
