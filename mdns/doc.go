// Package mdns is multicast DNS (RFC 6762): names and records on a network
// without a DNS server.
//
// For the obvious jobs there are [Claim] (take a host name), [Resolve] (host name
// to addresses) and, for everything else, a [Node]: [Open] one, then
// [Node.Publish] records, [Node.Watch] a question, [Node.ClaimHost] a name.
//
// # How it is built
//
// The protocol is five small engines, each a value without sockets, clocks or
// goroutines; one [Engine] per interface holds them, and a [Host] holds the
// engines of all interfaces and the records that they share:
//
//	Node (run.go: goroutines, sockets, logs)
//	  └─ Host (host.go: one machine, many interfaces, one set of names)
//	       └─ Engine (engine.go: one interface)
//	            ├─ Prober     8.1, 8.2   is the name free?
//	            ├─ Announcer  8.3, 8.4   it is ours now
//	            ├─ Responder  6, 7.1     answers
//	            ├─ Querier    5, 7.1     questions
//	            └─ Cache      10         what others said
//
// # States of a set of records
//
//	Publish ─► probing ──no conflict──► announcing ─► published ─► goodbye
//	             ▲  │ tie-break lost: wait 1 s            │
//	             └──┘                                     │
//	             ▲──────── conflict after the claim ◄─────┘
//	             └─ somebody answered: lost (rename, or ConflictError)
//
// # Bounds
//
// Nothing grows with what others send. A Cache has up to [CacheSize] records and
// [CacheBytes] of data in less than 10 MB; one sender has up to [CacheQuota] of
// them, and the sender with the most makes room. [ReplyMax] replies wait, of them
// [DeferredMax] for further known answers. [QuestionMax] questions are asked, with
// [KnownMax] known answers in a query. Unicast replies are limited by source and in
// size (limiter.go), so that a forged source gains little. [EngineStats] counts
// what each bound cost.
//
// # Glossary
//
// A record is shared (many hosts may have one with that name and type, the PTR
// of a service type say) or unique (one host has all records of that name; the
// cache-flush bit says so). A QU question asks for a unicast answer, a QM
// question for a multicast one. A known answer is a record listed in a query so
// that nobody sends it again. A goodbye is a record with TTL 0. A legacy query
// comes from another port than 5353, from a plain DNS resolver.
//
// A record in doubt is one that may be gone: an address that is not its owner's
// withdrew or replaced it, or a user reconfirms it (reconfirm.go), or its owner did
// not answer others (poof.go, passive observation of failures). It stays until its
// owner had time to answer.
//
// Names are in the presentation form of github.com/miekg/dns: fully qualified,
// dots within labels as \. and bytes outside printable ASCII as \DDD. Case is kept
// and does not matter in comparisons.
//
// Read message.go first, then prober.go.
package mdns
