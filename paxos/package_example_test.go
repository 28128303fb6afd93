package paxos_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// A cluster of one node: what a driver does with any Node.
func ExampleNode() {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	node, err := paxos.New(now, paxos.Config{
		ID: 1, Rand: rand.New(rand.NewPCG(1, 2)), Members: []paxos.Member{{ID: 1}},
	}, paxos.State{}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 100 {
		at, _ := node.NextTimeout()
		now = at
		node.HandleTimeout(now)
		for record, seq := node.Unsaved(); seq != 0; record, seq = node.Unsaved() {
			_ = record // write it, sync it, and then:
			node.Saved(now, seq)
		}
		node.Outgoing() // to be sent to their To
		if node.Status(now).Role == paxos.Leading {
			break
		}
	}
	if err := node.Propose(now, []byte("hello")); err != nil {
		fmt.Println(err)
		return
	}
	for record, seq := node.Unsaved(); seq != 0; record, seq = node.Unsaved() {
		_ = record
		node.Saved(now, seq)
	}
	for _, e := range node.Chosen() {
		if e.Kind == paxos.Command {
			fmt.Printf("slot %v: %s\n", e.Slot, e.Value)
		}
		node.Applied(now, e.Slot, 0)
	}
	// Output: slot 2: hello
}

// The three roles for a single decree.
func ExampleProposer() {
	var x, y, z paxos.Acceptor
	acceptors := []*paxos.Acceptor{&x, &y, &z}
	learner := paxos.Learner{Quorum: 2}
	proposer := paxos.Proposer{N: paxos.Ballot{Round: 1, Node: 7}, Value: "blue", Quorum: 2}
	for i, a := range acceptors {
		accepted, ok := a.OnPrepare(proposer.N)
		if !ok {
			continue
		}
		proposal, ready := proposer.OnPromise(i, accepted)
		if !ready {
			continue
		}
		for k, b := range acceptors {
			if b.OnAccept(proposal) && learner.OnAccepted(k, proposal) {
				fmt.Println("chosen:", proposal.Value)
				return
			}
		}
	}
	// Output: chosen: blue
}
