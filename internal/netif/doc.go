// Package netif tells which network interfaces a machine has and what happens
// to them: addresses, carrier, and the machine's sleep.
//
// [Watch] is the heart: it says what exists and then what changes. [List] and
// [ByName] answer once. [AddAddress], [AddDefaultRoute], [SetUp] and their
// opposites configure an interface and need CAP_NET_ADMIN.
//
// On Linux everything is asked of the kernel by netlink (RFC 3549), in the
// network namespace of the calling OS thread at the time of the call. Other
// systems are polled every two seconds and cannot be configured from here.
//
// Read diff.go first: it turns two listings into events and is all the thought
// there is; the other files only fetch listings.
package netif
