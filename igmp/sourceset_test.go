package igmp_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/igmp"
)

// letters makes a set of the letters of s.
func letters(s string) igmp.SourceSet {
	var list []netip.Addr
	for _, c := range s {
		list = append(list, netip.AddrFrom4([4]byte{10, 0, 0, byte(c)}))
	}
	return igmp.NewSourceSet(list...)
}

func word(s igmp.SourceSet) string {
	var b strings.Builder
	for _, a := range s {
		b.WriteByte(a.As4()[3])
	}
	return b.String()
}

func show(a igmp.Action) string {
	var b strings.Builder
	if a.Next.Mode == igmp.Include {
		fmt.Fprintf(&b, "IN(%s)", word(a.Next.Requested))
	} else {
		fmt.Fprintf(&b, "EX(%s,%s)", word(a.Next.Requested), word(a.Next.Excluded))
	}
	if a.Renew != nil {
		fmt.Fprintf(&b, " (%s)=GMI", word(a.Renew))
	}
	if a.Inherit != nil {
		fmt.Fprintf(&b, " (%s)=GT", word(a.Inherit))
	}
	if a.QuerySources != nil {
		fmt.Fprintf(&b, " Q(G,%s)", word(a.QuerySources))
	}
	if a.QueryGroup {
		b.WriteString(" Q(G)")
	}
	if a.GroupTimer {
		b.WriteString(" GT=GMI")
	}
	return b.String()
}

// The rows of RFC 9776 sections 6.4.1 and 6.4.2 with sets that have everything
// in them: members of each alone and of both.
func TestReception_RFC9776_6_4_Rows(t *testing.T) {
	in := igmp.Reception{Mode: igmp.Include, Requested: letters("ab")}
	ex := igmp.Reception{Mode: igmp.Exclude, Requested: letters("xy"), Excluded: letters("mn")}
	for _, row := range []struct {
		state   igmp.Reception
		t       igmp.RecordType
		sources string
		want    string
	}{
		{in, igmp.ModeIsInclude, "bc", "IN(abc) (bc)=GMI"},
		{in, igmp.ModeIsExclude, "bc", "EX(b,c) GT=GMI"},
		{ex, igmp.ModeIsInclude, "xmc", "EX(cmxy,n) (cmx)=GMI"},
		{ex, igmp.ModeIsExclude, "xmc", "EX(cx,m) (c)=GMI GT=GMI"},
		{in, igmp.AllowNewSources, "bc", "IN(abc) (bc)=GMI"},
		{in, igmp.BlockOldSources, "bc", "IN(ab) Q(G,b)"},
		{in, igmp.ChangeToExclude, "bc", "EX(b,c) Q(G,b) GT=GMI"},
		{in, igmp.ChangeToInclude, "bc", "IN(abc) (bc)=GMI Q(G,a)"},
		{ex, igmp.AllowNewSources, "xmc", "EX(cmxy,n) (cmx)=GMI"},
		{ex, igmp.BlockOldSources, "xmc", "EX(cxy,mn) (c)=GT Q(G,cx)"},
		{ex, igmp.ChangeToExclude, "xmc", "EX(cx,m) (c)=GT Q(G,cx) GT=GMI"},
		{ex, igmp.ChangeToInclude, "xmc", "EX(cmxy,n) (cmx)=GMI Q(G,y) Q(G)"},
		{ex, 77, "xmc", "EX(xy,mn)"},
	} {
		if got := show(row.state.Apply(row.t, letters(row.sources))); got != row.want {
			t.Errorf("%v %v(%s): %s, want %s", row.state.Mode, row.t, row.sources, got, row.want)
		}
	}
}

