package bulk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/internal/wire"
)

// What can be wrong with a packet.
var (
	// ErrGarbage says that bytes are not a packet of this protocol.
	ErrGarbage = errors.New("not a bulk packet")
	// ErrVersion says that a packet is of a version this package does not know.
	ErrVersion = errors.New("unknown version")
)

// Kind says what a packet is.
type Kind uint8

// The kinds. Offer, Solicit, Poll, Train, Close, Block and Parity go to the group,
// the others to one address.
const (
	KindOffer Kind = iota + 1
	KindRegister
	KindWelcome
	KindBlock
	KindParity
	KindSolicit
	KindPoll
	KindStatus
	KindTrain
	KindProbe
	KindTrainReport
	KindPull
	KindFinished
	KindReleased
	KindClose
)

var kindNames = [...]string{
	KindOffer: "offer", KindRegister: "register", KindWelcome: "welcome", KindBlock: "block", KindParity: "parity",
	KindSolicit: "solicit", KindPoll: "poll", KindStatus: "status", KindTrain: "train", KindProbe: "probe",
	KindTrainReport: "train report", KindPull: "pull", KindFinished: "finished", KindReleased: "released", KindClose: "close",
}

// String returns the kind's name.
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Limits of what a packet may carry.
const (
	maxName     = 255  // bytes of a file's or a machine's name
	maxText     = 200  // bytes of a reason
	maxHave     = 1024 // bytes of a have-bitmap: 8,192 sections
	maxPoll     = 256  // sections of one Poll
	maxReports  = 8    // of one Status
	maxSources  = 32   // of one Pull
	maxProof    = 40   // hashes on the way to the root
	maxSections = 1 << 24
	maxProbe    = 1472
)

// Session names one run of a sender.
type Session uint64

// String returns the session in hexadecimal.
func (s Session) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// Token is what a receiver shows to speak for itself: known to it and the sender.
type Token uint64

// Message is one control message. Blocks and parity are [Block].
type Message interface {
	kind() Kind
	append(b []byte) []byte
}

// Register asks to take part. Its have-bitmap is how a receiver goes on with what
// an earlier run got.
type Register struct {
	Session Session
	Station StationID
	// Name is the machine's name, for people.
	Name string
	// Pull is the TCP port where the receiver gives away verified sections; 0 none.
	Pull uint16
	// Contiguous sections from the first are verified; bit i of Have, lowest bit of
	// a byte first, is section Contiguous+i.
	Contiguous uint32
	Have       []byte
}

// StationID is a receiver's random name, new for each session.
type StationID [8]byte

// Welcome answers a Register.
type Welcome struct {
	Session Session
	Station StationID
	Number  uint16
	Token   Token
}

// Solicit ends the packets of a section in one pass, and asks for a Status. It
// carries the section's way to the root.
type Solicit struct {
	Session Session
	// Number of the question, repeated in the Status.
	Number  uint32
	Section uint32
	Pass    uint16
	// Partial says that more of the section follows in this pass.
	Partial bool
	// Sent packets of this section and pass so far.
	Sent  uint16
	Proof [][32]byte
}

// Poll asks all receivers for the named sections again.
type Poll struct {
	Session  Session
	Number   uint32
	Pass     uint16
	Sections []uint32
}

// Status says what a receiver has.
type Status struct {
	Session Session
	Station uint16
	Token   Token
	Number  uint32
	// Contiguous sections from the first, and Complete sections in all, are verified.
	Contiguous, Complete uint32
	// Window is the most bytes a second that the receiver can take; 0 is no limit.
	Window uint32
	// Arrival is how fast the packets of the section last asked for came, in bytes
	// of datagrams a second; 0 when it could not be measured.
	Arrival uint32
	Reports []Report
}

// Report is what a receiver lacks of one section.
type Report struct {
	Section uint32
	Pass    uint16
	// Received packets of this section in this pass, duplicates left out.
	Received uint16
	// Complete says that the section is verified; the fields below are then zero.
	Complete bool
	// Proof says that the way to the root is missing.
	Proof bool
	// Holes has bit i, lowest bit of a byte first, for each missing block.
	Holes [SectionBlocks / 8]byte
	// Need is how many more packets, blocks or parity, each group wants.
	Need [Groups]uint8
}

