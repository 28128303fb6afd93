// Package dnssd is DNS-based service discovery (RFC 6763): programs offer services under
// names that people can read, by multicast DNS, and find them, by multicast DNS or at
// DNS servers.
//
// The obvious jobs are one call each, context first:
//
//	dnssd.Register(ctx, dnssd.Instance{Name: "Office", Service: "_ipp._tcp", Port: 631}, cfg)
//	for ev, err := range dnssd.Browse(ctx, "_ipp._tcp", cfg) { … }
//	inst, err := dnssd.Resolve(ctx, "Office", "_ipp._tcp", cfg)
//	for ev, err := range dnssd.Types(ctx, cfg) { … }
//	for ev, err := range dnssd.Domains(ctx, dnssd.BrowseDomains, cfg) { … }
//
// [RegisterAll] offers several instances at once. They may come from a file:
// [ParseServiceFile] reads the XML of Avahi, [ParseZone] a zone file, and [WriteZone]
// writes what was found as one.
//
// # Domains
//
// Config.Domain says where to look. "local" is this link, by multicast DNS. Every other
// domain is asked of Config.Server or of the servers in /etc/resolv.conf as it is then:
// each query from a fresh port with a random ID, by TCP when the answer does not fit,
// again when the answer has grown old. What a link says never sends queries to servers,
// and what servers say never sends any to the link. [Domains] lists the domains that
// somebody recommends: on the link, in the domains that the system searches, and to the
// subnets of this machine (section 11).
//
// # Glossary
//
// A service is what is spoken: "_ipp._tcp", the application protocol and its
// transport. An instance is one thing on offer: the triple of a name for people
// ("Office"), a service and a domain ("local"), section 4.1. A subtype narrows a
// service ("_color" of "_ipp._tcp", section 7.1). An attribute is one key of the
// TXT record (section 6). To browse is to list the instances of a service, to
// resolve is to learn host, port and attributes of one instance, to enumerate is
// to list the services themselves (section 9). A fleet is several services that do the
// same job; its flagship is the one at which all its devices take their names (section
// 8).
//
// # Records of an instance
//
//	_ipp._tcp.local.               PTR  Office._ipp._tcp.local.      shared, 75 min
//	_color._sub._ipp._tcp.local.   PTR  Office._ipp._tcp.local.      shared, 75 min
//	_services._dns-sd._udp.local.  PTR  _ipp._tcp.local.             shared, 75 min
//	Office._ipp._tcp.local.        SRV  0 0 631 box.local.           unique, 2 min
//	Office._ipp._tcp.local.        TXT  "pdl=application/postscript" unique, 75 min
//	Office._printer._tcp.local.    SRV  0 0 0 box.local.             unique, 2 min
//
// The last one only with Flagship "_printer._tcp": it keeps the name from printers that
// speak another protocol.
//
// # How it is built
//
// Two engines, values without goroutine, clock or socket: a [Browser] eats changes
// of records and says which questions to ask and what became of instances; a
// [Registrar] keeps one instance published through conflicts and renames. The
// files run*.go turn them on an [mdns.Node], or on a DNS server, which looks the same: a
// question is watched, and its records come and go.
//
//	Browser, for each instance:
//
//	  PTR seen ─► found ── SRV, TXT, address, or SettleTime ──► told (add)
//	                │                                            │  ▲ │ change: update
//	                │ PTR gone                                   │  └─┘
//	                ▼                                   PTR gone ▼
//	             forgotten                                    told (remove)
//
//	Registrar:
//
//	  publishing ── announced ──► registered ── conflict ─┐
//	      ▲   └──── conflict ──► renaming ◄───────────────┘
//	      └───────── at once, or 5 s later after 15 conflicts in 10 s
//
// # Names
//
// An instance's name may hold any UTF-8, dots and spaces too. Two written forms of
// the whole are in use: that of RFC 6763 section 4.3 ("Dr\. No._http._tcp.local"),
// given by [FullName.String], and that of zone files
// ("Dr\.\ No._http._tcp.local."), given by [FullName.Presentation]. [ParseName]
// reads both. Outside records, domains and hosts are written without a final dot.
//
// Read name.go first, then records.go, then browser.go.
package dnssd
