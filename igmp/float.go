package igmp

import "time"

// A time on the wire is a code: small codes are the number itself, larger ones a
// floating-point number with an implied leading bit (RFC 9776 section 4.1.1):
//
//	code >= 128:   1 eee mmmm   ->  (mmmm | 0x10) << (eee + 3)
//
// MLDv2 has the same with 12 bits of mantissa (RFC 9777 section 5.1.3). Between
// the values that a code can say, encoding rounds down, so that nobody is told a
// longer time than the sender means to wait; but a time above zero never becomes
// zero, which means something else, and one beyond the largest code becomes that.

// The layouts of the codes, by the width of their mantissa.
const (
	mantissa8  = 4  // of IGMPv3's Max Resp Code, and both protocols' QQIC
	mantissa16 = 12 // of MLDv2's Maximum Response Code
)

// decodeFloat returns the number that code says.
func decodeFloat(code uint16, mantissa uint) uint32 {
	linear := uint32(1) << (mantissa + 3)
	if uint32(code) < linear {
		return uint32(code)
	}
	lead := uint32(1) << mantissa
	return (lead | uint32(code)&(lead-1)) << (uint32(code)>>mantissa&7 + 3)
}

// encodeFloat returns the code of the largest number up to v.
func encodeFloat(v uint64, mantissa uint) uint16 {
	linear := uint64(1) << (mantissa + 3)
	if v < linear {
		return uint16(v)
	}
	lead := uint64(1) << mantissa
	for exp := range uint64(8) {
		if m := v >> (exp + 3); m < 2*lead {
			return uint16(linear | exp<<mantissa | m&(lead-1))
		}
	}
	return uint16(2*linear - 1)
}

// units returns d in units, rounded down, but 1 for what is between 0 and 1.
// Negative times are 0.
func units(d, unit time.Duration) uint64 {
	switch {
	case d <= 0:
		return 0
	case d < unit:
		return 1
	}
	return uint64(d / unit)
}
