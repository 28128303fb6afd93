// Package igmp tells who listens to which multicast group: the Internet Group
// Management Protocol, versions 1 (RFC 1112), 2 (RFC 2236) and 3 (RFC 9776,
// formerly 3376), and Multicast Listener Discovery, the same for IPv6 (RFC 2710
// and RFC 9777, formerly 3810).
package igmp
