// Command bench compares paxos/replica with other consensus libraries on this machine:
// three replicas in one process, connected over loopback, each with its own directory,
// every record synced (fdatasync) before it counts.
//
// It is a module of its own, so that the libraries it compares with are no
// dependencies of aether; `go test ./...` and CI of the main module do not see it. Run it
// from its directory:
//
//	cd paxos/testdata/bench
//	go run .                                    # writes, all systems, 5 rounds
//	go run . -clients 1024 -systems aether,etcd-async -for 10s -rounds 7
//	go run . -what read -clients 256            # read-index reads beside writes
//	go run . -what load -systems aether         # latency at 70 % of the peak
//	go run . -what failover -rounds 30          # kill -9 of the leader, real processes
//	go run . -json > result.jsonl
//
// # Systems
//
//   - aether: paxos/replica as `aether paxos serve` runs it: paxos, paxos/log,
//     paxos/peer (TLS) and paxos/kv with sessions, its state in the same Pebble.
//   - etcd-async, etcd-sync: go.etcd.io/raft/v3's RawNode with the very same
//     paxos/log, paxos/peer, paxos/kv and snapshots around it. async uses its
//     AsyncStorageWrites, with one sync for all appends that wait; sync its Ready and
//     Advance, where the leader sends before it saves, like etcd does. In both all
//     proposals that wait go into one MsgProp.
//   - hashicorp-wal, hashicorp-bolt: hashicorp/raft with raft-wal and raft-boltdb/v2,
//     each behind a LogCache, plain TCP, BatchApplyCh, and batches of up to 64 commands
//     (the default); the names with -1024 set MaxAppendEntries to its maximum. Its state machine is the same
//     paxos/kv in memory, and writes no snapshots: both are to its advantage.
//
// hashicorp/raft is v1.7.3: raft-boltdb v2.3.1 does not build beside v1.8.0, because
// they need different versions of go-metrics.
//
// # Method
//
// A command is a put of a 16-byte value to the client's own key, in the client's
// session; it counts when it is chosen, applied and answered. Clients are goroutines
// of the process that call the leader; each has one command under way (closed loop).
// In every round all systems run one after the other, in turn forwards and backwards,
// so that what else the machine does meets all of them. The figures are medians over
// the rounds with the lowest and the highest; ratios are taken within a round. CPU is
// that of the whole process: three replicas and the clients.
//
// Floor is what no system can go below at one client: the median time to append
// 4 KiB to a file and fdatasync it, in the same directory, and of a round trip of 64
// bytes over loopback TCP. The time to overwrite allocated blocks is shown beside it, and
// that of three appends at once until two are done: three replicas on one disk cannot
// do better than that ("of three").
package main