// slowApply reads the tables source by source: what becomes of one source
// depends on where it is now and whether the record names it.
func slowApply(state igmp.Reception, t igmp.RecordType, record igmp.SourceSet, universe igmp.SourceSet) igmp.Action {
	var out igmp.Action
	out.Next.Mode = state.Mode
	changes := t == igmp.ModeIsExclude || t == igmp.ChangeToExclude
	if changes {
		out.Next.Mode, out.GroupTimer = igmp.Exclude, true
	}
	out.QueryGroup = state.Mode == igmp.Exclude && t == igmp.ChangeToInclude
	for _, s := range universe {
		named := slices.Contains(record, s)
		requested, excluded := slices.Contains(state.Requested, s), slices.Contains(state.Excluded, s)
		was := requested
		known := requested || excluded
		switch t {
		case igmp.ModeIsInclude, igmp.AllowNewSources, igmp.ChangeToInclude:
			if named { // somebody wants it
				requested, excluded = true, false
				out.Renew = append(out.Renew, s)
			} else if was && t == igmp.ChangeToInclude { // perhaps nobody wants it any more
				out.QuerySources = append(out.QuerySources, s)
			}
		case igmp.BlockOldSources:
			if state.Mode == igmp.Exclude && named && !known { // somebody else may want it
				requested = true
				out.Inherit = append(out.Inherit, s)
			}
			if named && requested {
				out.QuerySources = append(out.QuerySources, s)
			}
		case igmp.ModeIsExclude, igmp.ChangeToExclude:
			switch {
			case !named:
				requested, excluded = false, false // all want it now
			case known:
			case state.Mode == igmp.Include: // nobody wants it
				excluded = true
			default: // somebody who excludes others wants it
				requested = true
				if t == igmp.ModeIsExclude {
					out.Renew = append(out.Renew, s)
				} else {
					out.Inherit = append(out.Inherit, s)
				}
			}
			if t == igmp.ChangeToExclude && requested {
				out.QuerySources = append(out.QuerySources, s)
			}
		}
		if requested {
			out.Next.Requested = append(out.Next.Requested, s)
		}
		if excluded {
			out.Next.Excluded = append(out.Next.Excluded, s)
		}
	}
	return out
}

// All states and records over four sources: 16 include states and 81 exclude
// states (each source requested, excluded or neither), six types and an unknown
// one, 16 records.
func TestReception_AgreesWithASlowTwinOnAllSetsOfFourSources(t *testing.T) {
	universe := letters("abcd")
	subset := func(bits int) (s igmp.SourceSet) {
		for i, a := range universe {
			if bits>>i&1 == 1 {
				s = append(s, a)
			}
		}
		return s
	}
	var states []igmp.Reception
	for x := range 16 {
		states = append(states, igmp.Reception{Mode: igmp.Include, Requested: subset(x)})
		for y := range 16 {
			if x&y == 0 {
				states = append(states, igmp.Reception{Mode: igmp.Exclude, Requested: subset(x), Excluded: subset(y)})
			}
		}
	}
	if len(states) != 16+81 {
		t.Fatalf("%d states", len(states))
	}
	checked := 0
	for _, state := range states {
		for typ := igmp.RecordType(0); typ <= 7; typ++ {
			for bits := range 16 {
				record := subset(bits)
				got, want := state.Apply(typ, record), slowApply(state, typ, record, universe)
				if !typ.IsKnown() {
					want = igmp.Action{Next: state}
				}
				if d := cmp.Diff(want, got, byAddr); d != "" {
					t.Fatalf("%s %v(%s) (-want +got):\n%s", show(igmp.Action{Next: state}), typ, word(record), d)
				}
				if got.Next.Requested.Intersect(got.Next.Excluded) != nil {
					t.Fatalf("%v: a source is requested and excluded", got.Next)
				}
				checked++
			}
		}
	}
	if checked != 97*8*16 {
		t.Errorf("checked %d", checked)
	}
}

func TestSourceSet(t *testing.T) {
	s := letters("cab")
	if s2 := letters("abcbca"); word(s) != "abc" || word(s2) != "abc" {
		t.Errorf("sets %s, %s", word(s), word(s2))
	}
	if letters("") != nil || s.Intersect(letters("xyz")) != nil || s.Minus(s) != nil {
		t.Error("an empty set is not nil")
	}
	if !s.Has(s[1]) || s.Has(letters("d")[0]) {
		t.Error("Has is wrong")
	}
}
