// Package conform tests a multicast DNS responder on the link from outside: does it do
// what RFC 6762 and RFC 6763 ask of it?
//
// [Run] does all of it: it finds the target, a host ("box.local") or better an instance
// of a service ("Wiki._http._tcp.local"), and runs one [Check] after the other. Each
// gives a [Result] with a [Verdict]: pass, warning (a SHOULD is not met, or a time is at
// the edge), fail (a MUST is not met), or skip with the reason.
//
// # How it is built
//
// A [Tester] is an engine, a value without goroutine, clock or socket. A check is
// written down as one sends and waits, and waiting hands control back to whoever turns
// the Tester (a coroutine, see [iter.Pull]):
//
//	HandlePacket, HandleTimeout ─► resume ─► check ─► wait ─► Outgoing, NextTimeout
//
// # Glossary
//
// The target is the responder that is tested. The unique record is one that it alone
// may have, the SRV of the instance or the address of the host; the shared one is the
// PTR of the service type. To restart the target is to end it and to start it again, so
// that it probes and announces; some checks need that.
//
// Read tester.go first, then reply.go.
package conform
