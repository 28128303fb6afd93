package mdns

import "testing"

func TestCache_RFC6762_10_5_TwoUnansweredQueriesOfOthers(t *testing.T) {
	const begin = "link eth0 1 10.0.0.1/24\n" +
		"recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !; _x._tcp.local. 4500 PTR a._x._tcp.local.\nat 5s\n--\n"
	const gone, stays = "17s event 1 change remove box.local. 120 IN A 10.0.0.9 (flush) (poof)", "!remove"
	for _, c := range []struct {
		name, first, second string
		want                string
	}{
		{"of one host", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8 1 query box.local. A", gone},
		{"of two hosts", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.7 1 query box.local. A", gone},
		{"in other case, for any type", "recv 10.0.0.8 1 query BOX.local. ANY", "recv 10.0.0.7 1 query box.LOCAL. A", gone},
		{"a shared record", "recv 10.0.0.8 1 query _x._tcp.local. PTR", "recv 10.0.0.8 1 query _x._tcp.local. PTR",
			"17s event 1 change remove _x._tcp.local. 4500 IN PTR a._x._tcp.local. (poof)"},
		{"another known answer", "recv 10.0.0.8 1 query _x._tcp.local. PTR", "recv 10.0.0.8 1 query _x._tcp.local. PTR; known _x._tcp.local. 4500 PTR b._x._tcp.local.",
			"17s event 1 change remove _x._tcp.local. 4500 IN PTR a._x._tcp.local. (poof)"},
		{"one is not enough", "recv 10.0.0.8 1 query box.local. A", "", stays},
		{"QU", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8 1 query box.local. A QU", stays},
		{"known to the querier", "recv 10.0.0.8 1 query _x._tcp.local. PTR", "recv 10.0.0.8 1 query _x._tcp.local. PTR; known _x._tcp.local. 4400 PTR a._x._tcp.local.", stays},
		{"known answers elsewhere", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8 1 query box.local. A; tc", stays},
		{"a probe", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8 1 query box.local. ANY; auth box.local. 120 A 10.0.0.8", stays},
		{"a legacy query", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8:4000 1 query box.local. A; id 7", stays},
		{"to our address", "recv 10.0.0.8 1 query box.local. A", "direct 10.0.0.8 1 query box.local. A", stays},
		{"from our address", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.1 1 query box.local. A", stays},
		{"of the owner", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.9 1 query box.local. A", stays},
		{"another type", "recv 10.0.0.8 1 query box.local. A", "recv 10.0.0.8 1 query box.local. AAAA", stays},
		{"answered between", "recv 10.0.0.8 1 query box.local. A\nat 5100ms\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !", "recv 10.0.0.8 1 query box.local. A", stays},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, play(t, begin+c.first+"\nat 7s\n"+c.second+"\nat 30s"), c.want, "!send")
		})
	}
}

func TestCache_RFC6762_10_5_WhenQueriesCount(t *testing.T) {
	const begin = "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n"
	const query = "\nrecv 10.0.0.8 1 query box.local. A\n"
	for _, c := range []struct{ name, commands, want string }{
		{"both families carry the same query", "at 5s" + query + "recv fe80::8%eth0 1 query box.local. A\n--\nat 60s", "!poof"},
		{"more than ten seconds apart", "at 5s" + query + "at 16s" + query + "--\nat 60s", "!poof"},
		{"the count begins anew then", "at 5s" + query + "at 16s" + query + "at 18s" + query + "--\nat 60s", "28s event 1 change remove"},
		{"the owner may be silent for a second", "at 900ms" + query + "at 1800ms" + query + "--\nat 60s", "!poof"},
		{"an answer after nine seconds", "at 5s" + query + "at 6s" + query + "at 15s\nrecv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n--\nat 60s", "!poof"},
		{"a record that goes sooner anyway", "at 115s" + query + "at 116s" + query + "--\nat 130s", "2m0s event 1 change remove box.local. 120 IN A 10.0.0.9 (flush) (expired)"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, begin+c.commands), c.want, "!send") })
	}
}

// What may be gone is not listed as known: that would keep its owner silent.
func TestCache_RFC6762_10_5_OwnQueriesLetTheOwnerAnswer(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		ask _x._tcp.local. ANY
		at 500ms
		recv 10.0.0.9 1 response _x._tcp.local. 15 PTR a._x._tcp.local.
		at 1600ms
		recv 10.0.0.8 1 query _x._tcp.local. PTR
		at 2600ms
		recv 10.0.0.8 1 query _x._tcp.local. PTR
		--
		at 4s`), "? _x._tcp.local. ANY", "!= _x")
}
