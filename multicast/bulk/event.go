package bulk

import "fmt"

// Event is something that the user of an engine should hear.
type Event interface{ event() }

// Offering is the first event of [Send]: the file is hashed and receivers are awaited.
type Offering struct {
	Object Object
	Sealed bool
	// Key is the public key that signs.
	Key [32]byte
}

// Listening is the first event of [Receive].
type Listening struct{ Sealed bool }

// OtherSeal says, once, that packets in the group are sealed and we have no secret,
// or, if Plain, that they are not sealed and we have one.
type OtherSeal struct{ Plain bool }

// Registered says that a receiver takes part.
type Registered struct {
	Receiver string
	// Have is how many sections it has already.
	Have int
}

// Started says that sending begins, with the rate found and for how many.
type Started struct {
	Receivers int
	// Rate in bytes a second; Train is what the packet train measured.
	Rate, Train float64
}

// Refused says that multicast would be slower than unicast and is not used.
type Refused struct {
	// Multicast and Unicast are bytes a second that arrived in trains of packets.
	Multicast, Unicast float64
	Receivers          int
}

// Progress says how far the sender is.
type Progress struct {
	// Sections of the object that were sent once, of Total.
	Sections, Total int
	Pass            int
	Rate            float64
	// Loss of the median receiver, 0 to 1, in the last section heard of.
	Loss float64
	// Active receivers get the object by multicast, Done have it.
	Active, Done int
}

// Evicted says that a receiver is no longer waited for in the group.
type Evicted struct{ Receiver, Reason string }

// ReceiverDone says how a receiver ended.
type ReceiverDone struct {
	Receiver string
	OK       bool
	Text     string
}

// Ended is a sender's last event. OK says that all receivers that were asked for have
// the object.
type Ended struct{ OK bool }

// Offered says that a receiver's engine heard an object offered. Whoever drives it
// answers with [Receiver.Accept] or [Receiver.Refuse].
type Offered struct {
	Offer Offer
	// Again says that the session is new but the object is the one in progress.
	Again bool
}

// SectionDone says that a section was verified and is in the store.
type SectionDone struct {
	Section int
	Proof   [][32]byte
}

// PullWanted says that sections are to be fetched from the sources named by
// [Receiver.Want].
type PullWanted struct{ Reason string }

// Complete says that all sections are in the store. Whoever drives the engine
// answers with [Receiver.Finish].
type Complete struct{ Root [32]byte }

// Delivered says that the sender knows that all was received. The receiver stays to
// give sections to others until it says [Left].
type Delivered struct{ Session Session }

// Left says that a receiver's session is over: Err is nil when the object was
// received and the sender knows it.
type Left struct {
	Session Session
	Err     error
}

// SenderSilent says that nothing was heard from the sender for a while.
type SenderSilent struct{}

func (Offering) event()     {}
func (Listening) event()    {}
func (OtherSeal) event()    {}
func (Registered) event()   {}
func (Started) event()      {}
func (Refused) event()      {}
func (Progress) event()     {}
func (Evicted) event()      {}
func (ReceiverDone) event() {}
func (Ended) event()        {}
func (Offered) event()      {}
func (SectionDone) event()  {}
func (PullWanted) event()   {}
func (Complete) event()     {}
func (Delivered) event()    {}
func (Left) event()         {}
func (SenderSilent) event() {}

// String returns the reason in words.
func (e Refused) String() string {
	return fmt.Sprintf("multicast carries %.0f bytes a second, unicast %.0f shared by %d receivers", e.Multicast, e.Unicast, e.Receivers)
}
