package doctor

import (
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// texts are the TXT records that were heard and the SRV records that wait for one.
type texts struct {
	heard   map[textKey]time.Time
	waiting map[textKey]waiting
}

// textKey is a service instance of a host.
type textKey struct {
	name string // folded
	host netip.Addr
}

// waiting is a SRV record whose TXT record was not heard yet.
type waiting struct {
	from  visit
	until time.Time
}

func newTexts() texts {
	return texts{heard: make(map[textKey]time.Time), waiting: make(map[textKey]waiting)}
}

func (t *texts) forget(now time.Time) {
	for k, at := range t.heard {
		if now.Sub(at) > forgetAfter {
			delete(t.heard, k)
		}
	}
}

// hearTexts notes TXT records, and SRV records that were told without being asked
// for: announced, or added to the answer to another question (RFC 6763 section
// 12.1). Who asks for a SRV record alone may be given just that.
func (d *Doctor) hearTexts(v visit, unasked bool) {
	all := slices.Concat(v.m.Answers, v.m.Additional)
	for _, r := range all {
		if k := (textKey{fold(r.Name), v.host}); r.Type == dns.TypeTXT {
			if len(d.texts.heard) < maxRecords {
				d.texts.heard[k] = v.now
			}
			delete(d.texts.waiting, k)
		}
	}
	for i, r := range all {
		k := textKey{fold(r.Name), v.host}
		if _, heard := d.texts.heard[k]; heard || r.Type != dns.TypeSRV || r.TTL == 0 || !unasked && i < len(v.m.Answers) {
			continue
		}
		if _, known := d.texts.waiting[k]; known {
			continue
		}
		if len(d.texts.waiting) >= maxAsked {
			d.totals.Untracked.Records++
			continue
		}
		d.texts.waiting[k] = waiting{visit{now: v.now, host: v.host}, v.now.Add(textWait)}
	}
}

// judgeTexts reports the SRV records that waited in vain (RFC 6763 section 6.1).
func (d *Doctor) judgeTexts(now time.Time) {
	for k, w := range d.texts.waiting {
		if !now.Before(w.until) {
			delete(d.texts.waiting, k)
			d.find(w.from, NoText, netip.Addr{}, k.name+" SRV")
		}
	}
}
