package linklocal_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/linklocal"
)

var t0 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// turn runs e's timeouts until none is left, and returns when each packet left.
func turn(d *linklocal.Detector) (at []time.Duration, sent []linklocal.Packet) {
	for {
		now, ok := d.NextTimeout()
		if !ok {
			return at, sent
		}
		d.HandleTimeout(now)
		for _, p := range d.Outgoing() {
			at, sent = append(at, now.Sub(t0)), append(sent, p)
		}
	}
}

func detector(t *testing.T, cfg linklocal.DetectorConfig) *linklocal.Detector {
	t.Helper()
	if !cfg.Address.IsValid() {
		cfg.Address = netip.MustParseAddr("169.254.7.7")
	}
	cfg.HardwareAddr = ours
	d, err := linklocal.NewDetector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.Start(t0)
	return d
}

// The instants of probes and announcements over many seeds: within the bounds of
// RFC 3927 section 9, and reaching near both ends of each.
func TestDetector_RFC3927_2_2_1_Timing(t *testing.T) {
	low, high := [3]time.Duration{time.Hour, time.Hour, time.Hour}, [3]time.Duration{}
	for seed := range uint64(500) {
		d := detector(t, linklocal.DetectorConfig{Rand: rand.New(rand.NewPCG(seed, 0))})
		at, sent := turn(d)
		if len(sent) != 5 {
			t.Fatalf("seed %d: sent %v", seed, sent)
		}
		for i, gap := range []time.Duration{at[0], at[1] - at[0], at[2] - at[1]} {
			low[i], high[i] = min(low[i], gap), max(high[i], gap)
		}
		if at[3]-at[2] != linklocal.AnnounceWait || at[4]-at[3] != linklocal.AnnounceInterval {
			t.Errorf("seed %d: sent at %v", seed, at)
		}
		if at[3] < 4*time.Second || at[3] > 7*time.Second {
			t.Errorf("seed %d: first announcement after %v, want 4 s to 7 s", seed, at[3])
		}
		for i, p := range sent {
			if p.IsProbe() != (i < 3) || p.IsAnnouncement() != (i >= 3) || p.Destination != linklocal.Broadcast ||
				p.SenderHardwareAddr != ours || p.TargetHardwareAddr != (linklocal.HardwareAddr{}) {
				t.Errorf("seed %d: packet %d is %+v", seed, i, p)
			}
		}
	}
	const ms = time.Millisecond
	for i, want := range [3][2]time.Duration{{0, 1000 * ms}, {1000 * ms, 2000 * ms}, {1000 * ms, 2000 * ms}} {
		if low[i] < want[0] || low[i] > want[0]+50*ms || high[i] > want[1] || high[i] < want[1]-50*ms {
			t.Errorf("gap %d lies in %v to %v, want %v to %v", i, low[i], high[i], want[0], want[1])
		}
	}
}

func TestDetector_CheckOnlyEndsFree(t *testing.T) {
	d := detector(t, linklocal.DetectorConfig{CheckOnly: true, Address: netip.MustParseAddr("192.0.2.1")})
	if _, sent := turn(d); len(sent) != 3 {
		t.Errorf("sent %v, want three probes", sent)
	}
	if d.State() != linklocal.Free {
		t.Errorf("state %v", d.State())
	}
}

// Only link-local answers are broadcast (RFC 3927 section 2.5, RFC 5227 section 2.6).
func TestDetector_RFC5227_2_6_OtherAddressesAnswerByUnicast(t *testing.T) {
	for s, want := range map[string]linklocal.HardwareAddr{"192.0.2.1": theirs, "169.254.7.7": linklocal.Broadcast} {
		addr := netip.MustParseAddr(s)
		d := detector(t, linklocal.DetectorConfig{Address: addr})
		turn(d)
		d.HandlePacket(t0.Add(time.Minute), linklocal.Packet{
			Destination: linklocal.Broadcast, Source: theirs, Operation: linklocal.Request,
			SenderHardwareAddr: theirs, SenderIP: netip.MustParseAddr("192.0.2.9"), TargetIP: addr,
		})
		out := d.Outgoing()
		if len(out) != 1 || out[0].Operation != linklocal.Reply || out[0].Destination != want || out[0].TargetHardwareAddr != theirs {
			t.Errorf("%s: answered %v", s, out)
		}
	}
}

