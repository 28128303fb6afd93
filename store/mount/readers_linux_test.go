package mount

import (
	"runtime"
	"testing"
)

func TestLetReadersWait_GivesBackWhatItTook(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	was := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(was)
	first := letReadersWait()
	one := runtime.GOMAXPROCS(0)
	if readers := min(max(was, 2), 16) + 1; one != was+readers {
		t.Errorf("%d processors with one mount, want %d and %d", one, was, readers)
	}
	second := letReadersWait()
	if two := runtime.GOMAXPROCS(0); two <= one {
		t.Errorf("%d processors with two mounts, %d with one", two, one)
	}
	first()
	first() // once is enough
	second()
	if now := runtime.GOMAXPROCS(0); now != was {
		t.Errorf("%d processors when all is unmounted, %d before", now, was)
	}
}

func TestLetReadersWait_EnvironmentDecides(t *testing.T) {
	t.Setenv("GOMAXPROCS", "3")
	was := runtime.GOMAXPROCS(0)
	back := letReadersWait()
	defer back()
	if now := runtime.GOMAXPROCS(0); now != was {
		t.Errorf("%d processors, %d before", now, was)
	}
}