// Train ends a burst of blocks that measures the path.
type Train struct {
	Session Session
	Number  uint32
	Section uint32
	// First and Count name the blocks that were sent at once.
	First, Count uint16
}

// Probe is one packet of a burst to a single receiver.
type Probe struct {
	Session      Session
	Number       uint32
	Index, Count uint16
	// Padding makes it as long as a block.
	Padding []byte
}

// TrainReport answers a Train, or the last Probe.
type TrainReport struct {
	Session  Session
	Station  uint16
	Token    Token
	Number   uint32
	Received uint16
	// Span is the time from the first to the last of them in nanoseconds.
	Span uint64
}

// Pull sends one receiver to fetch what it lacks by TCP.
type Pull struct {
	Session Session
	Station uint16
	Token   Token
	Reason  string
	// Sources hold all sections, the best first.
	Sources []netip.AddrPort
}

// Finished is a receiver's last word; repeated until Released.
type Finished struct {
	Session Session
	Station StationID
	// Name as in Register: who refuses an offer has not registered.
	Name string
	OK   bool
	// Text says what went wrong, or what is remarkable.
	Text string
	// Pulled bytes came by TCP.
	Pulled uint64
}

// Released answers Finished.
type Released struct {
	Session Session
	Station StationID
}

func (Offer) kind() Kind       { return KindOffer }
func (Register) kind() Kind    { return KindRegister }
func (Welcome) kind() Kind     { return KindWelcome }
func (Solicit) kind() Kind     { return KindSolicit }
func (Poll) kind() Kind        { return KindPoll }
func (Status) kind() Kind      { return KindStatus }
func (Train) kind() Kind       { return KindTrain }
func (Probe) kind() Kind       { return KindProbe }
func (TrainReport) kind() Kind { return KindTrainReport }
func (Pull) kind() Kind        { return KindPull }
func (Finished) kind() Kind    { return KindFinished }
func (Released) kind() Kind    { return KindReleased }
func (Close) kind() Kind       { return KindClose }

func (m Register) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = append(b, m.Station[:]...)
	b = wire.AppendCounted(b, m.Name)
	b = binary.BigEndian.AppendUint16(b, m.Pull)
	b = binary.BigEndian.AppendUint32(b, m.Contiguous)
	return wire.AppendCounted(b, m.Have)
}

func readRegister(r *wire.Reader) Message {
	m := Register{Session: Session(r.Uint64())}
	copy(m.Station[:], r.Bytes(len(m.Station)))
	m.Name = string(r.Counted(maxName))
	m.Pull, m.Contiguous = r.Uint16(), r.Uint32()
	m.Have = r.Counted(maxHave)
	return m
}

func (m Welcome) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = append(b, m.Station[:]...)
	b = binary.BigEndian.AppendUint16(b, m.Number)
	return appendUint64(b, uint64(m.Token))
}

func readWelcome(r *wire.Reader) Message {
	m := Welcome{Session: Session(r.Uint64())}
	copy(m.Station[:], r.Bytes(len(m.Station)))
	m.Number, m.Token = r.Uint16(), Token(r.Uint64())
	return m
}

func (m Solicit) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint32(b, m.Section)
	b = binary.BigEndian.AppendUint16(b, m.Pass)
	b = appendBool(b, m.Partial)
	b = binary.BigEndian.AppendUint16(b, m.Sent)
	return appendHashes(b, m.Proof)
}

func readSolicit(r *wire.Reader) Message {
	return Solicit{
		Session: Session(r.Uint64()), Number: r.Uint32(), Section: r.Uint32(), Pass: r.Uint16(),
		Partial: readBool(r), Sent: r.Uint16(), Proof: readHashes(r),
	}
}

func (m Poll) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint16(b, m.Pass)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Sections)))
	for _, s := range m.Sections {
		b = binary.BigEndian.AppendUint32(b, s)
	}
	return b
}

func readPoll(r *wire.Reader) Message {
	m := Poll{Session: Session(r.Uint64()), Number: r.Uint32(), Pass: r.Uint16()}
	for range count(r, maxPoll, 4) {
		m.Sections = append(m.Sections, r.Uint32())
	}
	return m
}

func (m Status) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint16(b, m.Station)
	b = appendUint64(b, uint64(m.Token))
	for _, v := range []uint32{m.Number, m.Contiguous, m.Complete, m.Window, m.Arrival} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Reports)))
	for i := range m.Reports {
		b = m.Reports[i].append(b)
	}
	return b
}

