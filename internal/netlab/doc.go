// Package netlab gives tests real kernel hosts on a network of their own.
//
// A [Host] is a network namespace with the kernel's whole TCP/IP stack in it. Its
// interfaces are veth pairs whose other ends are the ports of a [Switch], and
// the switch is a Go program: it learns hardware addresses, floods broadcast
// and multicast, and can lose, delay, double and reorder frames, fall apart
// into partitions, pull a cable and write what it sees to a pcap file.
//
//	host "a"                switch's namespace             host "b"
//	┌────────────┐     ┌──────────────────────────┐     ┌────────────┐
//	│ eth0 ══════╪veth═╪═ p1 ─┐            ┌─ p2 ═╪═veth╪═══════ eth0│
//	│ lo         │     │       └─► Switch ◄─┘      │     │         lo │
//	└────────────┘     │     AF_PACKET sockets     │     └────────────┘
//	 own hostname      └──────────────────────────┘
//
//	func TestMain(m *testing.M) { netlab.Main(m) }
//
//	func TestGreeting(t *testing.T) {
//		lab := netlab.New(t)
//		sw := lab.Switch(netlab.SwitchConfig{Seed: 1})
//		a, b := lab.Host("a"), lab.Host("b")
//		a.Attach(sw, "eth0")
//		b.Attach(sw, "eth0").SetFaults(netlab.Faults{Loss: 0.1})
//		a.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24"))
//		err := a.Do(func() error { … sockets opened here are in host a … })
//		out, err := b.Command("ip", "address").Output()
//	}
//
// Group frames are flooded; a switch that snoops, as most do, is made with
// [NewSnooping] as the Forwarder of its [SwitchConfig].
//
// # Rights
//
// Namespaces need CAP_SYS_ADMIN. [Main] runs the tests as they are when the
// process has it, and otherwise runs the test binary again as root of a user
// namespace of its own, which most kernels let anybody have. Where neither
// works, [New] skips the test and says what is missing.
//
// # Nothing stays behind
//
// No namespace has a name or a mount: each lives as long as the threads,
// sockets and descriptors of the test process, so that the kernel takes all of
// it away however the process ends. Programs started by [Host.Command] are
// killed when the test ends, and by the kernel when the test process dies. What
// those programs start themselves is killed when the test ends too, but survives
// a kill -9 of the test process: death signals do not pass to grandchildren.
//
// # The trap
//
// A namespace belongs to an OS thread. [Host.Do] runs its function on a thread
// that is in the host and stays there; a goroutine started from that function
// runs on any thread, so it must not open sockets (a Dial that races IPv4
// against IPv6 does): open them in the function, use them anywhere.
//
// Read lab.go and host.go for what a test sees, switch.go for the way of a frame.
package netlab
