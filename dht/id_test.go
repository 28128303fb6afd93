package dht

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func space(t testing.TB, m int) Space {
	t.Helper()
	s, err := NewSpace(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewSpace_Refuses(t *testing.T) {
	for _, m := range []int{-1, 0, 2, 161} {
		if _, err := NewSpace(m); err == nil {
			t.Errorf("a space of %d bits was made", m)
		}
	}
}

// All arithmetic is that of math/big modulo 2^m, for all m.
func TestSpace_AgreesWithBig(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Space{rapid.IntRange(MinBits, MaxBits).Draw(t, "m")}
		point := rapid.Custom(func(t *rapid.T) ID {
			return s.Hash(rapid.SliceOfN(rapid.Byte(), 0, 25).Draw(t, "bytes"))
		})
		a, b, x := point.Draw(t, "a"), point.Draw(t, "b"), point.Draw(t, "x")
		m := new(big.Int).Lsh(big.NewInt(1), uint(s.bits))
		number := func(a ID) *big.Int { return new(big.Int).SetBytes(a[:]) }
		same := func(what string, got ID, want *big.Int) {
			if number(got).Cmp(want.Mod(want, m)) != 0 || !s.Contains(got) {
				t.Fatalf("m=%d a=%x b=%x: %s = %x, want %x", s.bits, a, b, what, got, want)
			}
		}
		same("a+b", s.Add(a, b), new(big.Int).Add(number(a), number(b)))
		same("b-a", s.Distance(a, b), new(big.Int).Sub(number(b), number(a)))
		if got := a.Compare(b); got != number(a).Cmp(number(b)) {
			t.Fatalf("compare = %d", got)
		}
		i := rapid.IntRange(1, s.bits).Draw(t, "i")
		same("finger", s.FingerStart(a, i), new(big.Int).Add(number(a), new(big.Int).Lsh(big.NewInt(1), uint(i-1))))
		if got, want := Log2(a), number(a).BitLen()-1; got != want {
			t.Fatalf("Log2(%x) = %d, want %d", a, got, want)
		}
		// x is inside (a, b) when going from a, x comes before b and is not a.
		whole := a == b && x != a
		inside := x != a && x != b && s.Distance(a, x).Compare(s.Distance(a, b)) < 0
		if got := Between(a, x, b); got != (inside || whole) {
			t.Fatalf("Between(%x, %x, %x) = %v", a, x, b, got)
		}
		if back, err := s.Parse(s.Format(a)); err != nil || back != a {
			t.Fatalf("m=%d: Parse(Format(%x)) = %x, %v", s.bits, a, back, err)
		}
	})
}

func TestSpace_ParseRefuses(t *testing.T) {
	for _, c := range []struct {
		bits int
		text string
	}{
		{5, "32"}, {5, "-1"}, {5, ""}, {5, "1f"}, {5, "99999999999999999999"},
		{17, "20000"}, {17, "1ffff0"}, {17, "0x1ff"}, {160, "00"}, {160, "zz00000000000000000000000000000000000000"},
	} {
		if id, err := space(t, c.bits).Parse(c.text); err == nil {
			t.Errorf("%d bits: %q is %x", c.bits, c.text, id)
		}
	}
}

// Byte strings that drop leading zeros misorder: 9 < 10 < 200.
func TestID_LeadingZerosCount(t *testing.T) {
	s := space(t, 160)
	if s.Int(9).Compare(s.Int(10)) >= 0 || s.Int(10).Compare(s.Int(200)) >= 0 || s.Int(255).Compare(s.Int(256)) >= 0 {
		t.Error("IDs are not in the order of their numbers")
	}
	if got := s.Format(s.Int(0x1a)); len(got) != 40 || got[38:] != "1a" {
		t.Errorf("26 is shown as %s", got)
	}
}