func readStatus(r *wire.Reader) Message {
	m := Status{
		Session: Session(r.Uint64()), Station: r.Uint16(), Token: Token(r.Uint64()), Number: r.Uint32(),
		Contiguous: r.Uint32(), Complete: r.Uint32(), Window: r.Uint32(), Arrival: r.Uint32(),
	}
	for range count(r, maxReports, 9) {
		m.Reports = append(m.Reports, readReport(r))
	}
	return m
}

// The flags of a Report.
const (
	reportComplete = 1 << iota
	reportProof
)

func (p *Report) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, p.Section)
	b = binary.BigEndian.AppendUint16(b, p.Pass)
	b = binary.BigEndian.AppendUint16(b, p.Received)
	if p.Complete {
		return append(b, reportComplete)
	}
	var flags byte
	if p.Proof {
		flags |= reportProof
	}
	b = append(b, flags)
	b = append(b, p.Holes[:]...)
	return append(b, p.Need[:]...)
}

func readReport(r *wire.Reader) (p Report) {
	p.Section, p.Pass, p.Received = r.Uint32(), r.Uint16(), r.Uint16()
	switch flags := r.Uint8(); flags {
	case reportComplete:
		p.Complete = true
		return p
	case 0, reportProof:
		p.Proof = flags == reportProof
	default:
		r.Fail(fmt.Errorf("%w: report flags %#x", ErrGarbage, flags))
	}
	copy(p.Holes[:], r.Bytes(len(p.Holes)))
	copy(p.Need[:], r.Bytes(len(p.Need)))
	return p
}

func (m Train) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint32(b, m.Section)
	b = binary.BigEndian.AppendUint16(b, m.First)
	return binary.BigEndian.AppendUint16(b, m.Count)
}

func readTrain(r *wire.Reader) Message {
	return Train{Session: Session(r.Uint64()), Number: r.Uint32(), Section: r.Uint32(), First: r.Uint16(), Count: r.Uint16()}
}

func (m Probe) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint16(b, m.Index)
	b = binary.BigEndian.AppendUint16(b, m.Count)
	return wire.AppendCounted(b, m.Padding)
}

func readProbe(r *wire.Reader) Message {
	return Probe{
		Session: Session(r.Uint64()), Number: r.Uint32(), Index: r.Uint16(), Count: r.Uint16(),
		Padding: r.Counted(maxProbe),
	}
}

func (m TrainReport) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint16(b, m.Station)
	b = appendUint64(b, uint64(m.Token))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint16(b, m.Received)
	return appendUint64(b, m.Span)
}

func readTrainReport(r *wire.Reader) Message {
	return TrainReport{
		Session: Session(r.Uint64()), Station: r.Uint16(), Token: Token(r.Uint64()), Number: r.Uint32(),
		Received: r.Uint16(), Span: r.Uint64(),
	}
}

func (m Pull) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint16(b, m.Station)
	b = appendUint64(b, uint64(m.Token))
	b = wire.AppendCounted(b, m.Reason)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Sources)))
	for _, s := range m.Sources {
		b = appendAddrPort(b, s)
	}
	return b
}

func readPull(r *wire.Reader) Message {
	m := Pull{Session: Session(r.Uint64()), Station: r.Uint16(), Token: Token(r.Uint64()), Reason: string(r.Counted(maxText))}
	for range count(r, maxSources, 3) {
		m.Sources = append(m.Sources, readAddrPort(r))
	}
	return m
}

func (m Finished) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = append(b, m.Station[:]...)
	b = wire.AppendCounted(b, m.Name)
	b = appendBool(b, m.OK)
	b = wire.AppendCounted(b, m.Text)
	return appendUint64(b, m.Pulled)
}

func readFinished(r *wire.Reader) Message {
	m := Finished{Session: Session(r.Uint64())}
	copy(m.Station[:], r.Bytes(len(m.Station)))
	m.Name = string(r.Counted(maxName))
	m.OK, m.Text, m.Pulled = readBool(r), string(r.Counted(maxText)), r.Uint64()
	return m
}

func (m Released) append(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	return append(b, m.Station[:]...)
}

func readReleased(r *wire.Reader) Message {
	m := Released{Session: Session(r.Uint64())}
	copy(m.Station[:], r.Bytes(len(m.Station)))
	return m
}
