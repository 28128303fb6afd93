package netif

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestByName_LoopbackIsThereAndNonsenseIsNot(t *testing.T) {
	lo, err := ByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if !lo.Loopback || lo.Index == 0 || lo.MTU == 0 {
		t.Errorf("odd loopback: %+v", lo)
	}
	_, err = ByName("no-such-if0")
	if !errors.Is(err, ErrNoInterface) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q", err)
	}
	if err := SetUp("no-such-if0"); !errors.Is(err, ErrNoInterface) {
		t.Errorf("got %v", err)
	}
}

func TestWatch_TellsOfAllAndEndsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t)
	want, err := List()
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	var got []string
	err = Watch(ctx, func(e Event) {
		if e.Kind == Added {
			got = append(got, e.Interface.Name)
		}
		if len(got) == len(want) {
			stop(gone)
		}
	})
	if err != gone {
		t.Errorf("got %v, want the context's cause", err)
	}
	if err := Watch(ctx, func(Event) { t.Error("heard something") }); err != gone {
		t.Errorf("ended context: got %v", err)
	}
}

// Lost notifications (ENOBUFS) and failing listings end in a true listing.
func TestWatcher_ListsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []func() ([]state, error){
			func() ([]state, error) { return []state{{Interface: eth()}}, nil },
			func() ([]state, error) { return nil, netlink.ErrDumpInterrupted },
			func() ([]state, error) { return nil, nil },
		}
		var heard []Kind
		w := watcher{
			heard: func(e Event) { heard = append(heard, e.Kind) },
			list: func() ([]state, error) {
				f := answers[0]
				answers = answers[1:]
				return f()
			},
		}
		from := make(chan error)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			from <- nil // what ENOBUFS becomes
			time.Sleep(time.Second)
			stop()
		}()
		if err := w.run(ctx, from); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]Kind{Added, Removed}, heard); d != "" {
			t.Error(d)
		}
	})
}

func TestWatcher_GivesUpWhenListingFailsForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watcher{list: func() ([]state, error) { return nil, unix.EBADF }}
		start := time.Now()
		if err := w.run(t.Context(), nil); err != unix.EBADF {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d < 500*time.Millisecond || d > 2*time.Second {
			t.Errorf("gave up after %v", d)
		}
	})
}

func TestWhole_RetriesInterruptedDumps(t *testing.T) {
	tries := 0
	got, err := whole(func() ([]int, error) {
		if tries++; tries < 4 {
			return []int{1}, netlink.ErrDumpInterrupted
		}
		return []int{1, 2}, nil
	})
	if err != nil || len(got) != 2 || tries != 4 {
		t.Errorf("got %v, %v after %d tries", got, err, tries)
	}
	tries = 0
	_, err = whole(func() ([]int, error) { tries++; return nil, netlink.ErrDumpInterrupted })
	if !errors.Is(err, netlink.ErrDumpInterrupted) || tries != dumpTries {
		t.Errorf("got %v after %d tries", err, tries)
	}
}

func TestParseLink_ReadsTheCarrier(t *testing.T) {
	message := func(flags uint32, attrs ...*nl.RtAttr) []byte {
		m := nl.NewIfInfomsg(unix.AF_UNSPEC)
		m.Index, m.Flags = 7, flags
		b := m.Serialize()
		for _, a := range attrs {
			b = append(b, a.Serialize()...)
		}
		return b
	}
	const up = unix.IFF_UP | unix.IFF_RUNNING
	for _, tt := range []struct {
		flags   uint32
		carrier bool
	}{{up | unix.IFF_LOWER_UP, true}, {up, false}, {unix.IFF_UP | unix.IFF_LOWER_UP, false}} {
		s, err := parseLink(message(tt.flags, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("eth0")),
			nl.NewRtAttr(unix.IFLA_CARRIER_DOWN_COUNT, nl.Uint32Attr(5))))
		if err != nil || s.Carrier != tt.carrier || s.lost != 5 || s.Index != 7 || s.Name != "eth0" || !s.Up {
			t.Errorf("flags %#x: %+v, %v", tt.flags, s, err)
		}
	}
	if _, err := parseLink([]byte{0, 1, 2}); err == nil {
		t.Error("no error from a short message")
	}
}

func TestUsable_RFC4862_5_4_NotWhileTentative(t *testing.T) {
	for _, tt := range []struct {
		flags int
		want  bool
	}{
		{0, true}, {unix.IFA_F_PERMANENT, true}, {unix.IFA_F_DEPRECATED, true},
		{unix.IFA_F_TENTATIVE, false}, {unix.IFA_F_TENTATIVE | unix.IFA_F_OPTIMISTIC, true},
		{unix.IFA_F_DADFAILED, false},
	} {
		a := addrOf(netip.MustParsePrefix("fe80::1/64"))
		a.Flags = tt.flags
		if p, ok := usable(*a); ok != tt.want || ok && p.String() != "fe80::1/64" {
			t.Errorf("flags %#x: %v, %t", tt.flags, p, ok)
		}
	}
}
