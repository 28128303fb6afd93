package mdns

import (
	"net/netip"
	"testing"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

const twoLinks = `link eth0 1 10.0.0.1/24
	link wlan0 2 10.0.0.2/24
	claim box
	at 10s
	--
	`

func TestLink_RFC6762_11_OnLinkAddresses(t *testing.T) {
	l := Link{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("2001:db8::1/64"), netip.MustParsePrefix("169.254.9.9/16")}}
	for a, want := range map[string]bool{
		"10.0.0.254": true, "10.0.1.1": false, "169.254.200.1": true, "192.0.2.1": false, "::ffff:10.0.0.7": true,
		"2001:db8::7": true, "2001:db8:0:1::7": false, "fe80::7": true, "fe80::7%eth0": true,
	} {
		if got := l.onLink(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: on-link %v", a, got)
		}
	}
}

func TestEngine_RFC6762_11_AUnicastResponseFromOffTheLinkIsIgnored(t *testing.T) {
	const asked = "link eth0 1 10.0.0.1/24\nask a.local. A\nat 500ms\n--\n"
	expect(t, play(t, asked+"direct 192.0.2.1 1 response a.local. 120 A 192.0.2.1 !"), "!change")
	expect(t, play(t, asked+"direct 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !"), "change add a.local.")
}

// What comes to the group is from the link, whatever the source address says.
func TestEngine_RFC6762_11_AMulticastResponseIsAlwaysLocal(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nrecv 192.0.2.1 1 response a.local. 120 A 192.0.2.1 !"), "change add a.local.")
}

func TestEngine_RFC6762_5_5_ADirectQueryFromTheLinkIsAnsweredByUnicast(t *testing.T) {
	expect(t, play(t, box+"direct 10.0.0.9 1 query box.local. A\nat 10s"), "send 1 10.0.0.9:5353 response", "= box.local. 120 IN A 10.0.0.1 (flush)", "!224.0.0.251")
}

func TestEngine_RFC6762_5_5_ADirectLegacyQueryFromOffTheLinkIsIgnored(t *testing.T) {
	expect(t, play(t, box+"direct 192.0.2.1:4000 1 query box.local. A; id 7\nat 11s"), "!send")
}

// An off-link querier could not use a unicast answer, so the group gets it.
func TestEngine_RFC6762_5_4_AQUQueryFromOffTheLinkIsAnsweredByMulticast(t *testing.T) {
	expect(t, play(t, box+"recv 192.0.2.1 1 query box.local. A QU\nat 10s"), "send 1 224.0.0.251:5353 response", "!192.0.2.1")
}

func TestHost_RFC6762_14_EachInterfaceSaysItsOwnAddress(t *testing.T) {
	expect(t, play(t, twoLinks+"recv 10.0.0.9 1 query box.local. A\nat 10s"), "10s send 1", "A 10.0.0.1 (flush)", "!A 10.0.0.2")
	expect(t, play(t, twoLinks+"recv 10.0.0.9 2 query box.local. A\nat 10s"), "10s send 2", "A 10.0.0.2 (flush)", "!A 10.0.0.1")
}

func TestHost_RFC6762_14_OurOtherInterfaceIsNoConflict(t *testing.T) {
	expect(t, play(t, twoLinks+"recv 10.0.0.2 1 response box.local. 120 A 10.0.0.2 !\nat 15s"), "!conflict", "!renamed", "!probe")
}

func TestHost_RFC6762_14_OurOtherInterfacesProbeIsNoRival(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		link wlan0 2 10.0.0.2/24
		claim box
		at 300ms
		recv 10.0.0.2 1 response box.local. 120 A 10.0.0.2 !
		at 10s`), "claimed box.local.", "!renamed")
}

func TestHost_RFC6762_14_WhatOneInterfaceHearsIsNotSaidOnTheOther(t *testing.T) {
	expect(t, play(t, twoLinks+"recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !\nat 20s\n--\nrecv 10.0.0.8 2 query a.local. A\nat 21s"), "!send")
}

func TestIsLocal_RFC6762_4_LinkLocalReverseNames(t *testing.T) {
	for name, want := range map[string]bool{
		"box.local": true, "BOX.LOCAL.": true, "local.": true, "box.local.example.": false, "notlocal.": false,
		"1.2.254.169.in-addr.arpa.": true, "1.2.168.192.in-addr.arpa.": false,
		"1.0.8.e.f.ip6.arpa.": true, "1.0.b.e.f.ip6.arpa.": true, "1.0.c.e.f.ip6.arpa.": false,
	} {
		if IsLocal(name) != want {
			t.Errorf("%s: local %v", name, !want)
		}
	}
}

// A direct query from elsewhere cannot keep us from a name either.
func TestEngine_RFC6762_5_5_ADirectProbeFromOffTheLinkIsNoRival(t *testing.T) {
	const claim = "link eth0 1 10.0.0.1/24\nclaim box\nat 300ms\n--\n"
	const probe = " 1 query box.local. ANY QU; auth box.local. 120 A 192.0.2.1"
	expect(t, play(t, claim+"direct 192.0.2.1"+probe), "!deferred")
	expect(t, play(t, claim+"direct 10.0.0.9"+probe), "deferred")
}
