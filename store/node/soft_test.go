package node

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store/gossip"
)

func TestSoft_RoundTrip(t *testing.T) {
	for _, s := range []soft{
		{},
		{Copies: []byte{1, 0}},
		{Usage: &softUsage{Space: 10, Replicas: 4, Cache: 3, Free: -2}},
		{Copies: []byte{1, 0}, Usage: &softUsage{}, Queue: softQueue{Files: 7, Bytes: 1 << 40}},
	} {
		b, err := s.append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseSoft(b)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v: %+v, %v", s, got, err)
		}
	}
}

// What a newer machine tells besides is passed over.
func TestSoft_UnknownKeys(t *testing.T) {
	b, err := cbor.Marshal(map[int]any{1: []byte{1, 0}, 77: "news", 2: []int64{9, 8, 7, 6}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := parseSoft(b)
	if err != nil || !bytes.Equal(s.Copies, []byte{1, 0}) || s.Usage == nil || s.Usage.Free != 6 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestSoft_Bounds(t *testing.T) {
	if _, err := (soft{Copies: make([]byte, gossip.MaxInventory)}).append(nil); err == nil {
		t.Error("a state beyond the bound was written")
	}
	for name, v := range map[string]any{
		"negative space": map[int]any{2: []int64{-1, 0, 0, 0}},
		"too much":       map[int]any{2: []int64{1 << 51, 0, 0, 0}},
		"short usage":    map[int]any{2: []int64{1, 0}},
		"negative queue": map[int]any{3: []int64{-1, 0}},
		"no map":         "text",
	} {
		b, err := cbor.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseSoft(b); !errors.Is(err, errBadSoft) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseSoft(make([]byte, gossip.MaxInventory+1)); !errors.Is(err, errBadSoft) {
		t.Error("too long a state was read")
	}
}

func FuzzSoft(f *testing.F) {
	for _, s := range []soft{{}, {Copies: []byte{1, 0}, Usage: &softUsage{Space: 1, Free: 1}, Queue: softQueue{Files: 1}}} {
		b, err := s.append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSoft(b)
		if err != nil {
			return
		}
		again, err := s.append(nil)
		if err != nil {
			return // it was within the bound only for what is not known here
		}
		got, err := parseSoft(again)
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Fatalf("%x: %+v became %+v, %v", b, s, got, err)
		}
	})
}
