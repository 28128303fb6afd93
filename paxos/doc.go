// Package paxos is Paxos as a value: it eats messages and instants and gives back
// messages, records to save and values that were chosen. It has no goroutine, no
// clock, no socket, no file and no randomness but that of its Config.
//
// It follows Leslie Lamport, "Paxos Made Simple" (2001), called PMS in comments,
// and "The Part-Time Parliament" (1998). What running systems learned since is
// cited where it is used: "Paxos Made Live" (2007, PML), "Flexible Paxos" (2016),
// "Omni-Paxos" (2023).
//
// # Glossary
//
//   - Ballot: the number of a proposal, unique and ordered: a round and a node.
//   - Slot: one instance of single-decree Paxos; slots are numbered from 1.
//   - Prepare, Promise: phase 1. A promise is never to accept a lower ballot, and
//     tells what was accepted before.
//   - Accept, Accepted: phase 2.
//   - Chosen: a value that a quorum accepted in one ballot. It never changes.
//   - Watermark: the slot up to which all slots are known to be chosen.
//   - Leader: the distinguished proposer of PMS section 2.4, whose one phase 1
//     covers all slots to come.
//   - Poll: asking "would you promise?" before a ballot is raised, so that a node
//     that cannot win disturbs nobody.
//   - Learner: a member that is told what is chosen and whose promises do not count.
//   - Incarnation: a number that a disk is given when it is first used. Promises
//     are those of an incarnation; a wiped disk is another acceptor.
//
// # States of a Node
//
//	           no leader heard              quorum would promise
//	Following ────────────────► Polling ─────────────────────────► Preparing
//	  ▲  ▲                         │                                  │
//	  │  └──── leader heard ───────┘              quorum promised, and │
//	  │                                           behind nobody: Leading
//	  └── higher ballot, quorum lost, own disk hangs ─────────────────┘
//
// # What to read first
//
// single.go beside PMS section 2: Acceptor, Proposer and Learner of one decree, one
// function a message; example.go runs them. Then node.go (the multi-decree Node),
// acceptor.go (promise and accept), candidate.go (phase 1), leader.go (phase 2),
// follower.go (what the leader keeps of each follower) and save.go (nothing leaves
// before it is on disk). membership.go and change.go are about who counts;
// hello.go about disks that were wiped.
//
// Whoever drives a Node saves what Unsaved gives, then calls Saved, sends what
// Outgoing gives, applies what Chosen gives and calls HandleTimeout at NextTimeout.
package paxos
