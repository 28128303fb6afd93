package probe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// The bytes that versions to come must go on to understand.
func TestMessage_Golden(t *testing.T) {
	m := message{
		kind: kindAnswer, hopLimit: 4, path: 1, from: origin{epoch: 0x010203040506, id: 0x0a0b0c0d0e0f},
		interval: 20 * time.Millisecond, seq: 7, sent: 0x1122334455667788,
		echo: echo{asker: origin{epoch: 0xf1f2f3f4f5f6, id: 1}, path: 0, hops: 2},
	}
	want := "61656d70" + "01040401" + "010203040506" + "0a0b0c0d0e0f" + "00004e20" + "0000000000000007" + "1122334455667788" +
		"f1f2f3f4f5f6" + "000000000001" + "00020000" + "0000"
	b := m.append(nil, 58)
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("answer is\n%s, want\n%s", got, want)
	}
	if got, err := parseMessage(b); err != nil || got != m {
		t.Errorf("parsed %+v, %v", got, err)
	}
	m.kind, m.echo = kindTest, echo{}
	if got, err := parseMessage(m.append(nil, 0)); err != nil || got != m {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

func TestParseMessage_Refuses(t *testing.T) {
	good := message{kind: kindAnswer, seq: 1}.append(nil, 0)
	for name, change := range map[string]func(b []byte) []byte{
		"version": func(b []byte) []byte { b[4] = 2; return b },
		"kind 0":  func(b []byte) []byte { b[5] = 0; return b },
		"kind 6":  func(b []byte) []byte { b[5] = 6; return b },
		"path":    func(b []byte) []byte { b[7] = 2; return b },
		"number":  func(b []byte) []byte { b[31] = 0; return b },
		"echo":    func(b []byte) []byte { b[52] = 9; return b },
		"short":   func(b []byte) []byte { return b[:messageLen-1] },
		"header":  func(b []byte) []byte { return b[:headerLen-1] },
		"magic":   func(b []byte) []byte { return b[:4] },
	} {
		if _, err := parseMessage(change(bytes.Clone(good))); !errors.Is(err, errMessage) {
			t.Errorf("%s: %v, want errMessage", name, err)
		}
	}
	for _, b := range []string{"", "aem", "aemq....", "\x00aemp"} {
		if _, err := parseMessage([]byte(b)); !errors.Is(err, errForeign) {
			t.Errorf("%q: %v, want errForeign", b, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(message{kind: kindTest, seq: 1, interval: time.Second}.append(nil, 100))
	f.Add(message{kind: kindAnswer, seq: 1<<64 - 1, path: 1}.append(nil, 0))
	f.Add([]byte("aemp\x01\x01"))
	f.Add([]byte("Sender PID 12, MC group 225.1.2.3 ... count: 7, freq: 100\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseMcjoin(b)
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		again, err := parseMessage(m.append(nil, len(b)))
		if err != nil || again != m {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func TestMcjoin_TextIsReadAndWritten(t *testing.T) {
	m := message{from: origin{id: 4711}, seq: 13, interval: 100 * time.Millisecond}
	b := appendMcjoin(nil, m, "225.1.2.3", 100)
	if want := "Sender PID 4711, MC group 225.1.2.3 ... count: 12, freq: 100"; !strings.HasPrefix(string(b), want) || len(b) != 100 || b[99] != 0 {
		t.Errorf("%q, want %q", b, want)
	}
	if pid, seq, ok := parseMcjoin(b); pid != 4711 || seq != 12 || !ok {
		t.Errorf("%d, %d, %v", pid, seq, ok)
	}
	for _, s := range []string{"", "Sender PID ", "Sender PID x count: 1", "Sender PID 1", "Sender PID 1 count: ", "count: 1 Sender PID 1",
		"Sender PID 99999999999999999999999 count: 1"} {
		if _, _, ok := parseMcjoin([]byte(s)); ok {
			t.Errorf("%q was read", s)
		}
	}
}
