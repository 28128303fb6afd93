// Package netsim is a network inside a test: segments that every attached node
// hears, links between two nodes, and everything that goes wrong on them. One
// seed decides all of it.
//
// It has two faces.
//
// [Sim] drives engines directly, without a goroutine, in virtual time. Events
// are ordered by (instant, sequence number), the only randomness is the seed's,
// and [Sim.Trace] is a hash over everything that happened: the same seed gives
// the same trace. Thousands of nodes and hours of protocol time take
// milliseconds.
//
//	sim := netsim.New[string, event](seed)
//	sim.Segment("lan").Faults = netsim.Faults{Delay: time.Millisecond, Loss: 0.1}
//	a := sim.Attach(engineA, "lan")
//	b := sim.Attach(engineB, "lan")
//	sim.RunFor(time.Minute)
//
// [Medium] hands out [Conn]s for the loop of package loop. Each wait blocks on a
// channel or a timer, so it is durably blocking in a testing/synctest bubble,
// where drivers run with fake time.
//
// Read sim.go first, then faults.go.
package netsim
