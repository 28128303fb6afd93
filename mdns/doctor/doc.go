// Package doctor listens to multicast DNS and says who does not keep to RFC 6762
// and RFC 6763. It sends nothing.
//
// [Doctor] is a value that eats datagrams and gives back findings. They come from a
// live link by [Listen], or from a capture file (pcap or pcapng) by [OpenCapture].
//
// Glossary: a host is the sender of datagrams, known by its address; a finding is
// one host breaking one [Rule] with one record or question; a response is unasked
// when nobody was heard asking for any of its answers in the second before; a
// record is unique when its cache-flush bit is set (RFC 6762 section 10.2).
//
// What it cannot see: unicast on a live link, what a switch keeps
// back, and fragments. A rule that an innocent coincidence can break is reported
// only from the second or third time on.
//
// Read finding.go first, then doctor.go.
package doctor
