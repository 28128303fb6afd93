package records

// Mutation is a planted mistake. Only tests make engines with one; it is how the
// simulation is shown to find mistakes.
type Mutation int

// The mistakes.
const (
	// Sound: no mistake.
	Sound Mutation = iota
	// SkipSeal: a member that promised goes on taking writes.
	SkipSeal
	// AckBeforeDisk: nothing waits for the disk.
	AckBeforeDisk
	// AckAlone: a write is done when the leader has it.
	AckAlone
	// InstallOnLeader: a group is decided when its leader alone has its records, and
	// the others take themselves to have all.
	InstallOnLeader
	// ReadUnconfirmed: a leader answers reads without asking.
	ReadUnconfirmed
	// ForgetRequests: a request that comes again is done again.
	ForgetRequests
	// DropUnknown: fields that the engine does not know are lost.
	DropUnknown
	// AcceptBelowPromise: an acceptor accepts what it promised not to.
	AcceptBelowPromise
	// GenesisTwice: a node that heard of a lineage founds another.
	GenesisTwice
	// GatherFirst: a proposer takes the records of the first member that promised,
	// not of the one that has most.
	GatherFirst
	// IgnoreAccepted: a proposer does not heed what promises told to be accepted.
	IgnoreAccepted
	// WipedJoins: a node becomes a member again of groups that it has left.
	WipedJoins
)

var mutationNames = [...]string{
	"sound", "skip-seal", "ack-before-disk", "ack-alone", "install-on-leader", "read-unconfirmed", "forget-requests",
	"drop-unknown", "accept-below-promise", "genesis-twice", "gather-first", "ignore-accepted", "wiped-joins",
}

// String returns the mistake's name.
func (m Mutation) String() string { return mutationNames[m] }
