// Package multicast sends to groups and hears them, one interface at a time.
//
// A group is an IPv4 address in 224.0.0.0/4 (RFC 1112) or an IPv6 address in
// ff00::/8 (RFC 4291 section 2.7). [Listen] joins a group on one named interface
// and gives a [Conn] whose datagrams carry what protocols such as multicast DNS
// must know: the sender with its zone, the destination, the interface and the
// hop limit.
//
//	conn, err := multicast.Listen(ctx, multicast.Config{
//		Interface: "eth0",
//		Group:     netip.MustParseAddrPort("239.10.20.30:9000"),
//	})
//
// [Dial] sends to a group without joining it. [Conn.ReadBatch] and [Conn.WriteBatch]
// move many datagrams by one system call; [Config].More hears many groups of one port
// by one socket. [Stats] tells loss at the own socket from loss on the wire. [Pick]
// gives an application a safe group from a name, [DefaultInterface] the interface that
// it should use when it was told none.
//
// Glossary: a channel ([Channel]) is a group and the one source that is heard
// (RFC 4607); a group's scope ([ScopeOf]) is how far routers let it travel; its
// aliases ([Aliases]) are the 32 IPv4 groups that share its Ethernet address; a
// flooded group ([Flooded]) shares its Ethernet address with 224.0.0.x, which
// switches send to every port whoever has joined.
//
// Which datagrams a Conn gives: on Linux the socket is bound to the group's own
// address, is tied to the interface, and has IP_MULTICAST_ALL off; on every
// system the destination and the interface that the kernel reports are compared
// again, because a socket bound to the wildcard address also hears groups that
// another program joined (golang/go issues 34728 and 73484). A Conn of several groups
// has the wildcard address and relies on the comparison.
//
// Read group.go first, then conn.go and conn_batch.go.
package multicast
