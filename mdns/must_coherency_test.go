package mdns

import "testing"

func TestCache_RFC6762_10(t *testing.T) {
	const link = "link eth0 1 10.0.0.1/24\n"
	const a = "recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !\n"
	for _, c := range []struct {
		name, commands string
		wants          []string
	}{
		{"10 expires at its TTL", a + "at 119s\n--\nat 121s", []string{"2m0s event 1 change remove", "(expired)"}},
		{"10.1 a goodbye counts after a second", a + "at 5s\nrecv 10.0.0.9 1 response a.local. 0 A 10.0.0.9 !\n--\nat 5900ms", []string{"!remove"}},
		{"10.1 and then", a + "at 5s\nrecv 10.0.0.9 1 response a.local. 0 A 10.0.0.9 !\n--\nat 6s", []string{"6s event", "(goodbye)"}},
		{"10.2 others are flushed after a second", a + "at 5s\n--\nrecv 10.0.0.9 1 response a.local. 120 A 10.0.0.8 !\nat 6s", []string{"change update", "6s event 1 change remove", "(flushed)"}},
		{"10.2 not those of the last second", a + "at 900ms\n--\nrecv 10.0.0.9 1 response a.local. 120 A 10.0.0.8 !\nat 10s", []string{"!remove"}},
		{"10.3 a link that was away", a + "at 5s\nrestart 1\n--\nat 9s", []string{"(link-down)"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, link+c.commands), c.wants...) })
	}
}

func TestEngine_RFC6762_9_AConflictIsProbedForAgain(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\nat 15s"),
		"conflict box.local.", "? box.local. ANY", "claimed box.local.", "!renamed")
}

func TestEngine_RFC6762_9_TheSameDataIsNoConflict(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response box.local. 120 A 10.0.0.1 !\nat 15s"), "!conflict")
}
