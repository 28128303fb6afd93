package mdns

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// sender returns the n-th host of the link.
func sender(n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(n))
	return netip.AddrFrom4(a)
}

// txt returns a record of the n-th name with size bytes of text.
func txt(n, size int) Record {
	data := make([]byte, size)
	for i := 0; i < size; i += 256 {
		data[i] = byte(min(255, size-i-1))
	}
	return Record{Name: fmt.Sprintf("printer %05d._ipp._tcp.local.", n), Type: dns.TypeTXT, Class: dns.ClassINET, TTL: OtherTTL, Data: data}
}

func newTestCache() *Cache {
	return NewCache(rand.New(rand.NewPCG(1, 2)), func(Record) bool { return false })
}

func TestCache_OneSenderCannotFillIt(t *testing.T) {
	c := newTestCache()
	for i := range 3 * CacheQuota {
		c.Insert(t0, sender(1), txt(i, 64))
	}
	if s := c.Stats(); s.Records != CacheQuota || s.OverQuota != 2*CacheQuota || s.Sources != 1 {
		t.Errorf("stats %+v", s)
	}
	// Nor with few that are large.
	c = newTestCache()
	for i := range CacheQuota {
		c.Insert(t0, sender(1), txt(i, 8000))
	}
	if s := c.Stats(); s.Bytes > CacheBytes/4 || s.Records < 90 || s.OverQuota == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCache_TheLargestSenderMakesRoom(t *testing.T) {
	c := newTestCache()
	for i := range 5 {
		c.Insert(t0, sender(0), txt(i, 64))
	}
	// Twenty senders fill it, and a newcomer brings as much again.
	for i := range 2 * CacheSize {
		c.Insert(t0.Add(time.Millisecond), sender(1+i%20), txt(100+i, 64))
	}
	s := c.Stats()
	if s.Records != CacheSize || s.Evicted == 0 {
		t.Errorf("stats %+v", s)
	}
	for i := range 5 {
		if !c.has(Question{txt(i, 64).Name, dns.TypeTXT}) {
			t.Errorf("record %d of the small sender is gone", i)
		}
	}
	removed := 0
	for _, ch := range c.take() {
		if ch.Op == Remove && ch.Reason == Evicted {
			removed++
		}
	}
	if removed != int(s.Evicted) {
		t.Errorf("%d evictions were told, %d counted", removed, s.Evicted)
	}
}

func TestCache_RepeatingOthersTakesNothingOver(t *testing.T) {
	c := newTestCache()
	for i := range 100 {
		c.Insert(t0, sender(1), txt(i, 64))
		c.Insert(t0.Add(time.Second), sender(2), txt(i, 64))
	}
	if s := c.Stats(); s.Sources != 1 || s.Records != 100 {
		t.Errorf("stats %+v", s)
	}
	for i := range 100 {
		goodbye := txt(i, 64)
		goodbye.TTL = 0
		c.Insert(t0.Add(2*time.Second), sender(1), goodbye)
	}
	c.HandleTimeout(t0.Add(4 * time.Second))
	if s := c.Stats(); s.Sources != 0 || s.Records != 0 || s.Bytes != 0 || len(c.index.entries) != 0 {
		t.Errorf("after goodbyes: stats %+v, index of %d", s, len(c.index.entries))
	}
}

// TestCache_IndexAndSharesAgree does what comes to a seeded mind and then counts.
func TestCache_IndexAndSharesAgree(t *testing.T) {
	const seed = 7
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := newTestCache()
	now := t0
	for range 20000 {
		r := txt(rnd.IntN(400), 16+rnd.IntN(4))
		r.TTL, r.Flush = uint32(rnd.IntN(20)), rnd.IntN(8) == 0
		now = now.Add(time.Duration(rnd.IntN(20)) * time.Millisecond)
		c.Insert(now, sender(rnd.IntN(9)), r)
		c.HandleTimeout(now)
	}
	count, size, charged := 0, 0, 0
	for _, set := range c.sets {
		for _, e := range set {
			count, size = count+1, size+e.record.size()
			if c.index.find(e.record) != e || e.payer.entries[e.slot] != e {
				t.Fatalf("seed %d: %v is lost", seed, e.record)
			}
			if now.Sub(e.expire) > coarseStep {
				t.Fatalf("seed %d: %v should have gone %v ago", seed, e.record, now.Sub(e.expire))
			}
		}
	}
	for i, s := range c.shares.ranking {
		charged += len(s.entries)
		if s.rank != i || i > 0 && c.shares.ranking.Less(i, (i-1)/2) {
			t.Errorf("seed %d: source %d is out of order", seed, i)
		}
	}
	if s := c.Stats(); s.Records != count || s.Bytes != size || charged != count || count == 0 {
		t.Errorf("seed %d: stats %+v, counted %d records, %d bytes, %d charged", seed, s, count, size, charged)
	}
}

// heapOf returns what f's result keeps on the heap, in bytes.
func heapOf[T any](f func() T) (T, int) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	x := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return x, int(after.HeapAlloc) - int(before.HeapAlloc)
}

// fill returns a cache of n records with size bytes of text each, all of which
// several senders have.
func fill(n, size int) *Cache {
	c := newTestCache()
	for i := range n {
		for from := range 4 {
			c.Insert(t0, sender((i+from)%200), txt(i, size))
		}
		c.take()
	}
	return c
}

func TestCache_TenThousandRecordsStayUnder10MB(t *testing.T) {
	for _, size := range []int{16, 64, 200, 280, 1000, 8000} {
		c, bytes := heapOf(func() *Cache { return fill(CacheSize, size) })
		t.Logf("%d records of %d bytes of text: %d bytes", c.Stats().Records, size, bytes)
		if bytes > 10_000_000 {
			t.Errorf("%d records of %d bytes of text take %d bytes", c.Stats().Records, size, bytes)
		}
		if size <= 64 && c.Stats().Records != CacheSize {
			t.Errorf("%d records of %d bytes fit", c.Stats().Records, size)
		}
	}
}

func BenchmarkCache(b *testing.B) {
	const n = 10000
	b.ReportAllocs()
	c, bytes := heapOf(func() *Cache { return fill(n, 64) })
	records := make([]Record, n)
	for i := range records {
		records[i] = txt(i, 64)
	}
	now := t0
	for i := 0; b.Loop(); i++ {
		if i%n == 0 {
			now = now.Add(time.Second)
		}
		c.Insert(now, sender(i%n%200), records[i%n])
		c.HandleTimeout(now)
	}
	b.ReportMetric(float64(bytes)/n, "bytes/record")
	if s := c.Stats(); s.Records != n {
		b.Errorf("stats %+v", s)
	}
}