// Requests and probes are answered from the first announcement on, not before.
func TestDetector_RFC5227_2_5_AnswersFromTheFirstAnnouncement(t *testing.T) {
	d := detector(t, linklocal.DetectorConfig{})
	ask := linklocal.Packet{
		Destination: linklocal.Broadcast, Source: theirs, Operation: linklocal.Request, SenderHardwareAddr: theirs,
		SenderIP: netip.MustParseAddr("169.254.8.8"), TargetIP: d.Address(),
	}
	probe := ask
	probe.SenderIP = netip.IPv4Unspecified()
	for d.State() == linklocal.Probing {
		now, _ := d.NextTimeout()
		d.Outgoing()
		d.HandlePacket(now, ask)
		if out := d.Outgoing(); len(out) != 0 {
			t.Fatalf("answered %v before the address was ours", out)
		}
		d.HandleTimeout(now)
	}
	d.Outgoing()
	for _, p := range []linklocal.Packet{ask, probe} {
		d.HandlePacket(t0, p)
		if out := d.Outgoing(); len(out) != 1 || out[0].SenderIP != d.Address() || out[0].TargetIP != p.SenderIP {
			t.Errorf("%v in state %v: answered %v", p, d.State(), out)
		}
	}
}

func TestDetector_StopReleasesWhatIsHeld(t *testing.T) {
	d := detector(t, linklocal.DetectorConfig{})
	d.Stop(t0)
	if ev := d.Events(); len(ev) != 0 {
		t.Errorf("an address that was not held: %v", ev)
	}
	d.Start(t0)
	turn(d)
	d.Events()
	d.Stop(t0.Add(time.Minute))
	if ev := d.Events(); len(ev) != 1 || ev[0].Kind != linklocal.EventReleased || d.State() != linklocal.Idle {
		t.Errorf("%v, %v", ev, d.State())
	}
}

func TestConfigs_RefuseWhatCannotBe(t *testing.T) {
	for _, cfg := range []linklocal.DetectorConfig{
		{}, {Address: netip.IPv6Loopback(), HardwareAddr: ours}, {Address: netip.IPv4Unspecified(), HardwareAddr: ours},
		{Address: netip.MustParseAddr("169.254.7.7"), HardwareAddr: linklocal.Broadcast},
	} {
		if _, err := linklocal.NewDetector(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	for _, cfg := range []linklocal.ClaimerConfig{
		{}, {HardwareAddr: ours, First: netip.MustParseAddr("169.254.0.1")}, {HardwareAddr: ours, First: netip.MustParseAddr("10.0.0.1")},
	} {
		if _, err := linklocal.NewClaimer(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestMonitor_ReportsWhatHappensOnTheLink(t *testing.T) {
	m := linklocal.NewMonitor(true)
	hear := func(op linklocal.Operation, from linklocal.HardwareAddr, sender, target string) {
		m.HandlePacket(t0, linklocal.Packet{
			Destination: linklocal.Broadcast, Source: from, Operation: op, SenderHardwareAddr: from,
			SenderIP: netip.MustParseAddr(sender), TargetIP: netip.MustParseAddr(target),
		})
	}
	hear(linklocal.Request, ours, "0.0.0.0", "169.254.7.7")
	hear(linklocal.Request, ours, "169.254.7.7", "169.254.7.7")
	hear(linklocal.Request, ours, "169.254.7.7", "169.254.8.8")
	hear(linklocal.Request, theirs, "10.0.0.1", "10.0.0.2")
	hear(linklocal.Reply, theirs, "169.254.7.7", "169.254.8.8")
	var got string
	for _, e := range m.Events() {
		got += e.String() + "\n"
	}
	const want = `probe 169.254.7.7 with 02:00:00:00:00:01
announce 169.254.7.7 with 02:00:00:00:00:01
claimed 169.254.7.7 with 02:00:00:00:00:01
conflict 169.254.7.7 with 02:00:00:00:00:02 and 02:00:00:00:00:01
`
	if got != want {
		t.Errorf("heard\n%swant\n%s", got, want)
	}
	for i := range 5000 {
		m.HandlePacket(t0, linklocal.Packet{
			Operation: linklocal.Reply, SenderHardwareAddr: theirs,
			SenderIP: netip.AddrFrom4([4]byte{169, 254, byte(i >> 8), byte(i)}), TargetIP: netip.IPv4Unspecified(),
		})
	}
	if m.Forgotten == 0 {
		t.Error("the table of holders has no bound")
	}
}

func TestPolicy_ParseAndString(t *testing.T) {
	for s, want := range map[string]linklocal.Policy{
		"a": linklocal.GiveUp, "b": linklocal.DefendOnce, "c": linklocal.NeverGiveUp,
		"give-up": linklocal.GiveUp, "defend-once": linklocal.DefendOnce, "never-give-up": linklocal.NeverGiveUp,
	} {
		if p, err := linklocal.ParsePolicy(s); err != nil || p != want {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
	if _, err := linklocal.ParsePolicy("d"); err == nil {
		t.Error("policy d was accepted")
	}
}
